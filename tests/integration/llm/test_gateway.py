"""The gateway against a real server: limits never exceeded, retries with manners."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from tests.integration.llm.support import claimed, request, talker, talking, usage
from tests.support import openai_scripts as scripts
from tests.support.openai_scripts import Answer, Call, Given, in_turn, most_at_once
from tests.support.openai_server import OpenAiServer
from tests.support.servers import wait_for

KEY = "sk-very-secret-0123456789"


def slowly(seconds: float) -> scripts.Script:
    return lambda call: Answer(texts=("<text>hi</text>",), delay_seconds=seconds)


# -- limits


async def test_no_limit_on_calls_at_one_time_is_ever_exceeded(address: str, server: OpenAiServer) -> None:
    server.script = slowly(0.1)
    async with talking(address, server, concurrency=5, project_concurrency=4) as stage:
        gateway = stage.gateway()

        async def talk(word: str, concurrency: int) -> None:
            study = await talker(stage, {"concurrency": concurrency})
            claim = await claimed(stage, study)
            replies = await gateway.answer(claim, [request(f"k{i}", f"{word} {i}") for i in range(12)])
            assert [reply.failure for reply in replies] == [None] * 12

        await asyncio.gather(talk("alpha", 2), talk("beta", 3), talk("gamma", 8))
        await gateway.close()
    assert len(server.calls) == 36
    for word, most in (("alpha", 2), ("beta", 3), ("", 4)):
        assert most - 1 <= most_at_once(call for call in server.calls if word in call.shown) <= most


async def test_a_profile_is_shared_by_projects(address: str, server: OpenAiServer) -> None:
    from dataclasses import replace

    server.script = slowly(0.1)
    async with talking(address, server, concurrency=3, project_concurrency=2) as stage:
        gateway = stage.gateway()
        claims = [await claimed(stage, await talker(stage)) for _ in range(2)]
        claims[1] = replace(claims[1], project="other")  # as a claim of another project says
        answers = [gateway.answer(claim, [request(f"k{i}", claim.project) for i in range(8)]) for claim in claims]
        await asyncio.gather(*answers)
        await gateway.close()
    assert 2 <= most_at_once(server.calls) <= 3
    assert most_at_once(call for call in server.calls if "other" in call.shown) <= 2


async def test_who_waits_for_a_budget_takes_no_turn_from_others(address: str, server: OpenAiServer) -> None:
    may_end = threading.Event()

    def script(call: Call) -> str:
        if "slow" in call.shown:
            may_end.wait(60)
        return "<text>hi</text>"

    server.script = script
    async with talking(address, server, concurrency=2) as stage:
        gateway = stage.gateway()
        poor, rich = await talker(stage, {"max_calls": 2}), await talker(stage)
        poor_claim, rich_claim = await claimed(stage, poor), await claimed(stage, rich)
        requests = [request("a", "slow"), *(request(f"b{i}", "slow too") for i in range(5))]
        # One call hangs, the others may come to more than the budget: they wait until it ends, without a turn.
        await gateway.answer(poor_claim, [request("first")])
        waiting = asyncio.create_task(gateway.answer(poor_claim, requests))
        await asyncio.to_thread(wait_for, lambda: len(server.calls) == 2)
        replies = await asyncio.wait_for(gateway.answer(rich_claim, [request(f"r{i}") for i in range(4)]), 30)
        assert [reply.failure for reply in replies] == [None] * 4 and not waiting.done()
        may_end.set()
        assert sorted(str(reply.failure) for reply in await waiting) == ["None"] + ["budget"] * 5
        await gateway.close()


# -- tries


@pytest.mark.parametrize("fault", [scripts.rate_limited(), scripts.server_error(), scripts.cut_body(), scripts.not_json(),
                                   scripts.empty_choices(), scripts.no_content(), scripts.other_json()])  # fmt: skip
async def test_what_may_pass_is_tried_again(address: str, server: OpenAiServer, fault: Given) -> None:
    server.script = in_turn(fault, fault, "<text>at last</text>")
    async with talking(address, server) as stage:
        gateway, study = stage.gateway(), await talker(stage)
        (reply,) = await gateway.answer(await claimed(stage, study), [request()])
        assert reply.text == "<text>at last</text>"
        assert len(server.calls) == 3
        again = await gateway.answer(await claimed(stage, study), [request()])
        assert again == [reply] and len(server.calls) == 3
        await gateway.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (scripts.bad_request(), "bad_request"),
        (scripts.forbidden(401), "not_permitted"),
        (scripts.forbidden(403), "not_permitted"),
        (Answer(status=404, document={}), "bad_request"),
        (scripts.too_long(), "context_length"),
    ],
)
async def test_what_will_not_pass_is_not(address: str, server: OpenAiServer, fault: Given, kind: str) -> None:
    server.script = in_turn(fault)
    async with talking(address, server) as stage:
        gateway, study = stage.gateway(), await talker(stage)
        (reply,) = await gateway.answer(await claimed(stage, study), [request()])
        await gateway.close()
        assert (reply.failure, reply.text, len(server.calls)) == (kind, "", 1)
        assert [e.data["failure"] for e in await stage.events(study, "llm.failed")] == [kind]


async def test_tries_end(address: str, server: OpenAiServer) -> None:
    server.script = in_turn(scripts.server_error())
    async with talking(address, server, max_retries=3) as stage:
        gateway, study = stage.gateway(), await talker(stage)
        (reply,) = await gateway.answer(await claimed(stage, study), [request()])
        await gateway.close()
        assert (reply.failure, len(server.calls)) == ("server", 4)
        found = await usage(stage, study)
        assert (found.calls, found.failed_calls, found.tokens) == (1, 1, 0)


async def test_tries_that_may_have_to_be_paid_count_each(address: str, server: OpenAiServer) -> None:
    server.script = in_turn(scripts.empty_choices(), scripts.hang(), scripts.not_json(), "<text>two words</text>")
    async with talking(address, server, timeout_seconds=1) as stage:
        gateway, study = stage.gateway(), await talker(stage)
        (reply,) = await gateway.answer(await claimed(stage, study), [request(content="one two three four")])
        await gateway.close()
        assert reply.failure is None
        told = [e.data["failure"] for e in await stage.events(study, "llm.failed")]
        assert told == ["empty", "timeout", "server"]
        found = await usage(stage, study)
        # The prompt is four words to the server that counts and ⌈18/4⌉ tokens where it did not.
        assert (found.calls, found.failed_calls, found.prompt_tokens, found.completion_tokens) == (
            4,
            3,
            4 + 5 + 5 + 4,
            2,
        )
        assert found.estimated


async def test_a_budget_ends_between_two_tries_as_well(address: str, server: OpenAiServer) -> None:
    server.script = in_turn(scripts.empty_choices())
    async with talking(address, server) as stage:
        gateway, study = stage.gateway(), await talker(stage, {"max_calls": 2})
        (reply,) = await gateway.answer(await claimed(stage, study), [request()])
        await gateway.close()
        assert (reply.failure, len(server.calls)) == ("budget", 2)


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_a_server_that_asks_to_wait_is_left_alone_so_long(address: str, server: OpenAiServer, form: str) -> None:
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)
    server.script = in_turn(scripts.rate_limited("1.2" if form == "seconds" else moment), "<text>hi</text>")
    async with talking(address, server) as stage:
        gateway = stage.gateway()
        (reply,) = await gateway.answer(await claimed(stage, await talker(stage)), [request()])
        await gateway.close()
    first, second = server.calls
    assert reply.failure is None
    assert second.started - first.ended > (1.1 if form == "seconds" else 0.5)


async def test_pauses_between_tries_grow_with_full_jitter(address: str, server: OpenAiServer) -> None:
    from workers.llm.endpoint import CallFailed
    from workers.llm.gateway import _Tries

    drawn: list[list[float]] = [[] for _ in range(9)]
    for _ in range(300):
        tries = _Tries(most=10, scale=1.0)
        for k in range(9):
            tries.failed(CallFailed("server", ""))
            drawn[k].append(tries.pause)
            assert not tries.is_over
        tries.failed(CallFailed("server", ""))
        assert tries.is_over
    for k, pauses in enumerate(drawn):
        most = min(60.0, 2.0**k)
        assert 0 <= min(pauses) < 0.1 * most and 0.9 * most < max(pauses) <= most

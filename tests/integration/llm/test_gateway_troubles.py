"""The gateway in trouble: what is broken rests, what is paid is recorded, who has lost a study calls nothing, secrets are kept."""

from __future__ import annotations

import asyncio
import logging
import time
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from services.domain.errors import Unavailable
from services.domain.llm import LlmReply
from services.profiles import read_profiles
from tests.integration.llm.support import claimed, dump, request, rows, talker, talking, usage
from tests.support import openai_scripts as scripts
from tests.support.builders import ADMIN
from tests.support.openai_scripts import Answer, in_turn
from tests.support.openai_server import OpenAiServer
from tests.support.servers import wait_for
from workers.llm.gateway import FIRST_REST_SECONDS, ClaimLost, NoGateway, _Breaker

KEY = "sk-very-secret-0123456789"


def slowly(seconds: float) -> scripts.Script:
    return lambda call: Answer(texts=("<text>hi</text>",), delay_seconds=seconds)


async def test_a_profile_that_failed_rests_and_is_tried_again_after_it(
    address: str, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr("workers.llm.gateway.time", clock)
    server.script = in_turn(scripts.server_error())
    async with talking(address, server, max_retries=0) as stage:
        gateway = stage.gateway()
        study, other = await talker(stage), await talker(stage)
        (first,) = await gateway.answer(await claimed(stage, study), [request("a")])
        clock.now += FIRST_REST_SECONDS - 0.1
        replies = await gateway.answer(await claimed(stage, other), [request(f"b{i}") for i in range(20)])
        assert [first.failure] + [r.failure for r in replies] == ["server"] * 21
        assert len(server.calls) == 1
        told = [e.data["reason"] for e in await stage.events(other, "llm.unavailable")]
        assert told == ["profile 'default' rests (server)"]
        clock.now += 0.2
        server.script = in_turn("<text>well again</text>")
        (reply,) = await gateway.answer(await claimed(stage, study), [request("a")])
        assert reply.failure is None and len(server.calls) == 2
        await gateway.close()


async def test_who_queued_behind_a_failure_does_not_call_after_it(address: str, server: OpenAiServer) -> None:
    server.script = lambda call: Answer(status=500, document={}, delay_seconds=0.1)
    async with talking(address, server, max_retries=0, concurrency=2) as stage:
        gateway = stage.gateway()
        replies = await gateway.answer(await claimed(stage, await talker(stage)), [request(f"k{i}") for i in range(30)])
        await gateway.close()
    assert [r.failure for r in replies] == ["server"] * 30
    assert len(server.calls) <= 3


async def test_a_server_that_asks_for_an_hour_is_not_waited_for_but_left_alone(
    address: str, server: OpenAiServer
) -> None:
    server.script = in_turn(scripts.rate_limited("3600"), "<text>too early</text>")
    async with talking(address, server) as stage:
        gateway = stage.gateway()
        claim = await claimed(stage, await talker(stage))
        started = time.monotonic()
        replies = [*(await gateway.answer(claim, [request("a")])), *(await gateway.answer(claim, [request("b")]))]
        assert [r.failure for r in replies] == ["rate_limited"] * 2
        assert len(server.calls) == 1 and time.monotonic() - started < 30
        await gateway.close()


def test_calls_that_fail_together_count_once_and_a_rest_grows_to_five_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("workers.llm.gateway.time.monotonic", lambda: now)
    breaker, rests = _Breaker(), []
    for _ in range(8):
        for _ in range(10):
            breaker.failed("server", 0.0)
        rests.append(breaker.until - now)
        now = breaker.until
    assert rests == [5, 10, 20, 40, 80, 160, 300, 300]
    breaker.succeeded()
    breaker.failed("server", 0.0)
    assert breaker.until - now == 5


async def test_a_profile_that_is_gone_is_said_once(address: str, server: OpenAiServer) -> None:
    async with talking(address, server) as stage:
        study = await talker(stage)
        claim = await claimed(stage, study)
        stage.services.profiles.clear()
        gateway = stage.gateway()
        for _ in range(2):
            replies = await gateway.answer(claim, [request("a"), request("b")])
            assert [r.failure for r in replies] == ["no_profile"] * 2
        (event,) = await stage.events(study, "llm.unavailable")
        assert event.data["reason"] == "there is no profile 'default' (any more)"
        assert server.calls == []


async def test_without_a_gateway_nothing_is_called(address: str, server: OpenAiServer) -> None:
    async with talking(address, server) as stage:
        claim = await claimed(stage, await talker(stage))
        gateway = NoGateway()
        assert [r.failure for r in await gateway.answer(claim, [request()])] == ["no_profile"]
        await gateway.close()
        assert server.calls == []


async def test_a_reply_is_recorded_through_an_outage_of_the_database(
    address: str, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with talking(address, server) as stage:
        study, gateway, settle = await talker(stage), stage.gateway(), stage.services.ledger.settle
        outages = iter([Unavailable("away"), Unavailable("away")])

        async def settled(*given: object) -> LlmReply:
            for outage in outages:
                raise outage
            return await settle(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(stage.services.ledger, "settle", settled)
        (reply,) = await gateway.answer(await claimed(stage, study), [request()])
        assert reply.failure is None and len(server.calls) == 1
        assert (await claimed(stage, study)).replies == (reply,)
        await gateway.close()


async def test_what_the_others_were_answered_is_recorded_when_one_request_meets_trouble(
    address: str, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = slowly(0.3)
    async with talking(address, server) as stage:
        study, gateway, reserve = await talker(stage), stage.gateway(), stage.services.ledger.reserve

        async def reserved(*given: object) -> object:
            if given[2].key == "b":  # type: ignore[attr-defined]
                raise Unavailable("away")
            return await reserve(*given)  # type: ignore[arg-type]

        monkeypatch.setattr(stage.services.ledger, "reserve", reserved)
        with pytest.raises(Unavailable):
            await gateway.answer(await claimed(stage, study), [request("a"), request("b"), request("c")])
        assert sorted(r.key for r in (await claimed(stage, study)).replies) == ["a", "c"]
        await gateway.close()


async def test_a_claim_that_is_lost_calls_nothing_more(address: str, server: OpenAiServer) -> None:
    async with talking(address, server) as stage:
        study, gateway = await talker(stage), stage.gateway()
        old = await claimed(stage, study)
        await claimed(stage, study)
        with pytest.raises(ClaimLost):
            await gateway.answer(old, [request("a"), request("b")])
        assert server.calls == []
        await gateway.close()


async def test_a_paused_study_calls_nothing_more(address: str, server: OpenAiServer) -> None:
    server.script = slowly(0.3)
    async with talking(address, server) as stage:
        study, gateway = await talker(stage, {"concurrency": 2}), stage.gateway()
        answering = asyncio.create_task(
            gateway.answer(await claimed(stage, study), [request(f"k{i}") for i in range(20)])
        )
        await asyncio.to_thread(wait_for, lambda: len(server.calls) == 2)
        await stage.services.studies.pause(ADMIN, study)
        with pytest.raises(ClaimLost):
            await answering
        assert len(server.calls) == 2
        assert (await usage(stage, study)).calls == 2  # recorded, for the day when it goes on
        await gateway.close()


async def test_neither_key_nor_address_is_stored_told_or_logged(
    empty_database: str, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOUSE_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"wrong key {KEY} at {server.url}/chat/completions (127.0.0.1:{server.port})"}}
    faults = [Answer(status=status, document=echo) for status in (500, 429, 401)]
    server.script = in_turn(*faults, scripts.cut_body(), "<text>hi</text>")
    profiles = read_profiles(server.profile(api_key_env="HOUSE_KEY", timeout_seconds=5))
    with capture_logs() as logged:
        async with talking(empty_database, profiles) as stage:
            gateway, study = stage.gateway(), await talker(stage)
            claim = await claimed(stage, study)
            monkeypatch.setattr("workers.llm.gateway.FIRST_REST_SECONDS", 0.0)
            replies = [(await gateway.answer(claim, [request(key)]))[0] for key in ("a", "b")]
            assert [r.failure for r in replies] == ["not_permitted", None]
            assert [c.headers["authorization"] for c in server.calls] == [f"Bearer {KEY}"] * 5
            read = str((await stage.services.studies.get(ADMIN, study)).model_dump())
            stored = await dump(stage)
            assert "wrong key ***" in stored and len(await rows(stage)) == 2
            await gateway.close()
    assert {entry["event"] for entry in logged} >= {"llm.retry", "llm.rests"}
    for told in (stored, read, str(logged), caplog.text, repr(replies)):
        assert KEY not in told and f"127.0.0.1:{server.port}" not in told and server.url not in told

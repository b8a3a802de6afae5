"""The ledger on both databases: recorded before used, paid once, budgets kept, and nothing forgotten when a dispatcher dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.domain.errors import NotFound
from services.domain.llm import LlmReply
from services.ledger import Answered, Busy, Refused, Reserved, Superseded, most_tokens
from services.store.llm import Spending
from tests.integration.llm.support import claimed, project_spending, request, rows, talker, talking, usage
from tests.support.builders import ADMIN
from tests.support.stage import Stage

ANSWER = Answered(reply={"texts": ["hello"], "cut": [False]}, prompt_tokens=7, completion_tokens=3, seconds=0.1)
BROKEN = Answered(failure="empty", detail="nothing", prompt_tokens=7)


@pytest.fixture
async def stage(empty_database: str) -> AsyncIterator[Stage]:
    async with talking(empty_database, price_in=1e6, price_out=2e6) as found:
        yield found


async def test_a_recorded_reply_is_replayed_and_comes_with_every_later_claim(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    claim = await claimed(stage, study)
    assert claim.replies == ()
    assert await ledger.reserve(study, claim.token, request(), profile) == Reserved()
    reply = await ledger.settle(study, claim.token, request(), profile, ANSWER)
    assert (reply.text, reply.failure) == ("hello", None)
    assert await ledger.reserve(study, claim.token, request(), profile) == reply
    again = await claimed(stage, study)
    assert again.replies == (reply,)
    assert await ledger.reserve(study, again.token, request(), profile) == reply
    assert (await stage.services.suggesting.claim(study, "one", again.seq)).replies == ()  # type: ignore[union-attr]
    found = await usage(stage, study)
    assert (found.calls, found.failed_calls, found.tokens, found.cost) == (1, 0, 10, 7 + 6)
    (event,) = await stage.events(study, "llm.replied")
    assert event.data == {"key": "s-0/0", "role": "writer", "profile": "default", "cost": 13.0, "tokens": 10}


async def test_another_request_under_the_same_key_is_another_call(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    claim = await claimed(stage, study)
    await ledger.reserve(study, claim.token, request(), profile)
    await ledger.settle(study, claim.token, request(), profile, ANSWER)
    assert await ledger.reserve(study, claim.token, request(content="write well"), profile) == Reserved()


async def test_a_failure_is_counted_and_told_and_may_be_called_again(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    claim = await claimed(stage, study)
    for calls in (1, 2):
        assert await ledger.reserve(study, claim.token, request(), profile) == Reserved()
        assert (await ledger.settle(study, claim.token, request(), profile, BROKEN)).failure == "empty"
        found = await usage(stage, study)
        assert (found.calls, found.failed_calls, found.prompt_tokens) == (calls, calls, 7 * calls)
    assert (await claimed(stage, study)).replies == ()
    told = [(e.data["failure"], e.data["detail"]) for e in await stage.events(study, "llm.failed")]
    assert told == [("empty", "nothing")] * 2
    assert await project_spending(stage) == Spending(2, 14, 14.0)


async def test_replies_with_any_text_come_back_as_they_were(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    claim = await claimed(stage, study)
    text = "名前 🙂 \u202e \x01 \\u0000 'quoted\" {x}\n" * 100
    asked = request(content=text)
    await ledger.reserve(study, claim.token, asked, profile)
    await ledger.settle(study, claim.token, asked, profile, Answered(reply={"texts": [text, ""], "cut": [True, False]}))
    (reply,) = (await claimed(stage, study)).replies
    assert (reply.texts, reply.cut) == ((text, ""), (True, False))


# -- budgets of a study


@pytest.mark.parametrize(("limit", "value"), [("max_calls", 1), ("max_total_tokens", 10), ("max_cost", 13.0)])
async def test_a_budget_that_is_reached_refuses_and_says_so_once(stage: Stage, limit: str, value: float) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage, {limit: value})
    claim = await claimed(stage, study)
    assert await ledger.reserve(study, claim.token, request("a"), profile) == Reserved()
    await ledger.settle(study, claim.token, request("a"), profile, ANSWER)
    for key in ("b", "c"):
        assert isinstance(await ledger.reserve(study, claim.token, request(key), profile), Refused)
    (event,) = await stage.events(study, "llm.budget_reached")
    assert event.data["reason"] == f"llm.{limit} of {value:g} is reached"
    assert isinstance(await ledger.reserve(study, claim.token, request("a"), profile), LlmReply)  # it is paid already


@pytest.mark.parametrize("limit", ["max_calls", "max_total_tokens", "max_cost"])
async def test_a_budget_of_nothing_allows_nothing(stage: Stage, limit: str) -> None:
    study = await talker(stage, {limit: 0})
    claim = await claimed(stage, study)
    found = await stage.services.ledger.reserve(study, claim.token, request(), stage.services.profiles["default"])
    assert isinstance(found, Refused)


async def test_near_a_budget_calls_come_one_after_the_other(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    most = sum(most_tokens(request("a"), profile))
    study = await talker(stage, {"max_total_tokens": most + 1})
    claim = await claimed(stage, study)
    assert await ledger.reserve(study, claim.token, request("a"), profile) == Reserved()
    assert await ledger.reserve(study, claim.token, request("b"), profile) == Reserved()  # a may leave something
    assert await ledger.reserve(study, claim.token, request("c"), profile) == Busy()
    await ledger.settle(study, claim.token, request("a"), profile, ANSWER)
    assert await ledger.reserve(study, claim.token, request("c"), profile) == Busy()
    await ledger.settle(study, claim.token, request("b"), profile, ANSWER)
    assert await ledger.reserve(study, claim.token, request("c"), profile) == Reserved()


async def test_a_raised_budget_lets_go_on(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage, {"max_calls": 0})
    claim = await claimed(stage, study)
    assert isinstance(await ledger.reserve(study, claim.token, request(), profile), Refused)
    await stage.services.studies.patch(ADMIN, study, {"llm": {"max_calls": 5}}, None)
    claim = await claimed(stage, study)
    assert await ledger.reserve(study, claim.token, request(), profile) == Reserved()


# -- calls whose dispatcher is gone


async def test_a_call_that_nobody_waits_for_any_more_counts_as_paid_at_its_most(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    dead = await claimed(stage, study)
    await ledger.reserve(study, dead.token, request("a"), profile)
    assert await usage(stage, study) == type(await usage(stage, study))()
    claim = await claimed(stage, study)
    assert await ledger.reserve(study, claim.token, request("a"), profile) == Reserved()
    prompt, completion = most_tokens(request("a"), profile)
    found = await usage(stage, study)
    assert (found.calls, found.failed_calls, found.tokens, found.estimated) == (1, 1, prompt + completion, True)
    assert found.cost == pytest.approx(profile.cost(prompt, completion))
    assert [e.data["key"] for e in await stage.events(study, "llm.lost")] == ["a"]
    await ledger.settle(study, claim.token, request("a"), profile, ANSWER)
    assert (await usage(stage, study)).calls == 2
    assert (await project_spending(stage)).calls == 2


async def test_a_lost_call_that_is_answered_after_all_is_put_right(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    slow = await claimed(stage, study)
    await ledger.reserve(study, slow.token, request("a"), profile)
    claim = await claimed(stage, study)
    await ledger.reserve(study, claim.token, request("b"), profile)
    assert (await usage(stage, study)).failed_calls == 1
    assert (await ledger.settle(study, slow.token, request("a"), profile, ANSWER)).text == "hello"
    found = await usage(stage, study)
    assert (found.calls, found.failed_calls, found.tokens) == (1, 0, 10)
    account = await project_spending(stage)
    assert (account.calls, account.tokens) == (1, 10)
    assert found.cost == pytest.approx(13) and account.cost == pytest.approx(13)
    assert [r.key for r in (await claimed(stage, study)).replies] == ["a"]


async def test_what_comes_after_the_call_was_made_again_is_dropped(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    slow = await claimed(stage, study)
    await ledger.reserve(study, slow.token, request("a"), profile)
    claim = await claimed(stage, study)
    await ledger.reserve(study, claim.token, request("a"), profile)
    late = Answered(reply={"texts": ["late"], "cut": [False]}, prompt_tokens=1, completion_tokens=1)
    assert (await ledger.settle(study, slow.token, request("a"), profile, late)).failure is not None
    assert (await ledger.settle(study, claim.token, request("a"), profile, ANSWER)).text == "hello"
    assert (await ledger.settle(study, slow.token, request("a"), profile, late)).text == "hello"
    most = sum(most_tokens(request("a"), profile))
    assert ((await usage(stage, study)).calls, (await usage(stage, study)).tokens) == (2, most + 10)


async def test_who_has_lost_the_study_calls_nothing_more(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    old = await claimed(stage, study)
    new = await claimed(stage, study)
    assert await ledger.reserve(study, old.token, request("a"), profile) == Superseded()
    assert await ledger.reserve(study, new.token, request("a"), profile) == Reserved()
    assert await ledger.reserve(study, old.token, request("a"), profile) == Superseded()
    assert [state for (state,) in await rows(stage, "state")] == ["open"]


# -- projects


async def test_a_projects_budget_is_shared_by_its_studies_and_outlives_them(empty_database: str) -> None:
    async with talking(empty_database, project_max_tokens=20) as stage:
        ledger, profile = stage.services.ledger, stage.services.profiles["default"]
        for left in (10, 0):
            study = await talker(stage)
            claim = await claimed(stage, study)
            assert await ledger.reserve(study, claim.token, request(), profile) == Reserved()
            await ledger.settle(study, claim.token, request(), profile, ANSWER)
            await stage.services.studies.delete(ADMIN, study)
            assert (await project_spending(stage)).tokens == 20 - left
        study = await talker(stage)
        claim = await claimed(stage, study)
        assert isinstance(await ledger.reserve(study, claim.token, request(), profile), Refused)
        (event,) = await stage.events(study, "llm.budget_reached")
        assert event.data["reason"] == "project_max_tokens of 20 is reached"


async def test_calls_of_a_projects_other_studies_are_waited_for_while_they_run(empty_database: str) -> None:
    async with talking(empty_database, project_max_cost=1000.0, price_in=1e6, price_out=1e6) as stage:
        ledger, profile = stage.services.ledger, stage.services.profiles["default"]
        first, second = await talker(stage), await talker(stage)
        one, two = await claimed(stage, first), await claimed(stage, second, "two")
        big = request(max_tokens=2000)
        assert await ledger.reserve(first, one.token, big, profile) == Reserved()
        assert await ledger.reserve(second, two.token, big, profile) == Busy()
        await ledger.settle(first, one.token, big, profile, ANSWER)
        assert await ledger.reserve(second, two.token, big, profile) == Reserved()


async def test_a_dead_dispatchers_calls_hold_nobody_up(empty_database: str) -> None:
    """Its study may never be asked again: who shares the project must not wait for it for ever."""
    async with talking(empty_database, project_max_cost=3000.0, price_in=1e6, price_out=1e6) as stage:
        ledger, profile = stage.services.ledger, stage.services.profiles["default"]
        first, second = await talker(stage), await talker(stage)
        one = await claimed(stage, first)
        big = request(max_tokens=2000)
        await ledger.reserve(first, one.token, big, profile)
        assert await ledger.reserve(second, (await claimed(stage, second)).token, big, profile) == Reserved()
        third = await talker(stage)
        three = await claimed(stage, third, "three")
        assert await ledger.reserve(third, three.token, big, profile) == Busy()
        for study, claim in ((first, one), (second, await claimed(stage, second))):
            await stage.services.suggesting.release(claim)
            await stage.services.studies.pause(ADMIN, study)
        # Nobody calls any more: both count as paid, which is more than the project may spend.
        assert isinstance(await ledger.reserve(third, three.token, big, profile), Refused)


async def test_a_claim_that_ran_out_is_dead_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    address = f"sqlite:///{tmp_path_factory.mktemp('late')}/asktell.db"
    async with talking(address, project_max_cost=10**9, price_in=1e6) as stage:
        ledger, profile = stage.services.ledger, stage.services.profiles["default"]
        first = await talker(stage)
        await ledger.reserve(first, (await claimed(stage, first)).token, request(), profile)
        stage.clock_ahead = timedelta(seconds=31).total_seconds()
        second = await talker(stage)
        await ledger.reserve(second, (await claimed(stage, second)).token, request("b"), profile)
        from services.store.llm import project_in_flight

        now = stage.services.transactions.now()
        running, dead = await stage.services.transactions.read(
            lambda connection: project_in_flight(connection, "default", "default", now)
        )
        assert (running.calls, dead.calls) == (1, 1)


async def test_a_study_deleted_in_mid_call_is_paid_by_its_project(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    study = await talker(stage)
    claim = await claimed(stage, study)
    await ledger.reserve(study, claim.token, request(), profile)
    await stage.services.studies.delete(ADMIN, study)
    with pytest.raises(NotFound):
        await ledger.settle(study, claim.token, request(), profile, ANSWER)
    prompt, completion = most_tokens(request(), profile)
    assert await project_spending(stage) == Spending(1, prompt + completion, profile.cost(prompt, completion))
    assert await rows(stage) == []


async def test_accounts_add_up_when_many_studies_pay_at_one_time(stage: Stage) -> None:
    ledger, profile = stage.services.ledger, stage.services.profiles["default"]
    studies = [await talker(stage) for _ in range(12)]

    async def pay(study: str) -> None:
        claim = await claimed(stage, study)
        keys = [f"k{i}" for i in range(5)]
        await asyncio.gather(*(ledger.reserve(study, claim.token, request(key), profile) for key in keys))
        await asyncio.gather(*(ledger.settle(study, claim.token, request(key), profile, ANSWER) for key in keys))

    await asyncio.gather(*(pay(study) for study in studies))
    assert await project_spending(stage) == Spending(60, 600, 60 * 13.0)
    assert [(await usage(stage, study)).calls for study in studies] == [5] * 12

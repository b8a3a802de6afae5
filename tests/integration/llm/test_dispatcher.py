"""Studies that talk, from ask to trial: nothing is called twice, nobody waits for another's model, and nothing loops without end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.domain.trial import Trial, TrialState
from tests.integration.llm.support import project_spending, talking, until_counted, until_idle, until_recorded, usage
from tests.support import openai_scripts as scripts
from tests.support.builders import ADMIN, study
from tests.support.openai_scripts import Answer, in_turn
from tests.support.openai_server import OpenAiServer
from tests.support.stage import Stage, until
from tests.support.talkative import SOURCE, talkative
from tests.support.thread_pool import ThreadPool
from workers.dispatcher import Dispatcher

pytestmark = pytest.mark.slow  # all of them together


async def talker(stage: Stage, llm: dict[str, Any] | None = None, **options: Any) -> str:
    return (await stage.services.studies.create(ADMIN, study(**talkative(llm, **options)))).value.id


async def dispatcher(stage: Stage, **options: Any) -> Dispatcher:
    return await stage.dispatcher(ThreadPool(SOURCE), **options)


async def tune(stage: Stage, study_id: str, trials: int) -> list[Trial]:
    found = []
    for _ in range(trials):
        found.append(await stage.one(study_id))
        await stage.tell(study_id, found[-1])
    return found


def often(server: OpenAiServer) -> Counter[str]:
    """How often each request was made."""
    return Counter(call.digest for call in server.calls)


async def test_a_study_is_proposed_what_its_model_answered(address: str, server: OpenAiServer) -> None:
    async with talking(address, server) as stage:
        await dispatcher(stage)
        study_id = await talker(stage, beside=3, rounds=2)
        trials = await tune(stage, study_id, 2)
        assert all(t.suggested_by.reason == "from the language model" and not t.suggested_by.fallback for t in trials)
        await until(lambda: len(server.calls) == 18)  # of the third one, made ahead
        assert set(often(server).values()) == {1}
        firsts = [call for call in server.calls if "trial 1 call" in call.shown]
        assert len(firsts) == 6
        texts = [f"<text>{call.shown.split('after ')[1].strip()}" for call in firsts if "round 1" in call.shown]
        assert len(texts) == 3 and all(
            "<text>" in text for text in texts
        )  # the second round was shown the first's reply


async def test_the_next_proposal_is_made_ahead(address: str, server: OpenAiServer) -> None:
    server.script = lambda call: Answer(texts=("<text>slow</text>",), delay_seconds=0.2)
    async with talking(address, server) as stage:
        await dispatcher(stage)
        study_id = await talker(stage)
        (first,) = await tune(stage, study_id, 1)
        assert first.number == 1
        await until_recorded(stage, 2)
        await until_idle(stage)
        (second,) = await stage.ask(study_id, wait_seconds=0)
        assert (second.number, second.suggested_by.reason) == (2, "from the language model")


# -- deaths


@asynccontextmanager
async def stopped_at(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, *, after: bool
) -> AsyncIterator[None]:
    """The block's dispatcher reaches calls of a use case, before or after their effect, and goes no further."""
    reached, real = asyncio.Event(), getattr(owner, name)

    async def stopping(*given: Any, **named: Any) -> Any:
        if after:
            await real(*given, **named)
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(owner, name, stopping)
    yield
    await asyncio.wait_for(reached.wait(), 60)
    monkeypatch.setattr(owner, name, real)


@pytest.mark.parametrize(
    ("place", "after", "calls", "lost"),
    [
        ("reserve", False, 1, 0),
        ("reserve", True, 1, 1),  # never made, but nobody can know that
        ("settle", False, 2, 1),  # the window between the server's answer and its record: unavoidable
        ("settle", True, 1, 0),
        ("commit", False, 1, 0),
        ("commit", True, 1, 0),
    ],
)
async def test_a_dispatcher_that_dies_at_any_step_has_nothing_paid_twice_that_was_recorded(
    empty_database: str,
    server: OpenAiServer,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    after: bool,
    calls: int,
    lost: int,
) -> None:
    async with talking(empty_database, server) as stage:
        study_id = await talker(stage)
        owner = stage.services.suggesting if place == "commit" else stage.services.ledger
        waiting = asyncio.create_task(stage.one(study_id))
        await until_counted(stage, "select 1 from asks", 1)
        async with stopped_at(stage, monkeypatch, owner, place, after=after):
            dying = await dispatcher(stage)
        await dying.close()
        await dispatcher(stage)
        trial = await waiting
        assert (trial.number, trial.suggested_by.reason) == (1, "from the language model")
        assert len(server.calls) == calls
        assert len(await stage.events(study_id, "llm.lost")) == lost
        found = await usage(stage, study_id)
        assert (found.calls, found.failed_calls, found.estimated) == (1 + lost, lost, bool(lost))
        assert (found.completion_tokens > 50) == bool(lost)  # at its most


async def test_a_restart_from_nothing_proposes_the_same_and_calls_nothing(address: str, server: OpenAiServer) -> None:
    async with talking(address, server) as stage:
        first = await dispatcher(stage)
        study_id = await talker(stage, beside=2)
        await tune(stage, study_id, 3)
        await until_recorded(stage, 8)
        await until_idle(stage)
        await first.close()
        await stage.services.transactions.write(lambda c: c.exec_driver_sql("delete from suggestions") and None)
        await stage.services.transactions.write(
            lambda c: c.exec_driver_sql("update study_progress set buffered = 0, wants = true") and None
        )
        await dispatcher(stage)
        trial = await stage.one(study_id)
        assert trial.number == 4 and set(often(server).values()) == {1}


async def test_two_dispatchers_call_once_for_each(empty_database: str, server: OpenAiServer) -> None:
    server.script = lambda call: Answer(texts=tuple(scripts.babble(call)), delay_seconds=0.05)
    async with talking(empty_database, server) as stage:
        for _ in range(2):
            await dispatcher(stage)
        studies = [await talker(stage, word=f"study{i}", rounds=2) for i in range(5)]
        trials = await asyncio.gather(*(tune(stage, study_id, 3) for study_id in studies))
        assert all(t.suggested_by.reason == "from the language model" for found in trials for t in found)
        assert set(often(server).values()) == {1}


# -- others


async def test_models_that_hang_hold_up_no_other_study(address: str, server: OpenAiServer) -> None:
    server.script = lambda call: scripts.hang() if "slow" in call.shown else "<text>hi</text>"
    async with talking(address, server, concurrency=64) as stage:
        await dispatcher(stage)
        slow = [await talker(stage, word="slow") for _ in range(6)]  # more than the dispatcher computes at one time
        asks = [asyncio.create_task(stage.ask(study_id, wait_seconds=1.0)) for study_id in slow]
        await until(lambda: len(server.calls) >= 6)
        numbers = (await stage.services.studies.create(ADMIN, study(suggester={"name": "steady"}))).value.id
        talks = await talker(stage, word="quick")
        async with asyncio.timeout(30):
            assert len(await tune(stage, numbers, 3)) == 3
            assert all(t.suggested_by.reason == "from the language model" for t in await tune(stage, talks, 3))
        assert await asyncio.gather(*asks) == [[]] * 6
        server.release()


async def test_a_study_deleted_in_mid_call_disturbs_nobody_and_is_paid(address: str, server: OpenAiServer) -> None:
    server.script = lambda call: scripts.hang() if "doomed" in call.shown else "<text>hi</text>"
    async with talking(address, server) as stage:
        made = await dispatcher(stage)
        doomed, well = await talker(stage, word="doomed", max_tokens=2000), await talker(stage, word="well")
        waiting = asyncio.create_task(stage.ask(doomed, wait_seconds=60))
        await until(lambda: any("doomed" in call.shown for call in server.calls))
        await stage.services.studies.delete(ADMIN, doomed)
        assert (await tune(stage, well, 2))[1].suggested_by.reason == "from the language model"
        with pytest.raises(Exception, match="no"):
            await waiting
        server.script = in_turn("<text>too late</text>")
        server.release()
        await until(lambda: doomed not in made.serving)
        assert await made.is_alive()
        account = await project_spending(stage)
        assert account.tokens > 2000  # the doomed call at its most, beside a few words


async def test_a_profile_that_is_removed_leaves_its_studies_to_edits(address: str, server: OpenAiServer) -> None:
    async with talking(address, server) as stage:
        first = await dispatcher(stage)
        study_id = await talker(stage, {"profile": "default"})
        await tune(stage, study_id, 1)
        await until_recorded(stage, 2)
        await until_idle(stage)
        await first.close()
        profile = stage.services.profiles.pop("default")
        second = await dispatcher(stage)
        trials = await tune(stage, study_id, 3)
        reasons = [t.suggested_by.reason for t in trials]
        assert reasons == ["from the language model", "edited: no_profile", "edited: no_profile"]  # one was made ahead
        assert len(await stage.events(study_id, "llm.unavailable")) == 1
        await until_idle(stage)
        await second.close()
        stage.services.profiles["default"] = profile
        await dispatcher(stage)
        again = await tune(stage, study_id, 2)
        assert again[-1].suggested_by.reason == "from the language model"


async def test_a_study_without_edits_waits_and_does_not_spin(address: str, server: OpenAiServer) -> None:
    server.script = in_turn(scripts.bad_request())
    async with talking(address, server) as stage:
        await dispatcher(stage)
        study_id = await talker(stage, edits=False)
        assert await stage.ask(study_id, wait_seconds=4) == []
        await until(lambda: server.calls != [])  # a slow machine has not come to its first one
        assert len(server.calls) <= 6
        state = (await stage.services.studies.get(ADMIN, study_id)).state
        assert state == "active"  # not taken for used up
        server.script = in_turn("<text>back</text>")
        trial = await stage.one(study_id)
        assert trial.suggested_by.reason == "from the language model"


async def test_a_budget_that_ends_in_the_middle_is_said_and_the_study_goes_on(
    address: str, server: OpenAiServer
) -> None:
    async with talking(address, server) as stage:
        await dispatcher(stage)
        study_id = await talker(stage, {"max_calls": 5}, beside=2)
        trials = await tune(stage, study_id, 6)
        reasons = [t.suggested_by.reason for t in trials]
        assert reasons[:2] == ["from the language model"] * 2
        assert all("budget" in reason for reason in reasons[2:])
        assert len(server.calls) == 5
        assert len(await stage.events(study_id, "llm.budget_reached")) == 1
        assert all(t.state is TrialState.RUNNING for t in trials)


async def test_what_needs_no_call_is_not_held_up_by_what_does(empty_database: str, server: OpenAiServer) -> None:
    server.script = lambda call: scripts.hang() if "trial 2 " in call.shown else "<text>hi</text>"
    async with talking(empty_database, server) as stage:
        study_id = await talker(stage)
        waiting = [asyncio.create_task(stage.ask(study_id, wait_seconds=60)) for _ in range(3)]
        await until_counted(stage, "select 1 from asks", 3)
        first = await dispatcher(stage)
        await until(lambda: len(server.calls) == 3)  # one hangs, the replies to the others are recorded
        await until_recorded(stage, 2)
        await first.close()
        await dispatcher(stage)
        done, _ = await asyncio.wait(waiting, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        assert [[t.number for t in task.result()] for task in done] == [[1]]
        server.script = in_turn("<text>hi</text>")
        server.release()
        assert sorted(t.number for found in await asyncio.gather(*waiting) for t in found) == [1, 2, 3]


async def test_a_method_that_never_stops_asking_is_stopped(
    address: str, server: OpenAiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.serving.MOST_TALKS", 4)
    async with talking(address, server) as stage:
        made = await dispatcher(stage)
        study_id = await talker(stage, rounds=10_000)
        assert await stage.ask(study_id, wait_seconds=0) == []
        failed = await stage.until_event(study_id, "study.suggester_failed")
        assert "asked the language model 4 times in a row" in failed[0].data["message"]
        assert 4 <= len(server.calls) <= 4 * (len(failed) + 1)
        await made.close()


async def test_a_stopped_service_leaves_no_call_open_for_ever(address: str, server: OpenAiServer) -> None:
    crowd = 4
    server.script = lambda call: scripts.hang()
    async with talking(address, server) as stage:
        made = await dispatcher(stage)
        studies = [await talker(stage, word=f"w{i}") for i in range(crowd)]
        asks = [asyncio.create_task(stage.ask(study_id, wait_seconds=1)) for study_id in studies]
        await until(lambda: len(server.calls) >= crowd)
        await asyncio.wait_for(made.close(), 20)
        assert await asyncio.gather(*asks) == [[]] * crowd
        server.script = scripts.babble
        await dispatcher(stage)
        for study_id in studies:
            assert (await stage.one(study_id)).suggested_by.reason == "from the language model"
        await until_counted(stage, "select 1 from llm_calls where state = 'open'", 0)

"""The update log of a vector that stays with its clients: written once, complete to the end, and drift is refused."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from services.answers import UpdateList
from services.domain.errors import Conflict, Invalid
from services.domain.trial import AskRequest, TellMany, Trial
from services.requests import UpdatesQuery
from tests.support.builders import ADMIN, outcome, study
from tests.support.stage import Stage, staged
from tests.support.thread_pool import ThreadPool
from workers.pools.local_pool import LocalPool
from workers.suggesters.registry import specs

pytestmark = pytest.mark.slow  # all of them together
THETA = [{"name": "theta", "type": "vector", "encoding": "seed", "shape": {"w": [1000, 1000]}}]


def stage_of(address: str) -> AbstractAsyncContextManager[Stage]:
    return staged(address, specs())


async def seeds(stage: Stage, **fields: Any) -> str:
    options = {"pairs": 2, "enough": 1.0, "noise": "popcount"} | fields.pop("options", {})
    spec = study(parameters=THETA, suggester={"name": "es", "options": options}, **fields)
    return (await stage.services.studies.create(ADMIN, spec)).value.id


async def log(stage: Stage, study_id: str, **query: Any) -> UpdateList:
    return await stage.services.updates.list(ADMIN, study_id, UpdatesQuery(**query))


async def until_version(stage: Stage, study_id: str, version: int) -> UpdateList:
    async with asyncio.timeout(60):
        while True:
            found = await log(stage, study_id)
            if found.latest >= version:
                return found
            await asyncio.sleep(0.02)


async def ask_as(stage: Stage, study_id: str, worker: str) -> Trial:
    request = AskRequest(worker=worker, wait_seconds=60)
    (trial,) = (await stage.services.asks.ask(ADMIN, study_id, request)).value.trials
    return trial


async def tell(stage: Stage, study_id: str, trial: Trial, loss: float, **fields: Any) -> None:
    await stage.services.tells.tell(ADMIN, study_id, trial.number, outcome(loss, **fields))


async def test_the_log_is_there_before_any_trial_that_builds_on_it_and_complete_in_the_end(empty_database: str) -> None:
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage, limits={"max_trials": 11})
        for number in range(11):
            trial = await stage.one(study_id)
            version = trial.parameters["theta"]["theta_version"]
            assert version == number // 4
            assert (await log(stage, study_id)).latest == version
            await tell(stage, study_id, trial, float(number % 3))
        # Two whole generations, and what the budget left of a third.
        found = await until_version(stage, study_id, 3)
        assert [len(update.pairs) for update in found.updates] == [2, 2, 1]
        assert (await stage.services.studies.get(ADMIN, study_id)).state == "completed"
        part = await log(stage, study_id, **{"from": 1, "limit": 1})
        assert [update.theta_version for update in part.updates] == [1]
        assert part.latest == 3
        assert [event.data["theta_version"] for event in await stage.events(study_id, "update.published")] == [0, 1, 2]


async def test_a_killed_process_between_any_two_calls_changes_no_update(empty_database: str) -> None:
    async def run(stage: Stage, pool: LocalPool, name: str, *, kills: bool) -> list[Any]:
        study_id = await seeds(stage, name=name, limits={"max_trials": 12})
        for number in range(12):
            if kills and number % 3 == 1:
                for pid in pool.pids:
                    os.kill(pid, signal.SIGKILL)
            trial = await stage.one(study_id)
            assert not trial.suggested_by.fallback
            await tell(stage, study_id, trial, float(number % 5))
        return [update.wire() for update in (await until_version(stage, study_id, 3)).updates]

    async with stage_of(empty_database) as stage:
        pool = LocalPool(1)
        await stage.dispatcher(pool)
        assert await run(stage, pool, "a", kills=True) == await run(stage, pool, "b", kills=False)


@pytest.mark.parametrize("turn", ["pause", "complete"])
async def test_a_study_that_hands_out_nothing_more_still_owes_its_updates(empty_database: str, turn: str) -> None:
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage, limits={"max_trials": 9})
        first, second = await stage.ask(study_id, count=5), await stage.ask(study_id, count=4)
        for trial in first[:4]:
            await tell(stage, study_id, trial, float(trial.number))
        await getattr(stage.services.studies, turn)(ADMIN, study_id)
        await until_version(stage, study_id, 1)  # while others run, perhaps for ever
        for trial in [*first[4:], *second]:  # of generation 0 as well: too late
            await tell(stage, study_id, trial, 0.0)
        assert [u.pairs for u in (await log(stage, study_id)).updates] == [(0, 1)]
        await stage.services.studies.delete(ADMIN, study_id)


async def test_limits_that_change_leave_the_log_and_what_follows_it_in_one_piece(empty_database: str) -> None:
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage, options={"pairs": None}, limits={"max_trials": 86})  # two pairs

        async def evaluate(count: int) -> list[int]:
            versions = []
            for number in range(count):
                trial = await stage.one(study_id)
                versions.append(trial.parameters["theta"]["theta_version"])
                assert versions[-1] == (await log(stage, study_id)).latest
                await tell(stage, study_id, trial, float(number % 3))
            return versions

        await evaluate(5)
        for most, versions, latest in ((7, [1, 1], 2), (1000, [2, 2, 2, 2, 3, 3, 3], 3), (17, [3, 4, 4], 5)):
            await stage.services.studies.patch(ADMIN, study_id, {"limits": {"max_trials": most}})
            assert await evaluate(len(versions)) == versions
            found = await until_version(stage, study_id, latest)
        assert [(u.theta_version, u.pairs) for u in found.updates] == [
            (0, (0, 1)), (1, (0,)), (2, (0, 1)), (3, (0, 1)), (4, (0,))
        ]  # fmt: skip


async def test_most_workers_decide_which_theta_holds(empty_database: str) -> None:
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage)
        trials = {worker: await ask_as(stage, study_id, worker) for worker in ("first", "second", "third")}
        await tell(stage, study_id, trials["first"], 1.0, fingerprint="0" * 16)
        with pytest.raises(Conflict, match="rebuild them from the update log"):
            await tell(stage, study_id, trials["second"], 1.0, fingerprint="1" * 16)
        refused = await stage.services.trials.get(ADMIN, study_id, trials["second"].number)
        assert refused.state == "running"
        await tell(stage, study_id, trials["third"], 1.0, fingerprint="1" * 16)  # two against one by now
        await tell(stage, study_id, trials["second"], 1.0, fingerprint="1" * 16)
        again = await ask_as(stage, study_id, "first")
        with pytest.raises(Conflict):
            await tell(stage, study_id, again, 1.0, fingerprint="0" * 16)
        await tell(stage, study_id, again, 1.0, fingerprint="1" * 16)  # rebuilt
        assert (await until_version(stage, study_id, 1)).updates[0].pairs == (0, 1)


async def test_workers_without_a_name_do_not_speak_for_each_other(empty_database: str) -> None:
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage)
        first, second, third = [await ask_as(stage, study_id, "") for _ in range(3)]
        await tell(stage, study_id, first, 1.0, fingerprint="0" * 16)
        with pytest.raises(Conflict, match="rebuild"):
            await tell(stage, study_id, second, 1.0, fingerprint="1" * 16)
        await tell(stage, study_id, second, 1.0, fingerprint="0" * 16)
        with pytest.raises(Conflict, match="rebuild"):
            await tell(stage, study_id, third, 1.0, fingerprint="1" * 16)


async def test_a_long_log_comes_in_parts_that_fit_a_message(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.updates.MOST_BYTES", 700)  # an update of two pairs is some 300 bytes long
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage)
        for number in range(20):
            await tell(stage, study_id, await stage.one(study_id), float(number % 3))
        latest = (await until_version(stage, study_id, 5)).latest
        parts = [await log(stage, study_id, **{"from": version}) for version in range(0, 5, 2)]
        assert [[u.theta_version for u in part.updates] for part in parts] == [[0, 1], [2, 3], [4]]
        assert {part.latest for part in parts} == {latest} == {5}
        monkeypatch.setattr("services.updates.MOST_BYTES", 1)  # longer than that each: one by one
        assert [u.theta_version for u in (await log(stage, study_id)).updates] == [0]
        assert (await log(stage, study_id, **{"from": 5})).updates == ()


async def test_thousands_are_handed_out_and_told_in_one_call_each(empty_database: str) -> None:
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage, options={"pairs": 1000}, limits={"max_trials": 2000})
        trials = await stage.ask(study_id, count=2000)
        assert [trial.number for trial in trials] == list(range(1, 2001))
        outcomes = tuple({"number": t.number, "metrics": {"loss": float(t.number % 7)}} for t in trials)
        wish = TellMany(outcomes=outcomes, brief=True)
        results = (await stage.services.tells.tell_many(ADMIN, study_id, wish)).value.results
        assert {(result.status, result.trial) for result in results} == {(200, None)}
        (update,) = (await until_version(stage, study_id, 1)).updates
        assert len(update.pairs) == 1000


async def test_a_log_that_began_keeps_its_method(empty_database: str) -> None:
    async with stage_of(empty_database) as stage:
        await stage.dispatcher(ThreadPool())
        study_id = await seeds(stage)
        await stage.one(study_id)
        with pytest.raises(Conflict, match="never changes"):
            await stage.services.studies.patch(ADMIN, study_id, {"suggester": {"options": {"pairs": 9}}})
        plain = await stage.services.studies.create(ADMIN, study())
        with pytest.raises(Invalid, match="no updates"):
            await log(stage, plain.value.id)

"""Suggesters, processes and dispatchers that fail: clients are answered, and the studies beside go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from services.domain.trial import TrialState
from tests.support.builders import ADMIN
from tests.support.servers import Postgres
from tests.support.stage import Stage, kill_at, staged, until, until_exists
from tests.support.troublesome import SOURCE
from workers.pools.local_pool import LocalPool


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """SQLite, no dispatcher yet."""
    async with staged(f"sqlite:///{tmp_path}/asktell.db") as found:
        yield found


async def test_an_ask_is_answered_by_the_suggester_with_all_that_was_told(stage: Stage) -> None:
    await stage.dispatcher()
    study = await stage.study()
    first = await stage.one(study)
    await stage.tell(study, first, 0.25)
    second = await stage.one(study)
    assert not first.suggested_by.fallback
    assert (first.suggested_by.reason, second.suggested_by.reason) == ("sum 0", "sum 0.25")


@pytest.mark.parametrize(
    ("trouble", "suggester", "kind"),
    [
        ("raise", "steady", "raised"),
        ("outside", "steady", "raised"),
        ("not_json", "steady", "raised"),
        ("hang", "hasty", "hung"),
        ("hog", "steady", "memory"),
        ("exit", "steady", "lost"),
    ],
)
async def test_a_broken_suggester_says_so_and_the_client_goes_on_with_the_net(
    stage: Stage, trouble: str, suggester: str, kind: str
) -> None:
    await stage.dispatcher(LocalPool(1, source=SOURCE, memory_bytes=400 * 2**20))
    ill, well = await stage.study(suggester, trouble=trouble), await stage.study()
    trial, other = await asyncio.gather(stage.one(ill), stage.one(well))
    assert trial.suggested_by.fallback
    assert trial.suggested_by.suggester == "sobol"
    assert trial.suggested_by.reason.startswith(suggester)
    assert not other.suggested_by.fallback
    (event,) = await stage.until_event(ill, "study.suggester_failed")  # on a slow machine the net comes first
    assert event.data["kind"] == kind


async def test_a_resting_suggester_keeps_nobody_waiting_and_is_tried_again(stage: Stage, tmp_path: Path) -> None:
    await stage.dispatcher(pause_seconds=6.0)
    marker = tmp_path / "healed"
    study = await stage.study("hasty", trouble="hang", marker=str(marker))
    for _ in range(3):
        trial = await stage.one(study)
        assert trial.suggested_by.fallback
        await stage.tell(study, trial, 1.0)
    assert len(await stage.events(study, "study.suggester_failed")) == 1
    marker.touch()
    while trial.suggested_by.fallback:
        await asyncio.sleep(0.2)
        trial = await stage.one(study)
        await stage.tell(study, trial, 1.0)
    assert trial.suggested_by.suggester == "hasty"
    assert trial.suggested_by.reason == f"sum {trial.number - 1}"


async def test_where_no_net_holds_the_ask_becomes_an_operation_that_is_answered_later(
    stage: Stage, tmp_path: Path
) -> None:
    await stage.dispatcher()
    marker = tmp_path / "healed"
    study = await stage.study(
        trouble="raise", marker=str(marker),
        parameters=[{"name": "x", "type": "float", "min": 0, "max": 1}, {"name": "t", "type": "text", "max_length": 9}],
    )  # fmt: skip
    assert await stage.ask(study, wait_seconds=0) == []
    await stage.until_event(study, "study.suggester_failed")


async def test_killed_in_mid_suggestion_the_sequence_is_the_same_as_undisturbed(stage: Stage, tmp_path: Path) -> None:
    await stage.dispatcher()
    marker = tmp_path / "pid"
    undisturbed = await stage.study(at=4)
    disturbed = await stage.study(trouble="wait", at=4, marker=str(marker))
    expected = await stage.tune(undisturbed, 6)
    tuning = asyncio.create_task(stage.tune(disturbed, 6))
    await until_exists(marker)
    kill_at(marker)
    assert await tuning == expected
    assert await stage.events(disturbed, "study.suggester_failed") == []


async def test_two_dispatchers_give_the_same_sequences_as_one(database: str) -> None:
    async with staged(database) as stage:
        alone = await stage.dispatcher()
        expected = await stage.tune(await stage.study(), 8)
        await alone.close()
        for _ in range(2):
            await stage.dispatcher()
        studies = [await stage.study() for _ in range(4)]
        assert await asyncio.gather(*(stage.tune(study, 8) for study in studies)) == [expected] * 4


async def test_a_crowd_of_busy_studies_leaves_none_behind(stage: Stage) -> None:
    await stage.dispatcher()
    studies = [await stage.study() for _ in range(20)]
    found = await asyncio.gather(*(stage.tune(study, 3) for study in studies))
    assert found == [found[0]] * 20


async def test_a_dispatcher_that_comes_too_late_writes_nothing(stage: Stage, tmp_path: Path) -> None:
    slow = await stage.dispatcher(renew_seconds=3600)
    marker = tmp_path / "pid"
    study = await stage.study(trouble="wait", marker=str(marker))
    waiting = asyncio.create_task(stage.one(study))
    await until_exists(marker)
    stage.clock_ahead = 31.0  # the claim has run out
    await stage.dispatcher()
    trial = await waiting
    kill_at(marker)  # now the slow one computes once more, and commits
    await until(lambda: not slow.serving)
    found = await stage.services.trials.get(ADMIN, study, trial.number)
    assert (found.number, found.state) == (1, TrialState.RUNNING)
    assert (await stage.services.studies.get(ADMIN, study)).trial_counts.running == 1


async def test_a_dispatcher_that_closes_hands_its_claims_on_at_once(stage: Stage, tmp_path: Path) -> None:
    first = await stage.dispatcher()
    marker = tmp_path / "pid"
    study = await stage.study(trouble="wait", marker=str(marker))
    waiting = asyncio.create_task(stage.one(study))
    await until_exists(marker)
    await first.close()
    assert not psutil.pid_exists(int(marker.read_text()))
    await stage.dispatcher()
    assert not (await asyncio.wait_for(waiting, 60)).suggested_by.fallback


async def test_a_study_deleted_while_it_is_computed_disturbs_nobody(stage: Stage, tmp_path: Path) -> None:
    dispatcher = await stage.dispatcher(LocalPool(1, source=SOURCE, patience_seconds=0.2))
    marker = tmp_path / "pid"
    doomed, well = await stage.study(trouble="wait", marker=str(marker)), await stage.study()
    waiting = asyncio.create_task(stage.ask(doomed))
    await until_exists(marker)
    await stage.services.studies.delete(ADMIN, doomed)
    assert not (await stage.one(well)).suggested_by.fallback
    kill_at(marker)
    with pytest.raises(Exception, match="no"):
        await waiting
    await until(lambda: not dispatcher.serving)
    assert await dispatcher.is_alive()


async def test_a_study_that_is_given_another_suggester_in_mid_computation_gets_that_ones_points(
    stage: Stage, tmp_path: Path
) -> None:
    await stage.dispatcher(LocalPool(1, source=SOURCE, patience_seconds=0.2))
    marker = tmp_path / "pid"
    study = await stage.study(trouble="wait", marker=str(marker))
    waiting = asyncio.create_task(stage.one(study))
    await until_exists(marker)
    await stage.services.studies.patch(ADMIN, study, {"suggester": {"name": "hasty", "options": None}}, None)
    kill_at(marker)
    assert (await waiting).suggested_by.suggester == "hasty"


@pytest.mark.slow
async def test_a_database_that_goes_away_for_a_while_costs_nothing_but_time(tmp_path: Path) -> None:
    server = await asyncio.to_thread(lambda: Postgres().start())
    try:
        async with staged(server.url("away")) as stage:
            dispatcher = await stage.dispatcher()
            study, marker = await stage.study(trouble="wait", at=2, marker=str(tmp_path / "pid")), tmp_path / "pid"
            first = await stage.one(study)
            await stage.tell(study, first, 0.25)
            await until_exists(marker)
            await asyncio.to_thread(server.kill)
            while await dispatcher.is_alive():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            kill_at(marker)  # the next try finds no database to commit to
            await asyncio.sleep(1.0)
            await asyncio.to_thread(server.start)
            while not await dispatcher.is_alive():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            second = await stage.one(study)
            assert (second.number, second.suggested_by.reason) == (2, "sum 0.25")
    finally:
        await asyncio.to_thread(server.stop)

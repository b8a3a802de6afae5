"""Who runs where and when, with computations that the test ends itself."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.jobs import job
from workers.pools.pool import Job, Result, RunnerLost, SuggesterRaised, home
from workers.pools.schedule import Patience, Schedule

DONE = Result(suggestions=(), blob=None, seconds=0.0)


class Bench:
    """Places whose jobs run until `finish`; what happened is kept."""

    def __init__(self, places: int, spares: int = 0, **patience: float) -> None:
        self.ran: list[tuple[str, int]] = []
        self.retired: list[int] = []
        self._ends: dict[str, asyncio.Future[Result]] = {}
        self.schedule = Schedule(self._compute, self.retired.append, places, spares, Patience(**patience))

    async def _compute(self, index: int, job: Job) -> Result:
        self.ran.append((job.study, index))
        self._ends[job.study] = asyncio.get_running_loop().create_future()
        return await self._ends[job.study]

    def begin(self, study: str) -> asyncio.Task[object]:
        """A job of a study, on its way."""
        return asyncio.create_task(self.schedule.run(job(study)))

    async def finish(self, study: str, error: Exception | None = None) -> None:
        """The end of a study's computation."""
        if error is None:
            self._ends[study].set_result(DONE)
        else:
            self._ends[study].set_exception(error)
        await settled()


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def at_home(place: int, places: int = 2) -> list[str]:
    """Studies whose hash says one place."""
    return [f"n{i}" for i in range(100) if home(f"n{i}", places) == place]


async def test_an_idle_place_takes_what_waits_and_the_study_stays_there() -> None:
    bench = Bench(2)
    first, second = at_home(0)[:2]
    tasks = [bench.begin(first), bench.begin(second)]
    await settled()
    assert bench.ran == [(first, 0), (second, 1)]
    await bench.finish(first)
    await bench.finish(second)
    tasks.append(bench.begin(second))
    await settled()
    assert bench.ran[-1] == (second, 1)
    await bench.finish(second)
    assert await asyncio.gather(*tasks) == [DONE] * 3


async def test_what_waits_longest_is_taken_first() -> None:
    bench = Bench(1)
    tasks = [bench.begin(study) for study in "abcd"]
    await settled()
    for study in "abcd":
        assert bench.ran[-1][0] == study
        await bench.finish(study)
    await asyncio.gather(*tasks)


async def test_a_spare_place_helps_only_who_has_waited_and_is_given_up_when_idle() -> None:
    bench = Bench(1, 1, spare=0.05, spare_idle=0.05)
    slow, quick = bench.begin("slow"), bench.begin("quick")
    await settled()
    assert bench.ran == [("slow", 0)]
    while len(bench.ran) < 2:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert bench.ran[1] == ("quick", 1)
    await bench.finish("quick")
    assert await quick == DONE
    while not bench.retired:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert bench.retired == [1]
    await bench.finish("slow")
    await slow


async def test_fewer_places_end_the_last_ones_and_move_their_jobs() -> None:
    bench = Bench(2)
    running, waiting = at_home(1)[:2]
    blocker = at_home(0)[0]
    tasks = [bench.begin(study) for study in (blocker, running, waiting)]
    await settled()
    bench.schedule.resize(1)
    assert bench.retired == []
    await bench.finish(running)
    assert bench.retired == [1]
    await bench.finish(blocker)
    assert bench.ran[-1] == (waiting, 0)
    await bench.finish(waiting)
    assert await asyncio.gather(*tasks) == [DONE] * 3
    bench.schedule.resize(3)
    assert bench.schedule.places == 3


async def test_an_error_reaches_only_its_job_and_the_place_goes_on() -> None:
    bench = Bench(1)
    ill, well = bench.begin("ill"), bench.begin("well")
    await settled()
    await bench.finish("ill", SuggesterRaised("broken"))
    with pytest.raises(SuggesterRaised):
        await ill
    await bench.finish("well")
    assert await well == DONE


async def test_a_job_that_nobody_waits_for_any_more_is_not_run() -> None:
    bench = Bench(1)
    running, gone = bench.begin("running"), bench.begin("gone")
    await settled()
    gone.cancel()
    await bench.finish("running")
    await running
    assert [study for study, _ in bench.ran] == ["running"]


async def test_a_shut_schedule_refuses_what_waits_and_what_comes() -> None:
    bench = Bench(1)
    running, waiting = bench.begin("running"), bench.begin("waiting")
    await settled()
    bench.schedule.shut()
    with pytest.raises(RunnerLost):
        await waiting
    with pytest.raises(RunnerLost):
        await bench.schedule.run(job("late"))
    await bench.finish("running")
    await bench.schedule.finished()
    assert await running == DONE


def test_one_place_more_moves_few_studies() -> None:
    studies = [f"study-{n}" for n in range(1000)]
    moved = sum(home(study, 4) != home(study, 5) for study in studies)
    assert 120 < moved < 280  # a fifth; plain remainders would move four fifths

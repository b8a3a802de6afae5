"""The local pool with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from structlog.testing import capture_logs

from tests.support.jobs import job, told
from tests.support.servers import wait_for
from tests.support.stage import lives
from tests.support.troublesome import SOURCE
from workers.pools.local_pool import LocalPool
from workers.pools.pool import (
    Job,
    NeedsHistory,
    Result,
    RunnerLost,
    SuggesterHung,
    SuggesterOutOfMemory,
    SuggesterRaised,
    home,
)


@asynccontextmanager
async def pool(processes: int = 1, **options: Any) -> AsyncIterator[LocalPool]:
    """A pool that is closed afterwards."""
    found = LocalPool(processes, source=SOURCE, **options)
    try:
        yield found
    finally:
        await found.close()


async def answered(running: LocalPool, wanted: Job) -> Result:
    """The result of a job that must succeed."""
    answer = await running.run(wanted)
    assert isinstance(answer, Result)
    return answer


def pid_of(result: Result) -> int:
    """The process that computed."""
    return int(result.suggestions[0].origin["pid"])


async def until(condition: Any, seconds: float = 60.0) -> None:
    """Wait without holding up the loop."""
    await asyncio.to_thread(wait_for, condition, seconds)


async def test_nothing_starts_before_the_first_job() -> None:
    async with pool() as running:
        assert running.pids == []
        result = await answered(running, job())
        assert running.pids == [pid_of(result)] != [os.getpid()]


async def test_a_study_stays_in_its_process() -> None:
    async with pool(2) as running:
        ids = [f"study-{n}" for n in range(6)]
        first = {study: pid_of(await answered(running, job(study))) for study in ids}
        assert len(set(first.values())) == 2
        for study in ids:
            again = await answered(running, job(study, known_seq=1, seq=2, next_number=2))
            assert pid_of(again) == first[study]


async def test_a_runner_computes_with_one_thread() -> None:
    async with pool() as running:
        process = psutil.Process(pid_of(await answered(running, job())))
        assert process.environ()["OMP_NUM_THREADS"] == "1"


async def test_a_broken_suggester_leaves_its_process_to_the_others() -> None:
    async with pool() as running:
        before = pid_of(await answered(running, job("well")))
        with pytest.raises(SuggesterRaised, match="this suggester is broken"):
            await running.run(job("ill", trouble="raise"))
        assert pid_of(await answered(running, job("well", known_seq=1, seq=2))) == before


async def test_a_hanging_suggester_is_killed_and_its_place_filled_again() -> None:
    async with pool() as running:
        before = pid_of(await answered(running, job("well")))
        with pytest.raises(SuggesterHung, match=r"hasty did not answer within 1.5 s"):
            await running.run(job("ill", suggester="hasty", trouble="hang"))
        assert not psutil.pid_exists(before)
        assert await running.run(job("well", known_seq=1, seq=2)) == NeedsHistory()
        assert pid_of(await answered(running, job("well", seq=2))) != before


async def test_a_hog_is_killed_at_the_limit() -> None:
    async with pool(memory_bytes=400 * 2**20) as running:
        with pytest.raises(SuggesterOutOfMemory):
            await running.run(job("ill", trouble="hog"))
        await answered(running, job("well"))


async def test_a_slow_study_does_not_hold_up_another(tmp_path: Path) -> None:
    async with pool(1, patience_seconds=0.2) as running:
        marker = tmp_path / "pid"
        slow = asyncio.create_task(running.run(job("slow", trouble="wait", marker=str(marker))))
        await until(marker.exists)
        await answered(running, job("quick"))
        assert not slow.done()
        os.kill(int(marker.read_text()), signal.SIGKILL)
        with pytest.raises(RunnerLost):
            await slow


async def test_an_idle_process_takes_over_what_waits_behind_a_busy_one(tmp_path: Path) -> None:
    async with pool(2, patience_seconds=3600.0) as running:
        marker = tmp_path / "pid"
        slow = asyncio.create_task(running.run(job("slow", trouble="wait", marker=str(marker))))
        await until(marker.exists)
        same_home = next(f"n{i}" for i in range(100) if home(f"n{i}", 2) == home("slow", 2))
        await answered(running, job(same_home))
        os.kill(int(marker.read_text()), signal.SIGKILL)
        with pytest.raises(RunnerLost):
            await slow


async def test_killed_in_mid_suggestion_it_continues_the_same_sequence_elsewhere(tmp_path: Path) -> None:
    history = tuple(told(n, n / 9, n + 1) for n in range(1, 4))
    marker = tmp_path / "pid"
    async with pool() as running:
        undisturbed = await answered(running, job("a", at=4, observations=history, seq=4, next_number=4, count=3))
        wanted = job("b", at=4, trouble="wait", marker=str(marker), observations=history, seq=4, next_number=4, count=3)
        disturbed = asyncio.create_task(running.run(wanted))
        await until(marker.exists)
        os.kill(int(marker.read_text()), signal.SIGKILL)
        with pytest.raises(RunnerLost, match="ended with -9"):
            await disturbed
        again = await answered(running, wanted)
        assert [s.parameters for s in again.suggestions] == [s.parameters for s in undisturbed.suggestions]
        assert pid_of(again) != int(marker.read_text())


async def test_a_process_that_ends_by_itself_is_lost() -> None:
    with capture_logs() as logged:
        async with pool() as running:
            with pytest.raises(RunnerLost, match="ended with 3"):
                await running.run(job(trouble="exit"))
    assert [(line["event"], line["kind"]) for line in logged] == [("process.ended", "lost")]


async def test_closing_ends_every_process_and_every_job_without_a_warning(tmp_path: Path) -> None:
    with capture_logs() as logged:
        await close_in_mid_suggestion(tmp_path)
    assert logged == []


async def close_in_mid_suggestion(tmp_path: Path) -> None:
    """While one job runs and another waits."""
    async with pool() as running:
        marker = tmp_path / "pid"
        slow = asyncio.create_task(running.run(job("slow", trouble="wait", marker=str(marker))))
        await until(marker.exists)
        behind = asyncio.create_task(running.run(job("behind")))
        await asyncio.sleep(0)
    for task in (slow, behind):
        with pytest.raises(RunnerLost):
            await task
    assert not psutil.pid_exists(int(marker.read_text()))
    with pytest.raises(RunnerLost):
        await running.run(job())


PARENT = """
import asyncio, sys
from workers.pools.local_pool import LocalPool
from tests.support.jobs import job
from tests.support.troublesome import SOURCE

async def main():
    pool = LocalPool(1, source=SOURCE)
    await pool.run(job())
    print(pool.pids[0], flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


def test_processes_die_with_a_parent_that_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        parent.kill()
        parent.wait()
        wait_for(lambda: not lives(child), what="the child's end")


def test_the_pool_imports_nothing_heavy() -> None:
    code = "import sys, workers.pools.local_pool, workers.dispatcher; print([m for m in ('torch', 'ray') if m in sys.modules])"
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stdout.strip() == "[]"

"""The Ray pool on a cluster of its own: one node on loopback."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from tests.integration.llm.jobs import talk
from tests.support.jobs import job, told
from tests.support.stage import lives, until, until_exists
from tests.support.talkative import SOURCE
from workers.pools.pool import (
    Job,
    NeedsHistory,
    Result,
    RunnerLost,
    SuggesterHung,
    SuggesterOutOfMemory,
    SuggesterRaised,
)
from workers.pools.ray_pool import RETRY_SECONDS, RayPool

pytestmark = [pytest.mark.ray, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool() -> AsyncIterator[RayPool]:
    """Two places. Ray gives up on its own start after 30 s, which a machine under load exceeds; the pool then tries again."""
    found = RayPool(places=2, memory_bytes=500 * 2**20, source=SOURCE)
    for _ in range(3):
        with suppress(RunnerLost):
            await found.run(job("first"))
            break
        await asyncio.sleep(RETRY_SECONDS)
    yield found
    await found.close()


async def answered(pool: RayPool, wanted: Job) -> Result:
    """The result of a job that must succeed."""
    answer = await pool.run(wanted)
    assert isinstance(answer, Result)
    return answer


def pid_of(result: Result) -> int:
    """The process that computed."""
    return int(result.suggestions[0].origin["pid"])


async def test_a_study_stays_with_its_actor_and_the_loop_stays_free(pool: RayPool) -> None:
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.01)
            beats += 1

    heart = asyncio.create_task(beat())
    first = {f"s{n}": pid_of(await answered(pool, job(f"s{n}"))) for n in range(4)}
    heart.cancel()
    assert beats > 50  # an actor took a second to start meanwhile
    assert os.getpid() not in first.values()
    for study, pid in first.items():
        assert pid_of(await answered(pool, job(study, known_seq=1, seq=2))) == pid
    assert pool.capacity == 2


async def test_an_actor_computes_with_one_thread(pool: RayPool) -> None:
    assert psutil.Process(pid_of(await answered(pool, job()))).environ()["OMP_NUM_THREADS"] == "1"


async def test_nothing_of_it_listens_beyond_loopback(pool: RayPool) -> None:
    await answered(pool, job())
    ours = psutil.Process().children(recursive=True)
    listening = {
        c.laddr.ip
        for p in [psutil.Process(), *ours]
        for c in p.net_connections("inet")
        if c.status == psutil.CONN_LISTEN
    }
    assert listening <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert listening != set()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


async def test_every_kind_of_trouble_has_its_error(pool: RayPool) -> None:
    with pytest.raises(SuggesterRaised, match="this suggester is broken"):
        await pool.run(job("a", trouble="raise"))
    with pytest.raises(SuggesterHung):
        await pool.run(job("b", suggester="hasty", trouble="hang"))
    with pytest.raises(SuggesterOutOfMemory):
        await pool.run(job("c", trouble="hog"))
    with pytest.raises(RunnerLost):
        await pool.run(job("d", trouble="exit"))
    await answered(pool, job("well"))


async def test_a_killed_actor_is_replaced_and_the_sequence_goes_on(pool: RayPool, tmp_path: Path) -> None:
    history = tuple(told(n, n / 9, n + 1) for n in range(1, 4))
    marker = tmp_path / "pid"
    saved = await answered(pool, job("calm", observations=history[:2], seq=3, next_number=3))
    calm = await answered(pool, job("calm", observations=history, seq=4, next_number=4, count=2))
    wanted = job("ill", trouble="wait", marker=str(marker), observations=history, seq=4, next_number=4, count=2)
    broken = asyncio.create_task(pool.run(wanted))
    await until_exists(marker)
    os.kill(int(marker.read_text()), signal.SIGKILL)
    with pytest.raises(RunnerLost):
        await broken
    again = await answered(pool, wanted)
    assert [s.parameters for s in again.suggestions] == [s.parameters for s in calm.suggestions]
    assert saved.blob is not None


async def test_a_forgotten_study_must_be_told_again(pool: RayPool) -> None:
    await answered(pool, job("f"))
    await pool.forget("f")
    assert await pool.run(job("f", known_seq=1, seq=2)) == NeedsHistory()


async def test_requests_to_a_language_model_and_their_replies_cross_to_another_node(pool: RayPool) -> None:
    await talk(pool)


async def test_closing_leaves_no_process(pool: RayPool, tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    slow = asyncio.create_task(pool.run(job("slow", trouble="wait", marker=str(marker))))
    await until_exists(marker)
    ours = [p.pid for p in psutil.Process().children(recursive=True) if "ray" in p.name() or "gcs" in p.name()]
    await pool.close()
    with pytest.raises(RunnerLost):
        await slow
    assert ours != []
    await until(lambda: not any(lives(pid) for pid in [*ours, int(marker.read_text())]))
    with pytest.raises(RunnerLost):
        await pool.run(job())

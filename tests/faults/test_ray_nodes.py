"""A cluster of two Ray nodes on this machine, one of which is killed in mid-suggestion."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.servers import wait_for
from tests.support.stage import kill_at, lives, staged, until, until_exists
from tests.support.troublesome import SOURCE
from workers.pools.ray_pool import RayPool
from workers.pools.ray_start import PRIVATE, children, end_half_started

pytestmark = pytest.mark.ray
TOKEN = "c0ffee" * 8


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head and a second node, one core each, on loopback, with a token."""
    for name, value in (PRIVATE | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}).items():
        os.environ.setdefault(name, value)  # and left there: Ray keeps the first token that a process has seen
    found = started() or started() or started()
    assert found is not None, "three times a node of Ray was not ready within its 30 s"
    yield found
    found.shutdown()


def started() -> Any:
    """The cluster; None where a node was not ready within the 30 s that Ray gives it, as on a busy machine."""
    from ray.cluster_utils import Cluster

    before = children()
    found: Any = Cluster()
    try:
        found.add_node(num_cpus=1, include_dashboard=False)
        found.second = found.add_node(num_cpus=1)
    except Exception as error:  # of this kind and no other is what Ray raises
        found.shutdown()
        end_half_started(before)
        if "timed out during startup" not in str(error):
            raise
        return None
    return found


def raylet_of(node: Any) -> int:
    """The process id of a node's raylet."""
    (info,) = node.all_processes["raylet"]
    return int(info.process.pid)


async def test_a_node_killed_in_mid_suggestion_costs_the_client_nothing(cluster: Any, tmp_path: Path) -> None:
    raylet = psutil.Process(raylet_of(cluster.second))
    async with staged(f"sqlite:///{tmp_path}/asktell.db") as stage:
        pool = RayPool(cluster.address, source=SOURCE)
        await stage.dispatcher(pool)
        expected = await stage.tune(await stage.study(), 5)
        assert pool.capacity == 2
        markers = [tmp_path / "one", tmp_path / "two"]
        studies = [await stage.study(trouble="wait", at=4, marker=str(marker)) for marker in markers]
        tuning = [asyncio.create_task(stage.tune(study, 5)) for study in studies]
        for marker in markers:  # one core a node: one of them is computed on each
            await until_exists(marker)
        here, there = sorted(markers, key=lambda marker: parent_of(marker) == raylet.pid)
        assert (parent_of(here), parent_of(there)) == (raylet_of(cluster.head_node), raylet.pid)
        lost = int(there.read_text())
        for process in [raylet, *raylet.children(recursive=True)]:  # as when its machine loses power
            process.kill()
        await until(lambda: not lives(lost))
        kill_at(here)  # the node that lives has its one core free again for both
        for task in tuning:
            assert await task == expected
        assert [await stage.events(study, "study.suggester_failed") for study in studies] == [[], []]
        assert pool.capacity == 1


def parent_of(marker: Path) -> int:
    """The parent of the process whose id stands in a file."""
    return psutil.Process(int(marker.read_text())).ppid()


def test_what_a_start_that_failed_left_running_is_ended_and_nothing_else() -> None:
    import ray

    before = children()
    sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
    other, half_started = subprocess.Popen(sleep), subprocess.Popen([*sleep, f"{Path(ray.__file__).parent}/core/x"])
    try:
        wait_for(lambda: len(psutil.Process(half_started.pid).cmdline()) == 4)
        end_half_started(before)
        wait_for(lambda: not lives(half_started.pid))
        assert lives(other.pid)
    finally:
        for process in (other, half_started):
            process.kill()
            process.wait()

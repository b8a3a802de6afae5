"""A cluster of two Ray nodes on this machine, one of which is killed in mid-suggestion."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.stage import kill_at, lives, staged, until, until_exists
from tests.support.troublesome import SOURCE
from workers.pools.ray_pool import PRIVATE, RayPool

pytestmark = pytest.mark.ray
TOKEN = "c0ffee" * 8


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A head and a second node, one core each, on loopback, with a token."""
    for name, value in (PRIVATE | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}).items():
        os.environ.setdefault(name, value)  # and left there: Ray keeps the first token that a process has seen
    from ray.cluster_utils import Cluster

    found: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    found.second = found.add_node(num_cpus=1)
    yield found
    found.shutdown()


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

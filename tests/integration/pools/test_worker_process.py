"""`asktell worker` as its own process, beside servers that share its database."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import psutil

from tests.support.databases import migrate
from tests.support.servers import free_port, wait_for
from tests.support.stage import lives, staged
from workers.suggesters.registry import specs


@contextmanager
def worker(address: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """A worker with one local process."""
    code = "import typer; from workers.commands import worker; typer.run(worker)"
    options = ["--database", address, "--pool", "local", "--processes", "1", "--metrics-port", str(port)]
    process = subprocess.Popen([sys.executable, "-c", code, *options], stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(port: int, path: str) -> bool:
    """Whether a page of the worker is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


async def test_a_worker_computes_for_servers_that_share_its_database_and_one_that_is_killed_is_replaced(
    tmp_path: Path,
) -> None:
    address, port = f"sqlite:///{tmp_path}/asktell.db", free_port()
    async with staged(address, specs()) as stage:
        study = await stage.study("cmaes", parameters=[{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"])
        asked = asyncio.create_task(stage.one(study))
        with worker(address, port) as first:
            trial = await asked
            assert not trial.suggested_by.fallback
            assert await asyncio.to_thread(answers, port, "/healthz")
            page = await asyncio.to_thread(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read())
            assert b'asktell_suggest_seconds_count{suggester="cmaes"}' in page
            children = psutil.Process(first.pid).children()
            first.kill()
            await asyncio.to_thread(wait_for, lambda: not any(lives(child.pid) for child in children))
        with worker(address, port):
            await stage.tell(study, trial)
            assert not (await stage.one(study)).suggested_by.fallback


def test_a_worker_stops_on_sigterm(tmp_path: Path) -> None:
    address, port = f"sqlite:///{tmp_path}/asktell.db", free_port()
    migrate(address)
    with worker(address, port) as process:
        wait_for(lambda: answers(port, "/healthz"), what="the worker")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/else", timeout=30)
        except HTTPError as error:
            assert error.code == 404
        os.kill(process.pid, signal.SIGTERM)
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0
        assert "worker.stopping" in log


def test_a_worker_refuses_a_database_without_tables(tmp_path: Path) -> None:
    with worker(f"sqlite:///{tmp_path}/empty.db", free_port()) as process:
        _, log = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "run `asktell migrate` first" in log

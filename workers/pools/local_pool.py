"""A pool of processes on this machine: started when first needed, killed when they hang, bounded in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import structlog

from .pool import ERRORS, Answer, Job, PoolError, RunnerLost, SuggesterHung, SuggesterOutOfMemory
from .runner import REGISTRY, SINGLE_THREAD
from .schedule import Patience, Schedule

log = structlog.get_logger("pool.local")

GIB = 2**30
START_SECONDS = 120.0
WATCH_SECONDS = 0.1


class LocalPool:
    """Processes that compute, each one job at a time.

    A study stays with its process, where its model is warm; another process that is idle takes its job when its own is
    busy. When a job has waited for two seconds, spare processes (as many again) help out: a slow study takes processor
    time from the others, never their turn.

    Args:
        processes: how many; by default one a core.
        memory_bytes: resident memory at which a process is killed.
        source: where a process finds the suggesters, `module:function`.
        patience_seconds: how long a job waits before a spare process is started for it.
    """

    def __init__(
        self,
        processes: int | None = None,
        *,
        memory_bytes: int = 4 * GIB,
        source: str = REGISTRY,
        patience_seconds: float = 2.0,
    ) -> None:
        self._places = max(1, processes or os.cpu_count() or 1)
        self._memory_bytes = memory_bytes
        self._source = source
        self._schedule = Schedule(
            self._compute, self._retire, self._places, spares=self._places, patience=Patience(spare=patience_seconds)
        )
        self._processes: dict[int, _Process] = {}
        self._forget: dict[int, set[str]] = {}
        self._threads = ThreadPoolExecutor(2 * self._places, thread_name_prefix="asktell-pool")

    @property
    def capacity(self) -> int:
        """Jobs that run at one time while none is slow."""
        return self._places

    @property
    def pids(self) -> list[int]:
        """Of the processes that live now."""
        return [process.pid for process in self._processes.values()]

    async def start(self) -> None:
        """Nothing: a process starts in a second, and a server whose studies need none shall hold none."""

    async def run(self, job: Job) -> Answer:
        """Compute a job in its study's process, or in an idle one."""
        return await self._schedule.run(job)

    async def forget(self, study: str) -> None:
        """Let go of a study, wherever it is warm; the processes hear of it with their next job."""
        self._schedule.forget(study)
        for index in self._processes:
            self._forget.setdefault(index, set()).add(study)

    async def close(self) -> None:
        """End every process; jobs under way fail with `RunnerLost`."""
        self._schedule.shut()
        for process in self._processes.values():
            process.kill()
        await self._schedule.finished()
        for process in self._processes.values():
            process.end()
        self._processes.clear()
        self._threads.shutdown(wait=False)

    def _retire(self, index: int) -> None:
        process = self._processes.pop(index, None)
        if process is not None:
            asyncio.get_running_loop().run_in_executor(self._threads, process.end)

    async def _compute(self, index: int, job: Job) -> Answer:
        """Run a job in a place's process.

        Raises:
            PoolError: the process is ended, unless the suggester only raised.
        """
        process = self._process(index)
        forget = frozenset(self._forget.pop(index, ()))
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, process.exchange, forget, job)
        except PoolError as error:
            if error.kind != "raised":
                self._processes.pop(index, None)
                self._schedule.leave(index)
                if not self._schedule.is_closed:  # else it was ended by us
                    log.warning("process.ended", pid=process.pid, kind=error.kind, study=job.study)
            raise

    def _process(self, index: int) -> _Process:
        process = self._processes.get(index)
        if process is not None and process.is_alive:
            return process
        if process is not None:
            process.end()
        # From the loop's own thread: the kernel's parent-death signal follows the thread, and this one lives longest.
        process = self._processes[index] = _Process(self._source, self._memory_bytes)
        self._forget.pop(index, None)
        return process


class _Process:
    """A process and the socket to it. `exchange` blocks, so it belongs into a thread; `kill` may come from anywhere."""

    def __init__(self, source: str, memory_bytes: int) -> None:
        ours, theirs = socket.socketpair()
        lifeline, self._lifeline = os.pipe()
        arguments = [str(theirs.fileno()), str(lifeline), str(os.getpid()), source, str(memory_bytes)]
        # A fresh interpreter, not a fork: threads and locks of the server do not come along, and the environment
        # (one BLAS thread) stands before numpy is imported.
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "workers.pools.child", *arguments],
            env=os.environ | SINGLE_THREAD | {"PYTHONPATH": os.pathsep.join(str(Path(p).absolute()) for p in sys.path)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=(theirs.fileno(), lifeline),
        )
        theirs.close()
        os.close(lifeline)
        self._channel: Connection[Any, Any] = Connection(ours.detach())
        self._memory_bytes = memory_bytes
        self._is_ready = False
        self.pid = self._popen.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can take a job."""
        return self._popen.poll() is None

    def exchange(self, forget: frozenset[str], job: Job) -> Answer:
        """Send a job, wait for its answer, and watch time and memory meanwhile.

        Raises:
            PoolError: by kind; the process is dead afterwards, unless the suggester only raised.
        """
        try:
            if not self._is_ready:
                self._await(START_SECONDS, "the process did not start")
                self._is_ready = True
            self._channel.send((forget, job))
            answer = self._await(job.resources.timeout_seconds, f"{job.suggester} did not answer")
        except (EOFError, OSError) as error:
            self.end()
            raise RunnerLost(f"process {self.pid} ended with {self._popen.returncode}") from error
        except PoolError:
            self.end()
            raise
        if isinstance(answer, tuple):
            kind, message = answer
            raise ERRORS[kind](message)
        result: Answer = answer
        return result

    def _await(self, seconds: float, hung: str) -> Any:
        deadline = time.monotonic() + seconds
        while not self._channel.poll(WATCH_SECONDS):
            if time.monotonic() >= deadline:
                raise SuggesterHung(f"{hung} within {seconds:g} s")
            if self._resident_bytes() > self._memory_bytes:
                raise SuggesterOutOfMemory(f"used more than {self._memory_bytes / GIB:.3g} GiB")
        return self._channel.recv()

    def _resident_bytes(self) -> int:
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0  # it is gone: the socket says so next

    def kill(self) -> None:
        """Kill it; an exchange under way ends with `RunnerLost`."""
        self._popen.kill()

    def end(self) -> None:
        """Kill it and give back what it held."""
        self.kill()
        self._popen.wait()
        self._channel.close()
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
        self._lifeline = -1

"""A pool of processes on this machine: started when first needed, killed when they hang, bounded in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections import OrderedDict, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import structlog

from .pool import (
    ERRORS,
    Job,
    NeedsHistory,
    PoolError,
    Result,
    RunnerLost,
    SuggesterHung,
    SuggesterOutOfMemory,
    home,
)
from .runner import REGISTRY, SINGLE_THREAD

log = structlog.get_logger("pool.local")

GIB = 2**30
START_SECONDS = 120.0
WATCH_SECONDS = 0.1
PATIENCE_SECONDS = 2.0
SPARE_IDLE_SECONDS = 60.0
MOST_HOMES = 10_000


@dataclass
class _Waiting:
    job: Job
    future: asyncio.Future[Result | NeedsHistory]
    since: float


@dataclass
class _Slot:
    """A place for one process.

    Attributes:
        is_spare: only used while the others are busy for long.
        forget: studies to let go of, told with the next job.
    """

    index: int
    is_spare: bool
    queue: deque[_Waiting] = field(default_factory=deque)
    process: _Process | None = None
    is_busy: bool = False
    forget: set[str] = field(default_factory=set)


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
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._processes = max(1, processes or os.cpu_count() or 1)
        self._memory_bytes = memory_bytes
        self._source = source
        self._patience = patience_seconds
        self._slots = [_Slot(i, is_spare=i >= self._processes) for i in range(2 * self._processes)]
        self._homes: OrderedDict[str, int] = OrderedDict()
        self._threads = ThreadPoolExecutor(2 * self._processes, thread_name_prefix="asktell-pool")
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    @property
    def capacity(self) -> int:
        """Jobs that run at one time while none is slow."""
        return self._processes

    @property
    def pids(self) -> list[int]:
        """Of the processes that live now."""
        return [slot.process.pid for slot in self._slots if slot.process is not None]

    async def run(self, job: Job) -> Result | NeedsHistory:
        """Compute a job in its study's process, or in an idle one."""
        if self._is_closed:
            raise RunnerLost("the pool is closed")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(job, loop.create_future(), time.monotonic())
        place = self._homes.get(job.study)
        self._slots[home(job.study, self._processes) if place is None else place].queue.append(waiting)
        self._assign()
        if not waiting.future.done():
            loop.call_later(self._patience + 0.01, self._assign)
        return await waiting.future

    async def forget(self, study: str) -> None:
        """Let go of a study, wherever it is warm."""
        self._homes.pop(study, None)
        for slot in self._slots:
            if slot.process is not None:
                slot.forget.add(study)

    async def close(self) -> None:
        """End every process; jobs under way fail with `RunnerLost`."""
        self._is_closed = True
        for slot in self._slots:
            while slot.queue:
                waiting = slot.queue.popleft()
                if not waiting.future.done():
                    waiting.future.set_exception(RunnerLost("the pool is closed"))
            if slot.process is not None:
                slot.process.kill()
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        for slot in self._slots:
            if slot.process is not None:
                await asyncio.get_running_loop().run_in_executor(self._threads, slot.process.end)
                slot.process = None
        self._threads.shutdown(wait=False)

    def _assign(self) -> None:
        """Give idle slots something to do: their own jobs first, then what waits behind a busy one."""
        if self._is_closed:
            return
        for slot in self._slots:
            if not slot.is_busy and slot.queue:
                self._start(slot, slot.queue.popleft())
        for slot in self._slots:
            behind = [s for s in self._slots if s.is_busy and s.queue]
            if slot.is_busy or not behind:
                continue
            longest = min(behind, key=lambda s: s.queue[0].since)
            if not slot.is_spare or time.monotonic() - longest.queue[0].since >= self._patience:
                self._start(slot, longest.queue.popleft())

    def _start(self, slot: _Slot, waiting: _Waiting) -> None:
        slot.is_busy = True
        task = asyncio.ensure_future(self._work(slot, waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, slot: _Slot, waiting: _Waiting) -> None:
        """One job in one slot; whatever happens, the future is answered and the slot is free afterwards."""
        job, future = waiting.job, waiting.future
        try:
            if future.cancelled():
                return
            answer = await self._compute(slot, job)
            self._settle(job.study, slot.index)
            if not future.done():
                future.set_result(answer)
        except PoolError as error:
            self._homes.pop(job.study, None)
            if not future.done():
                future.set_exception(error)
        except Exception as error:  # a thread or a fork that cannot be had must not leave the asker waiting for ever
            log.exception("pool.broken", study=job.study)
            if not future.done():
                future.set_exception(RunnerLost(f"{type(error).__name__}: {error}"))
        finally:
            slot.is_busy = False
            self._assign()
            if slot.is_spare and not slot.is_busy and not self._is_closed:
                asyncio.get_running_loop().call_later(SPARE_IDLE_SECONDS, self._retire, slot, slot.process)

    def _settle(self, study: str, index: int) -> None:
        self._homes[study] = index
        self._homes.move_to_end(study)
        while len(self._homes) > MOST_HOMES:
            self._homes.popitem(last=False)

    def _retire(self, slot: _Slot, process: _Process | None) -> None:
        """End a spare process that has had nothing to do; its studies go back where they belong."""
        if slot.process is process is not None and not slot.is_busy and not slot.queue and not self._is_closed:
            slot.process = None
            asyncio.get_running_loop().run_in_executor(self._threads, process.end)
            for study in [study for study, index in self._homes.items() if index == slot.index]:
                del self._homes[study]

    async def _compute(self, slot: _Slot, job: Job) -> Result | NeedsHistory:
        """Run a job in the slot's process.

        Raises:
            PoolError: the process is ended, unless the suggester only raised.
        """
        if slot.process is not None and not slot.process.is_alive:
            slot.process.end()
            slot.process = None
        if slot.process is None:
            # From the loop's own thread: the kernel's parent-death signal follows the thread, and this one lives longest.
            slot.process = _Process(self._source, self._memory_bytes)
            slot.forget.clear()
        process, forget = slot.process, frozenset(slot.forget)
        slot.forget.clear()
        exchange = asyncio.get_running_loop().run_in_executor(self._threads, process.exchange, forget, job)
        try:
            return await exchange
        except PoolError as error:
            if error.kind != "raised":
                slot.process = None
                log.warning("process.ended", pid=process.pid, kind=error.kind, study=job.study)
            raise


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

    def exchange(self, forget: frozenset[str], job: Job) -> Result | NeedsHistory:
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
        result: Result | NeedsHistory = answer
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

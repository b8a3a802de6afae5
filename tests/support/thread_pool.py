"""A pool without processes, for tests that are about what lies around it: each process would take a second of them to start."""

from __future__ import annotations

import asyncio
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from workers.pools.pool import ERRORS, Answer, Job, RunnerLost
from workers.pools.runner import REGISTRY, Runner, answer, finder


class ThreadPool:
    """Computes in a thread, one job after another. Jobs and answers go through pickle, as to a process and back."""

    capacity = 1

    def __init__(self, source: str = REGISTRY) -> None:
        self._runner = Runner(finder(source))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="test-pool")

    async def start(self) -> None:
        """Nothing."""

    async def run(self, job: Job) -> Answer:
        """The answer of a runner.

        Raises:
            PoolError: the suggester raised, or the pool is closed.
        """
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, pickle.dumps(job))
        except RuntimeError as error:
            raise RunnerLost("the pool is closed") from error
        if isinstance(found, tuple):
            kind, message = found
            raise ERRORS[kind](message)
        return found

    def _answer(self, job: bytes) -> Any:
        return pickle.loads(pickle.dumps(answer(self._runner, pickle.loads(job))))  # noqa: S301

    async def forget(self, study: str) -> None:
        """Let go of a study."""
        self._thread.submit(self._runner.forget, study)

    async def close(self) -> None:
        """End; a job under way is finished, and its answer goes nowhere."""
        self._thread.shutdown(wait=False, cancel_futures=True)

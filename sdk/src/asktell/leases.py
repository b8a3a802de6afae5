"""Signs of life: one thread, or one task, of a client extends the leases of all trials it holds.

A trial that nobody refers to any more is let go: its lease runs out and another worker gets it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from .errors import AsktellError, Conflict, NotFound

SOONEST_RETRY = 0.5

logger = logging.getLogger("asktell")


class Held(Protocol):
    """A trial whose lease is to be kept."""

    should_stop: bool
    is_lost: bool

    @property
    def number(self) -> int:
        """Its number in its study."""


H = TypeVar("H", bound=Held)


@dataclass
class _Lease(Generic[H]):
    trial: weakref.ref[H]
    every: float
    due: float


class Leases(Generic[H]):
    """Which trials are held and when each is due; no thread and no task of its own."""

    def __init__(self) -> None:
        self._leases: dict[int, _Lease[H]] = {}
        self._lock = threading.Lock()

    def add(self, trial: H, lease_seconds: float) -> None:
        """Hold a trial: a sign of life each third of its lease."""
        every = lease_seconds / 3
        with self._lock:
            self._leases[id(trial)] = _Lease(weakref.ref(trial), every, time.monotonic() + every)

    def drop(self, trial: H) -> bool:
        """Hold it no more; answers whether it was held."""
        with self._lock:
            return self._leases.pop(id(trial), None) is not None

    def held(self) -> list[H]:
        """The trials that are held."""
        with self._lock:
            return [trial for lease in self._leases.values() if (trial := lease.trial()) is not None]

    def due(self) -> list[H]:
        """The trials due now."""
        now = time.monotonic()
        with self._lock:
            self._leases = {key: lease for key, lease in self._leases.items() if lease.trial() is not None}
            found = []
            for lease in self._leases.values():
                if lease.due <= now:
                    lease.due = now + lease.every
                    found.append(lease.trial())
        return [trial for trial in found if trial is not None]

    def wait_seconds(self) -> float | None:
        """The seconds until the next one is due; None where nothing is held."""
        with self._lock:
            soonest = min((lease.due for lease in self._leases.values() if lease.trial() is not None), default=None)
        return None if soonest is None else max(0.0, soonest - time.monotonic())

    def soon(self, trial: H) -> None:
        """It went wrong: try again well before the lease ends."""
        with self._lock:
            lease = self._leases.get(id(trial))
            if lease is not None:
                lease.due = time.monotonic() + max(SOONEST_RETRY, lease.every / 4)

    def told(self, trial: H, answer: dict[str, Any] | None, error: AsktellError | None) -> None:
        """What came of a sign of life."""
        if answer is not None:
            trial.should_stop = trial.should_stop or bool(answer["should_stop"])
        elif isinstance(error, Conflict | NotFound):
            # Not held any more: our own tell overtook the sign of life, nothing was taken away.
            if self.drop(trial):
                trial.is_lost = True
                logger.warning(
                    "trial %d was taken away (%s); a tell still counts if it has no outcome yet", trial.number, error
                )
        else:
            self.soon(trial)


class LeaseThread(Generic[H]):
    """Keeps leases from a daemon thread that lives while there is something to keep."""

    def __init__(self, beat: Callable[[H], dict[str, Any]]) -> None:
        self._beat = beat
        self._leases = Leases[H]()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def add(self, trial: H, lease_seconds: float) -> None:
        """Hold a trial."""
        self._leases.add(trial, lease_seconds)
        with self._wake:
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="asktell-leases", daemon=True)
                self._thread.start()
            self._wake.notify()

    def drop(self, trial: H) -> None:
        """Hold it no more."""
        self._leases.drop(trial)
        with self._wake:
            self._wake.notify()

    def held(self) -> list[H]:
        """The trials that are held."""
        return self._leases.held()

    def close(self) -> None:
        """Keep nothing more."""
        with self._wake:
            self._is_closed = True
            self._wake.notify()

    def _run(self) -> None:
        while True:
            self._keep_due()
            with self._wake:
                wait = None if self._is_closed else self._leases.wait_seconds()
                if wait is None:
                    self._thread = None
                    return
                self._wake.wait(wait)

    def _keep_due(self) -> None:
        # A function of its own: no name here may keep a trial alive while the thread sleeps.
        for trial in self._leases.due():
            self._keep(trial)

    def _keep(self, trial: H) -> None:
        try:
            self._leases.told(trial, self._beat(trial), None)
        except AsktellError as error:
            self._leases.told(trial, None, error)


class LeaseTask(Generic[H]):
    """Keeps leases from a task that lives while there is something to keep."""

    def __init__(self, beat: Callable[[H], Awaitable[dict[str, Any]]]) -> None:
        self._beat = beat
        self._leases = Leases[H]()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, trial: H, lease_seconds: float) -> None:
        """Hold a trial."""
        self._leases.add(trial, lease_seconds)
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="asktell-leases")

    def drop(self, trial: H) -> None:
        """Hold it no more."""
        self._leases.drop(trial)
        self._wake.set()

    def held(self) -> list[H]:
        """The trials that are held."""
        return self._leases.held()

    async def close(self) -> None:
        """Keep nothing more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            await self._keep_due()
            wait = self._leases.wait_seconds()
            if wait is None:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), wait)

    async def _keep_due(self) -> None:
        for trial in self._leases.due():
            await self._keep(trial)

    async def _keep(self, trial: H) -> None:
        try:
            self._leases.told(trial, await self._beat(trial), None)
        except AsktellError as error:
            self._leases.told(trial, None, error)

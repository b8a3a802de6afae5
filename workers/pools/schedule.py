"""Which job runs in which place, and when: sticky, fair, and never stuck behind a slow neighbour."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from .pool import Answer, Job, PoolError, RunnerLost, home

log = structlog.get_logger("pool")

MOST_HOMES = 10_000


@dataclass
class _Waiting:
    job: Job
    future: asyncio.Future[Answer]
    since: float


@dataclass
class _Place:
    """Where one job runs at a time.

    Attributes:
        is_spare: only used for jobs that have waited too long elsewhere.
        is_shut: takes no more jobs; what waits there is for the others.
        idle: ends what runs there when nothing came for a while.
    """

    index: int
    is_spare: bool
    queue: deque[_Waiting] = field(default_factory=deque)
    is_shut: bool = False
    is_busy: bool = False
    idle: asyncio.TimerHandle | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things may wait, in seconds.

    Attributes:
        spare: a job before a spare place takes it.
        spare_idle: a spare place before it is given up.
        idle: any other place before it is given up; None for never.
    """

    spare: float = 2.0
    spare_idle: float = 60.0
    idle: float | None = None


class Schedule:
    """Places that each run one job at a time.

    A study belongs to the place where it was computed last (its model is warm there), at first to one by its hash. An idle place takes
    what waits behind a busy one. What has waited too long is taken by a spare place.

    Args:
        compute: runs a job in a place; raises `PoolError`.
        retire: ends what a place holds, after it was idle.
        places: how many.
        spares: how many more for jobs that have waited too long.

    Attributes:
        is_closed: `shut` was called; what still runs is about to be ended.
    """

    def __init__(
        self,
        compute: Callable[[int, Job], Awaitable[Answer]],
        retire: Callable[[int], None],
        places: int,
        spares: int = 0,
        patience: Patience | None = None,
    ) -> None:
        self._compute = compute
        self._retire = retire
        self._places = [_Place(i, is_spare=i >= places) for i in range(places + spares)]
        self._patience = patience or Patience()
        self._homes: OrderedDict[str, int] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_closed = False

    @property
    def places(self) -> int:
        """Places that are not spare and take jobs."""
        return sum(not (place.is_spare or place.is_shut) for place in self._places)

    def resize(self, places: int) -> None:
        """Have so many places (in a schedule without spares); what the last ones hold is ended when they are idle."""
        if places == self.places:
            return
        self._places += [_Place(i, is_spare=False) for i in range(len(self._places), places)]
        for place in self._places:
            place.is_shut = place.index >= places
            if place.is_shut and not place.is_busy:
                self._give_up(place)
        self._assign()

    async def run(self, job: Job) -> Answer:
        """Compute a job when its turn comes.

        Raises:
            PoolError: it broke, or the schedule is closed.
        """
        if self.is_closed:
            raise RunnerLost("the pool is closed")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(job, loop.create_future(), time.monotonic())
        index = self._homes.get(job.study)
        self._places[home(job.study, self.places) if index is None else index].queue.append(waiting)
        self._assign()
        loop.call_later(self._patience.spare + 0.01, self._assign)
        return await waiting.future

    def forget(self, study: str) -> None:
        """A study has no place any more."""
        self._homes.pop(study, None)

    def leave(self, index: int) -> None:
        """What was warm in a place is gone: its studies belong where their hash says."""
        for study in [study for study, place in self._homes.items() if place == index]:
            del self._homes[study]

    def shut(self) -> None:
        """Start nothing more; jobs that wait fail with `RunnerLost`."""
        self.is_closed = True
        for place in self._places:
            if place.idle is not None:
                place.idle.cancel()
            while place.queue:
                waiting = place.queue.popleft()
                if not waiting.future.done():
                    waiting.future.set_exception(RunnerLost("the pool is closed"))

    async def finished(self) -> None:
        """Wait until nothing runs any more."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _assign(self) -> None:
        """Give idle places something to do: their own jobs first, then what waits behind a busy one."""
        if self.is_closed:
            return
        for place in self._places:
            if place.queue and not place.is_busy and not place.is_shut:
                self._start(place, place.queue.popleft())
        for place in self._places:
            behind = [p for p in self._places if p.queue and (p.is_busy or p.is_shut)]
            if place.is_busy or place.is_shut or not behind:
                continue
            longest = min(behind, key=lambda p: p.queue[0].since)
            if not place.is_spare or time.monotonic() - longest.queue[0].since >= self._patience.spare:
                self._start(place, longest.queue.popleft())

    def _start(self, place: _Place, waiting: _Waiting) -> None:
        place.is_busy = True
        if place.idle is not None:
            place.idle.cancel()
        task = asyncio.ensure_future(self._work(place, waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, place: _Place, waiting: _Waiting) -> None:
        """One job in one place; whatever happens, the future is answered and the place is free afterwards."""
        job, future = waiting.job, waiting.future
        try:
            if future.cancelled():
                return
            answer = await self._compute(place.index, job)
            self._settle(job.study, place.index)
            if not future.done():
                future.set_result(answer)
        except PoolError as error:
            self.forget(job.study)
            if not future.done():
                future.set_exception(error)
        except Exception as error:  # a thread or a process that cannot be had must not leave the asker waiting for ever
            log.exception("pool.broken", study=job.study)
            if not future.done():
                future.set_exception(RunnerLost(f"{type(error).__name__}: {error}"))
        finally:
            place.is_busy = False
            self._assign()
            self._watch_idle(place)
            if place.is_shut:
                self._give_up(place)

    def _settle(self, study: str, index: int) -> None:
        self._homes[study] = index
        self._homes.move_to_end(study)
        while len(self._homes) > MOST_HOMES:
            self._homes.popitem(last=False)

    def _watch_idle(self, place: _Place) -> None:
        seconds = self._patience.spare_idle if place.is_spare else self._patience.idle
        if seconds is not None and not place.is_busy and not self.is_closed:
            place.idle = asyncio.get_running_loop().call_later(seconds, self._give_up, place)

    def _give_up(self, place: _Place) -> None:
        if not place.is_busy and not self.is_closed:
            self.leave(place.index)
            self._retire(place.index)

"""The dispatcher: takes on studies that want suggestions, has them computed, and commits the answers.

It holds nothing that matters. What it is told by wake-ups it also finds by looking once a second; what it has claimed
another may claim when it is gone; what it commits too late is refused by the store's fencing token. So there may be any
number of dispatchers.
"""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

import structlog

from services.domain.errors import Unavailable
from services.domain.suggester import Spec
from services.suggesting import Suggesting
from services.wakeups import Wakeups

from .llm.gateway import Gateway, NoGateway
from .pools.pool import Pool
from .serving import Serving

log = structlog.get_logger("dispatcher")

POLL_SECONDS = 1.0
RENEW_SECONDS = 5.0
CLOSE_SECONDS = 5.0


class Dispatcher:
    """Feeds a pool with studies that want suggestions.

    Args:
        suggesting: claims and commits.
        wakeups: `work` topics name studies.
        pool: computes; closed with the dispatcher.
        specs: the catalogue, for what a computation needs and for the quasi-random net.
        gateway: to language models; closed with the dispatcher.
        owner: names this dispatcher in claims; drawn if absent.
        poll_seconds: how often it looks for studies that no wake-up named.
        renew_seconds: how often it keeps the claim of a computation that runs.
        pause_seconds: after a first failure; doubles with each, up to a minute.
    """

    def __init__(
        self,
        suggesting: Suggesting,
        wakeups: Wakeups,
        pool: Pool,
        specs: Mapping[str, Spec],
        *,
        gateway: Gateway | None = None,
        owner: str | None = None,
        poll_seconds: float = POLL_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        pause_seconds: float = 1.0,
    ) -> None:
        self.owner: Final = owner or f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._suggesting = suggesting
        self._wakeups = wakeups
        self._pool = pool
        self._gateway = gateway or NoGateway()
        self._poll = poll_seconds
        self._turn = Serving(
            suggesting, pool, specs, self._gateway, self.owner, renew_seconds=renew_seconds, pause_seconds=pause_seconds,
            on_away=self._note_away, on_talk=self._fill,
        )  # fmt: skip
        self._queue: OrderedDict[str, None] = OrderedDict()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._loop: asyncio.Task[None] | None = None
        self._is_away = False
        self._is_closed = False

    async def start(self) -> None:
        """Begin to look for work; returns at once."""
        await self._pool.start()
        self._loop = asyncio.create_task(self._watch())

    async def is_alive(self) -> bool:
        """Whether it looks for work and reaches the database."""
        return self._loop is not None and not self._loop.done() and not self._is_away

    async def close(self) -> None:
        """Stop: claims are given back, the pool is ended."""
        self._is_closed = True
        tasks = [task for task in (self._loop, *self._running.values()) if task is not None]
        while tasks:  # cancelled again if need be: a library may swallow a cancellation that comes at the wrong moment
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            tasks = [task for task in tasks if not task.done()]
        await self._pool.close()
        await self._gateway.close()

    @property
    def serving(self) -> frozenset[str]:
        """The studies that are worked on now."""
        return frozenset(self._running)

    @property
    def _most(self) -> int:
        """Studies at one time: one runs in each place and one waits behind it, so that none idles between two claims."""
        return 2 * self._pool.capacity

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        async with self._wakeups.subscribe("work") as wakes:
            next_look, pause = 0.0, self._poll
            while True:
                if loop.time() >= next_look:
                    pause = self._poll if await self._look() else min(2 * pause, 10 * self._poll)
                    next_look = loop.time() + pause
                for _, study in await wakes.wait(max(0.0, next_look - loop.time())):
                    self._enqueue(study)
                self._fill()

    async def _look(self) -> bool:
        """Queue the studies that are due, whether or not a wake-up named them; False while the database is away."""
        try:
            due = await self._suggesting.due(limit=10 * self._most)
        except Unavailable as error:
            self._note_away(error)
            return False
        except Exception:  # this loop must outlive whatever a driver may raise
            log.exception("dispatcher.look_failed")
            return False
        if self._is_away:
            self._is_away = False
            log.info("database.back", owner=self.owner)
        for study in due:
            if study not in self._running:
                self._enqueue(study)
        self._fill()
        return True

    def _note_away(self, error: Unavailable) -> None:
        if not self._is_away:
            self._is_away = True
            log.warning("database.away", owner=self.owner, error=error.detail)

    def _enqueue(self, study: str) -> None:
        """First come, first served; a study that is served joins again at the end, so none can crowd out another."""
        if study in self._running:
            self._again.add(study)
        else:
            self._queue.setdefault(study)

    def _fill(self) -> None:
        # Who waits for a language model computes nothing: it takes no turn away from others.
        while self._queue and len(self._running) - len(self._turn.talking) < self._most and not self._is_closed:
            study, _ = self._queue.popitem(last=False)
            task = self._running[study] = asyncio.create_task(self._serve(study))
            task.add_done_callback(lambda _, study=study: self._served(study))  # type: ignore[misc]

    def _served(self, study: str) -> None:
        del self._running[study]
        if study in self._again:
            self._again.discard(study)
            self._enqueue(study)
        self._fill()

    async def _serve(self, study: str) -> None:
        try:
            await self._turn.serve(study)
        except Unavailable as error:
            self._note_away(error)
        except Exception:  # one study's trouble must not end the others
            log.exception("dispatcher.failed", study=study)

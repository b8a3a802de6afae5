"""Use cases on a real database with dispatchers beside them, in one process."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil

from services.container import Services
from services.domain.suggester import Spec
from services.domain.trial import AskRequest, Trial
from services.profiles import LlmProfile
from services.store import events as event_store
from services.store.engine import Database
from services.store.events import EventRecord
from services.store.unit_of_work import utc_now
from services.wakeups import LocalWakeups
from tests.support.builders import ADMIN, outcome, study
from tests.support.databases import migrate
from tests.support.servers import wait_for
from tests.support.troublesome import SOURCE, SPECS
from workers.dispatcher import Dispatcher
from workers.llm.gateway import Gateway
from workers.pools.local_pool import LocalPool
from workers.pools.pool import Pool


class Stage:
    """What a test of the dispatcher acts on.

    Attributes:
        clock_ahead: seconds that the services' clock is ahead of the wall clock.
    """

    def __init__(
        self,
        address: str,
        stack: AsyncExitStack,
        specs: Mapping[str, Spec] = SPECS,
        profiles: Mapping[str, LlmProfile] | None = None,
    ) -> None:
        self.clock_ahead = 0.0
        self.specs = specs
        clock = (lambda: utc_now() + timedelta(seconds=self.clock_ahead)) if address.startswith("sqlite") else None
        self.services = Services(Database(address), LocalWakeups(), specs, clock=clock, profiles=profiles)
        self._stack = stack

    def gateway(self, pause_seconds: float = 0.01) -> Gateway:
        """A gateway to the stage's profiles that does not wait long between tries."""
        return Gateway(self.services.ledger, self.services.profiles, pause_seconds=pause_seconds)

    async def dispatcher(self, pool: Pool | None = None, **options: Any) -> Dispatcher:
        """A dispatcher that runs until the stage is struck; with a local pool of one process if none is given."""
        usual: dict[str, Any] = {"poll_seconds": 0.1, "gateway": self.gateway()}
        made = Dispatcher(
            self.services.suggesting,
            self.services.wakeups,
            pool or LocalPool(1, source=SOURCE),
            self.specs,
            **(usual | options),
        )
        await made.start()
        self._stack.push_async_callback(made.close)
        return made

    async def study(self, suggester: str = "steady", **fields: Any) -> str:
        """A study of the troublesome suggester; `trouble`, `at` and `marker` are its options. Its id."""
        options = {name: fields.pop(name) for name in ("trouble", "at", "marker") if name in fields}
        spec = study(suggester={"name": suggester, "options": options}, **fields)
        return (await self.services.studies.create(ADMIN, spec)).value.id

    async def ask(self, study_id: str, wait_seconds: float = 60.0, count: int = 1) -> list[Trial]:
        """Trials; none if the answer was an operation."""
        request = AskRequest(count=count, worker="w", wait_seconds=wait_seconds)
        return list((await self.services.asks.ask(ADMIN, study_id, request)).value.trials)

    async def one(self, study_id: str) -> Trial:
        """A trial that must come."""
        (trial,) = await self.ask(study_id)
        return trial

    async def tell(self, study_id: str, trial: Trial, loss: float = 0.5) -> None:
        """A trial's end."""
        await self.services.tells.tell(ADMIN, study_id, trial.number, outcome(loss))

    async def tune(self, study_id: str, trials: int) -> list[float]:
        """Ask and tell one by one; the values of x, which depend on everything told before."""
        found = []
        for _ in range(trials):
            trial = await self.one(study_id)
            found.append(trial.parameters["x"])
            await self.tell(study_id, trial, trial.parameters["x"] / 3)
        return found

    async def events(self, study_id: str, kind: str) -> list[EventRecord]:
        """The study's events of one type so far."""
        found = await self.services.transactions.read(
            lambda connection: event_store.after(connection, study_id, 0, 10_000)
        )
        return [event for event in found if event.type == kind]

    async def until_event(self, study_id: str, kind: str, seconds: float = 60.0) -> list[EventRecord]:
        """The study's events of one type, once there is one."""
        async with asyncio.timeout(seconds):
            while not (found := await self.events(study_id, kind)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        return found


@asynccontextmanager
async def staged(
    address: str, specs: Mapping[str, Spec] = SPECS, profiles: Mapping[str, LlmProfile] | None = None
) -> AsyncIterator[Stage]:
    """A stage on a database, which is migrated first."""
    await asyncio.to_thread(migrate, address)
    async with AsyncExitStack() as stack:
        stage = Stage(address, stack, specs, profiles)
        await stage.services.start()
        stack.push_async_callback(stage.services.close)
        yield stage


async def until_exists(path: Path, seconds: float = 60.0) -> None:
    """Wait for a file without holding up the loop."""
    await until(lambda: path.exists() and path.read_text() != "", seconds)


async def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for a condition without holding up the loop."""
    await asyncio.to_thread(wait_for, condition, seconds)


def kill_at(marker: Path) -> None:
    """kill -9 of the process whose id stands in a file."""
    os.kill(int(marker.read_text()), signal.SIGKILL)


def lives(pid: int) -> bool:
    """Whether a process runs; one that is dead but not yet reaped does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

"""From the event loop to the database: group commit for each study, threads for the blocking driver.

Operations on one study that arrive while another is being written wait in its lane and are written together, in one
transaction with one lock and one flush. That is where the speed comes from: the limit is transactions a second, and a transaction
can carry many operations. Operations of different studies run beside each other (one after another on SQLite).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from . import metrics
from .domain.errors import AsktellError, Unavailable
from .store.engine import Database
from .store.records import StudyRecord
from .store.studies import SpecCache
from .store.unit_of_work import Clock, StudyWork, utc_now
from .wakeups import Wakeups

T = TypeVar("T")
log = structlog.get_logger("transactions")

MAX_GROUP = 256
AWAY = "the database is away; try again"


@dataclass
class _Operation(Generic[T]):
    run: Callable[[StudyWork], T]
    numbers: Sequence[int]
    future: asyncio.Future[T]
    brings: bool = False
    result: T | None = None
    error: BaseException | None = None


@dataclass
class _Lane:
    waiting: list[_Operation[Any]] = field(default_factory=list)
    is_busy: bool = False


class Transactions:
    """The one way from use cases to the database.

    Args:
        database: the engines.
        wakeups: told after each commit what changed.
        clock: stands in for the database's clock, in tests.
        threads: transactions that run at one time.
    """

    def __init__(self, database: Database, wakeups: Wakeups, clock: Clock | None = None, threads: int = 8) -> None:
        self.database = database
        self.wakeups = wakeups
        self.clock = clock
        self.specs = SpecCache()
        self._lanes: dict[str, _Lane] = {}
        self._standing: dict[str, dict[asyncio.Future[Any], _Operation[Any]]] = {}
        self._known: dict[int, dict[str, StudyRecord]] = {}
        writers = 1 if database.is_sqlite else threads
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="asktell-write")
        self._readers = ThreadPoolExecutor(threads, thread_name_prefix="asktell-read")
        self._tasks: set[asyncio.Task[None]] = set()

    def now(self) -> Any:
        """The time outside a study's transaction."""
        return (self.clock or utc_now)()

    async def on_study(
        self, study_id: str, run: Callable[[StudyWork], T], numbers: Sequence[int] = (), *, brings: bool = False
    ) -> T:
        """Run an operation on a locked study; returns after the commit.

        Args:
            run: checks everything, then changes; may share its transaction with other operations.
            numbers: trials it will read, fetched together with those of its neighbours.
            brings: it may bring suggestions, so those who stand by come along.

        Raises:
            NotFound: the study is gone.
            Unavailable: the database is away.
        """
        operation = _Operation(run, numbers, asyncio.get_running_loop().create_future(), brings)
        lane = self._lanes.setdefault(study_id, _Lane())
        lane.waiting.append(operation)
        if not lane.is_busy:
            lane.is_busy = True
            self._spawn(self._drain(study_id, lane))
        result: T = await operation.future
        return result

    def stand_by(self, study_id: str, run: Callable[[StudyWork], T | None]) -> asyncio.Future[T | None]:
        """Run an operation at the end of the next transaction of this process that may bring suggestions, and within it.

        Returns:
            what it will answer; None: nothing has changed for it, or that transaction failed.
        """
        operation = _Operation(run, (), asyncio.get_running_loop().create_future())
        self._standing.setdefault(study_id, {})[operation.future] = operation
        return operation.future

    def stand_down(self, study_id: str, answer: asyncio.Future[Any]) -> bool:
        """Take back what stands by; False: it is on its way or answered already."""
        standing = self._standing.get(study_id, {})
        found = standing.pop(answer, None)
        if not standing:
            self._standing.pop(study_id, None)
        return found is not None

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _drain(self, study_id: str, lane: _Lane) -> None:
        loop = asyncio.get_running_loop()
        try:
            while lane.waiting:
                group, lane.waiting = lane.waiting[:MAX_GROUP], lane.waiting[MAX_GROUP:]
                brings = any(operation.brings for operation in group)
                also = list(self._standing.pop(study_id, {}).values()) if brings else []
                try:
                    wakes = await loop.run_in_executor(self._writers, self._write, study_id, group, also)
                except BaseException as error:
                    for operation in group + also:
                        if not operation.future.done():
                            operation.future.set_exception(Unavailable("the server is closing"))
                    if not isinstance(error, Exception):
                        raise
                    continue
                for operation in group + also:
                    _settle(operation)
                for topic, payload in wakes:
                    await self.wakeups.publish(topic, payload)
        finally:
            lane.is_busy = False
            if not lane.waiting:
                self._lanes.pop(study_id, None)

    def _write(self, study_id: str, group: list[_Operation[Any]], also: list[_Operation[Any]]) -> list[tuple[str, str]]:
        """In a writer thread: one transaction for the group and those who stood by; if it breaks, one for each of the group."""
        started = time.perf_counter()
        try:
            return self._attempt(study_id, group, also, tries=2)
        except Exception as error:
            for operation in also:
                operation.result = operation.error = None
            if (len(group) == 1 and not also) or _is_away(error):
                for operation in group:
                    operation.error = _as_ours(error)
                return []
        finally:
            metrics.TRANSACTION_SECONDS.observe(time.perf_counter() - started)
            metrics.TRANSACTION_OPERATIONS.observe(len(group))
        wakes: list[tuple[str, str]] = []
        for operation in group:
            wakes += self._write(study_id, [operation], [])
        return wakes

    def _attempt(
        self, study_id: str, group: list[_Operation[Any]], also: list[_Operation[Any]], tries: int
    ) -> list[tuple[str, str]]:
        is_written = False
        try:
            with self.database.writer.connect() as connection, connection.begin():
                known = self._known.setdefault(threading.get_ident(), {})
                try:
                    work = StudyWork.begin(connection, study_id, self.specs, known, self.clock)
                    self._run_all(work, group + also)
                    work.flush()
                except BaseException:
                    known.pop(study_id, None)
                    raise
                is_written = True
        except AsktellError as error:  # the study is gone, for those who stood by as well
            for operation in group + also:
                operation.error = error
            return []
        except Exception as error:
            # A dead pooled connection shows itself at the first statement. Before the commit nothing has happened: once more.
            if tries > 1 and not is_written and _is_away(error):
                return self._attempt(study_id, group, also, tries - 1)
            if isinstance(error, IntegrityError) and tries > 1 and len(group + also) == 1:
                return self._attempt(study_id, group, also, tries - 1)
            raise
        return _wakes(work)

    @staticmethod
    def _run_all(work: StudyWork, group: list[_Operation[Any]]) -> None:
        work.preload([number for operation in group for number in operation.numbers])
        for operation in group:
            operation.error = None
            try:
                operation.result = operation.run(work)
            except AsktellError as error:
                operation.error = error

    async def write(self, run: Callable[[Connection], T]) -> T:
        """Run a transaction that is not about one existing study."""
        return await self._in_thread(self._writers, self.database.writer, run)

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Run a reading transaction."""
        return await self._in_thread(self._readers, self.database.reader, run)

    async def _in_thread(self, pool: ThreadPoolExecutor, engine: Any, run: Callable[[Connection], T]) -> T:
        def attempt(tries: int = 2) -> T:
            try:
                with engine.connect() as connection, connection.begin():
                    return run(connection)
            except AsktellError:
                raise
            except Exception as error:
                if tries > 1 and (_is_away(error) or isinstance(error, IntegrityError)):
                    return attempt(tries - 1)
                raise _as_ours(error) from error

        return await asyncio.get_running_loop().run_in_executor(pool, attempt)

    async def close(self) -> None:
        """Finish what is under way, then close the connections."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)
        self._writers.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self.database.close()


def _settle(operation: _Operation[Any]) -> None:
    if operation.future.done():  # its client has gone
        return
    if operation.error is not None:
        operation.future.set_exception(operation.error)
    else:
        operation.future.set_result(operation.result)


def _wakes(work: StudyWork) -> list[tuple[str, str]]:
    wakes = []
    if work.wake_work:
        wakes.append(("work", work.id))
    if work.wake_study:
        wakes.append((f"study:{work.id}", ""))
    return wakes


def _is_away(error: Exception) -> bool:
    if isinstance(error, (PoolTimeout, ConnectionError)):
        return True
    return isinstance(error, DBAPIError) and (error.connection_invalidated or isinstance(error, OperationalError))


def _as_ours(error: Exception) -> Exception:
    if _is_away(error):
        log.warning("database.away", error=type(error).__name__)
        return Unavailable(AWAY, retry_after=1.0)
    return error

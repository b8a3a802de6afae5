"""Operations: asks that their clients follow by polling."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import Connection

from .answers import Operation, Problem, problem
from .asks import POLL_SECONDS, Asks
from .caller import Caller, Role
from .domain.errors import AsktellError, NotFound
from .store import asks as store
from .store import trials as trial_store
from .store.unit_of_work import StudyWork
from .studies import Studies, StudyFinder, clean
from .transactions import Transactions
from .trials import answers


@dataclass(frozen=True)
class Operations:
    """The use case of following an operation.

    Its trials are handed out when the client looks, not before: a lease given to somebody who never comes back would be lost time.
    """

    transactions: Transactions
    studies: Studies
    finder: StudyFinder
    asks: Asks

    async def get(self, caller: Caller, operation_id: str, wait_seconds: float = 0.0) -> Operation:
        """An operation; waits up to `wait_seconds` for it to be done.

        Raises:
            NotFound: the caller's project has no such operation.
        """
        caller.must_be(Role.WORKER)
        deadline = time.monotonic() + wait_seconds
        ask = await self._find(caller, operation_id)
        async with self.transactions.wakeups.subscribe(f"study:{ask.study_id}") as wakes:
            while True:
                ask = await self._find(caller, operation_id)
                if ask.state == "open":
                    ask = await self._try(caller, ask)
                left = deadline - time.monotonic()
                if ask.state != "open" or left <= 0:
                    return await self._answer(caller, ask)
                await wakes.wait(min(left, POLL_SECONDS))

    async def _find(self, caller: Caller, operation_id: str) -> store.AskRecord:
        operation_id = clean(operation_id)
        found = await self.transactions.read(lambda connection: store.get(connection, operation_id))
        if found is None or found.project != caller.project:
            raise NotFound(f"there is no operation {operation_id[:128]!r}")
        return found

    async def _try(self, caller: Caller, ask: store.AskRecord) -> store.AskRecord:
        try:
            await self.asks.resume(caller, ask.study_id, ask)
        except NotFound:
            raise
        except AsktellError as error:
            await self._fail(caller, ask, problem(error))
        return await self._find(caller, ask.id)

    async def _fail(self, caller: Caller, ask: store.AskRecord, why: Problem) -> None:
        if why.status >= 500:
            return  # the database is away: the operation is still to be done

        def run(work: StudyWork) -> None:
            row = store.get(work.connection, ask.id)
            if row is not None and row.state == "open":
                row.state, row.open_count, row.error = "failed", 0, why.wire()
                store.put(work.connection, row)
                work.progress.demand = store.demand(work.connection, work.id, work.now)

        await self.finder.run(caller, ask.study_id, run)

    async def _answer(self, caller: Caller, ask: store.AskRecord) -> Operation:
        study, _ = await self.studies.find(caller, ask.study_id)

        def run(connection: Connection) -> Operation:
            records = trial_store.get_many(connection, study.id, ask.trials)
            shown = answers(connection, study, [records[n] for n in ask.trials])
            return Operation.model_construct(
                id=ask.id,
                study=study.name,
                done=ask.state != "open",
                trials=tuple(shown),
                error=None if ask.error is None else Problem.model_validate(ask.error, strict=False),
                created_at=ask.created_at,
            )

        return await self.transactions.read(run)

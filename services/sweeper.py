"""What nobody asks for but must happen: leases that run out, asks and answers whose time is over, studies at their time limit."""

from __future__ import annotations

import asyncio

import structlog

from .domain.errors import AsktellError
from .lifecycle import expire_leases, settle
from .store import asks as ask_store
from .store import idempotency as idempotency_store
from .store import studies as study_store
from .store.unit_of_work import StudyGone, StudyWork
from .transactions import Transactions

log = structlog.get_logger("sweeper")
EVERY_SECONDS = 1.0
SOME = 200


class Sweeper:
    """Runs in every server; each round is safe beside others, for it works under the same locks as everything."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def run(self) -> None:
        """Sweep until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            try:
                await self.sweep(with_answers=rounds % 600 == 0)
            except AsktellError as error:
                log.warning("sweep.failed", error=error.detail)
            rounds += 1

    async def sweep(self, *, with_answers: bool = True) -> None:
        """One round."""
        now = self._transactions.now()
        lapsed = await self._transactions.read(lambda c: study_store.with_lapsed_leases(c, now, SOME))
        asks = await self._transactions.read(lambda c: ask_store.lapsed(c, now, SOME))
        for study in dict.fromkeys([*lapsed, *(study for _, study in asks)]):
            gone = [ask for ask, of in asks if of == study]
            await self._settle(study, gone)
        if with_answers:
            await self._transactions.write(lambda c: idempotency_store.sweep(c, now))

    async def _settle(self, study: str, gone: list[str]) -> None:
        def run(work: StudyWork) -> None:
            expire_leases(work)
            for ask in gone:
                ask_store.remove(work.connection, ask)
            if gone:
                work.progress.demand = ask_store.demand(work.connection, work.id, work.now)
            settle(work)

        try:
            await self._transactions.on_study(study, run)
        except StudyGone:
            return

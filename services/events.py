"""Events: what happened in a study, from any place of its sequence on, as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator

from .answers import Event
from .caller import Caller
from .domain.errors import NotFound
from .store import events as store
from .studies import Studies
from .transactions import Transactions

KEEP_ALIVE_SECONDS = 15.0
POLL_SECONDS = 1.0
PAGE = 500


class Events:
    """The use case of following a study."""

    def __init__(self, transactions: Transactions, studies: Studies) -> None:
        self._transactions = transactions
        self._studies = studies

    async def open(self, caller: Caller, ref: str, after: int | None = None) -> AsyncIterator[Event | None]:
        """Events that follow `after` (None: from the first on), without end until the study is deleted.

        Yields:
            An event, or None now and then so that a silent connection can be kept alive.

        Raises:
            NotFound: no such study.
        """
        record, _ = await self._studies.find(caller, ref)
        return self._follow(caller, record.id, record.name, 0 if after is None else after)

    async def _follow(self, caller: Caller, study_id: str, name: str, seq: int) -> AsyncIterator[Event | None]:
        silent = 0.0
        async with self._transactions.wakeups.subscribe(f"study:{study_id}") as wakes:
            while True:
                found = await self._transactions.read(
                    lambda connection, seq=seq: store.after(connection, study_id, seq, PAGE)  # type: ignore[misc]
                )
                for event in found:
                    seq, silent = event.seq, 0.0
                    yield Event.model_construct(
                        seq=event.seq,
                        type=event.type,
                        study=name,
                        number=event.number,
                        data=event.data,
                        created_at=event.created_at,
                    )
                if found:
                    continue
                if not await wakes.wait(POLL_SECONDS):
                    silent += POLL_SECONDS
                elif not await self._still_there(caller, study_id):
                    return
                if silent >= KEEP_ALIVE_SECONDS:
                    silent = 0.0
                    if not await self._still_there(caller, study_id):
                        return
                    yield None

    async def _still_there(self, caller: Caller, study_id: str) -> bool:
        try:
            await self._studies.find(caller, study_id)
        except NotFound:
            return False
        return True

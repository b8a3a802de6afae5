"""Reading the update log of a seed-encoded vector."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from .answers import UpdateList
from .caller import Caller
from .domain.errors import Invalid
from .domain.study import StudyState
from .domain.updates import decode, joined
from .requests import UpdatesQuery
from .store import updates as store
from .studies import Studies
from .transactions import Transactions

MOST_BYTES = 2 * 2**20
"""Of one answer: some 100 000 pairs, ten times as long as JSON. A single update may be longer."""


class Updates:
    """The use case of following theta."""

    def __init__(self, transactions: Transactions, studies: Studies) -> None:
        self._transactions = transactions
        self._studies = studies

    async def list(self, caller: Caller, ref: str, query: UpdatesQuery) -> UpdateList:
        """The updates from a version of theta on.

        Raises:
            NotFound: no such study.
            Invalid: it has no seed-encoded vector.
        """
        log, latest, pending = await self.binary(caller, ref, query)
        return UpdateList.model_construct(updates=tuple(decode(log)), latest=latest, pending=pending)

    async def binary(self, caller: Caller, ref: str, query: UpdatesQuery) -> tuple[bytes, int, bool]:
        """The same in binary form, the newest version of theta, and whether one more may come in a moment."""
        record, progress = await self._studies.find(caller, ref)
        if record.spec.seed_vector is None:
            raise Invalid(f"study {record.name!r} has no vector with encoding seed, hence no updates")

        def read(connection: Connection) -> tuple[Sequence[bytes], int]:
            latest = store.published(connection, record.id)
            return store.since(connection, record.id, query.from_, query.limit, MOST_BYTES), latest

        bodies, latest = await self._transactions.read(read)
        is_unasked = progress.open == 0 or record.state is not StudyState.ACTIVE
        return joined(bodies), latest, is_unasked and progress.knowledge_seq > progress.buffer_seq

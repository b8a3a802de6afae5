"""Events: what changed in a study, one row for each number of its sequence."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from .bulk import insert_rows, read_columns
from .tables import EventRow, table

EVENTS = table(EventRow)


class EventRecord(NamedTuple):
    """One change. `type` is `trial.…` with a number, or `study.…` without."""

    study_id: str
    seq: int
    type: str
    created_at: datetime
    number: int | None
    data: dict[str, Any]


def insert_many(connection: Connection, events: Sequence[EventRecord]) -> None:
    """Write new events."""
    insert_rows(connection, EVENTS, EventRecord._fields, events)


def after(connection: Connection, study_id: str, seq: int, limit: int) -> list[EventRecord]:
    """The events that follow `seq`, in order."""
    columns = tuple(EVENTS.c[name] for name in EventRecord._fields)
    query = (
        select(*columns).where(EVENTS.c.study_id == study_id, EVENTS.c.seq > seq).order_by(EVENTS.c.seq).limit(limit)
    )
    return list(map(EventRecord, *read_columns(connection, query, columns)))

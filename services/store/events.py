"""Events: what changed in a study, one row for each number of its sequence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from .bulk import insert_rows
from .tables import EventRow, table

EVENTS = table(EventRow)


@dataclass(frozen=True, slots=True)
class EventRecord:
    """One change. `type` is `trial.…` with a number, or `study.…` without."""

    study_id: str
    seq: int
    type: str
    created_at: datetime
    number: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


def insert_many(connection: Connection, events: Sequence[EventRecord]) -> None:
    """Write new events."""
    names = ("study_id", "seq", "type", "created_at", "number", "data")
    insert_rows(connection, EVENTS, [{name: getattr(event, name) for name in names} for event in events])


def after(connection: Connection, study_id: str, seq: int, limit: int) -> list[EventRecord]:
    """The events that follow `seq`, in order."""
    query = (
        select(EVENTS.c.study_id, EVENTS.c.seq, EVENTS.c.type, EVENTS.c.created_at, EVENTS.c.number, EVENTS.c.data)
        .where(EVENTS.c.study_id == study_id, EVENTS.c.seq > seq)
        .order_by(EVENTS.c.seq)
        .limit(limit)
    )
    return [EventRecord(*row) for row in connection.execute(query)]

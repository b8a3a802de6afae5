"""Asks that wait: what they want, what they got."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from .tables import AskRow, table

ASKS = table(AskRow)


@dataclass(slots=True)
class AskRecord:
    """One waiting ask. state: open | done | failed."""

    id: str
    study_id: str
    project: str
    request: dict[str, Any]
    state: str
    open_count: int
    created_at: datetime
    expires_at: datetime
    trials: list[int] = field(default_factory=list)
    error: dict[str, Any] | None = None


_NAMES = tuple(AskRecord.__dataclass_fields__)


def get(connection: Connection, ask_id: str) -> AskRecord | None:
    """One ask."""
    row = connection.execute(select(*(ASKS.c[name] for name in _NAMES)).where(ASKS.c.id == ask_id)).first()
    return None if row is None else AskRecord(*row)


def put(connection: Connection, record: AskRecord) -> None:
    """Write it, new or changed."""
    values = {name: getattr(record, name) for name in _NAMES}
    if connection.execute(update(ASKS).where(ASKS.c.id == record.id).values(values)).rowcount == 0:
        connection.execute(insert(ASKS), [values])


def remove(connection: Connection, ask_id: str) -> None:
    """Forget an ask whose client has its answer."""
    connection.execute(delete(ASKS).where(ASKS.c.id == ask_id))


def demand(connection: Connection, study_id: str, now: datetime) -> int:
    """How many suggestions the open asks of a study wait for."""
    query = select(func.coalesce(func.sum(ASKS.c.open_count), 0)).where(
        ASKS.c.study_id == study_id, ASKS.c.state == "open", ASKS.c.expires_at > now
    )
    return int(connection.execute(query).scalar_one())


def lapsed(connection: Connection, now: datetime, limit: int) -> list[tuple[str, str]]:
    """(ask, study) of those whose time is over."""
    query = select(ASKS.c.id, ASKS.c.study_id).where(ASKS.c.expires_at <= now).limit(limit)
    return [(ask, study) for ask, study in connection.execute(query)]

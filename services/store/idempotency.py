"""Answers kept for retries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from .tables import IdempotencyRow, table

ANSWERS = table(IdempotencyRow)


@dataclass(frozen=True, slots=True)
class AnswerRecord:
    """What was answered to a request."""

    project: str
    key: str
    fingerprint: str
    answer: str
    expires_at: datetime


_NAMES = tuple(AnswerRecord.__dataclass_fields__)


def get(connection: Connection, project: str, key: str) -> AnswerRecord | None:
    """The answer kept under a key."""
    query = select(*(ANSWERS.c[name] for name in _NAMES)).where(ANSWERS.c.project == project, ANSWERS.c.key == key)
    row = connection.execute(query).first()
    return None if row is None else AnswerRecord(*row)


def put(connection: Connection, record: AnswerRecord) -> None:
    """Keep an answer.

    Raises:
        sqlalchemy.exc.IntegrityError: another request with this key was faster; nothing of this transaction may stand.
    """
    connection.execute(insert(ANSWERS), [{name: getattr(record, name) for name in _NAMES}])


def remove(connection: Connection, project: str, key: str) -> None:
    """Forget an answer whose day is over."""
    connection.execute(delete(ANSWERS).where(ANSWERS.c.project == project, ANSWERS.c.key == key))


def sweep(connection: Connection, now: datetime) -> int:
    """Forget every answer whose day is over; how many went."""
    return connection.execute(delete(ANSWERS).where(ANSWERS.c.expires_at <= now)).rowcount

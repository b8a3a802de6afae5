"""Suggestions that wait to be handed out, and who computes the next ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, or_, select, update

from ..domain.suggester import Suggestion
from .bulk import insert_rows, read_columns
from .tables import ProgressRow, StudyRow, SuggesterStateRow, SuggestionRow, table

SUGGESTIONS = table(SuggestionRow)
STATES = table(SuggesterStateRow)
PROGRESS = table(ProgressRow)
STUDIES = table(StudyRow)

_NAMES = ("parameters", "reason", "origin", "receipt", "suggester", "fallback", "evaluate_on")
_BUFFERED = tuple(SUGGESTIONS.c[name] for name in ("place", "seen_seq", *_NAMES))


@dataclass(frozen=True, slots=True)
class Buffered:
    """A suggestion in the buffer."""

    place: int
    seen_seq: int
    suggestion: Suggestion


def first(connection: Connection, study_id: str, limit: int) -> list[Buffered]:
    """The next suggestions in their order."""
    query = select(*_BUFFERED).where(SUGGESTIONS.c.study_id == study_id).order_by(SUGGESTIONS.c.place).limit(limit)
    return [
        Buffered(place, seen, Suggestion(**dict(zip(_NAMES, rest, strict=True))))
        for place, seen, *rest in zip(*read_columns(connection, query, _BUFFERED), strict=True)
    ]


def remove(connection: Connection, study_id: str, last: int) -> None:
    """Take handed-out suggestions away: those up to a place."""
    connection.execute(delete(SUGGESTIONS).where(SUGGESTIONS.c.study_id == study_id, SUGGESTIONS.c.place <= last))


def replace(connection: Connection, study_id: str, buffered: Sequence[Buffered]) -> None:
    """Make these the whole buffer."""
    connection.execute(delete(SUGGESTIONS).where(SUGGESTIONS.c.study_id == study_id))
    insert_rows(
        connection, SUGGESTIONS, ("study_id", "place", "seen_seq", *_NAMES), [_row(study_id, b) for b in buffered]
    )


def _row(study_id: str, buffered: Buffered) -> tuple[Any, ...]:
    s = buffered.suggestion
    found = (s.parameters, s.reason, dict(s.origin), s.receipt, s.suggester, s.fallback, s.evaluate_on)
    return (study_id, buffered.place, buffered.seen_seq, *found)


@dataclass(slots=True)
class StateRecord:
    """A suggester's saved state and the claim on it."""

    study_id: str
    token: int
    owner: str | None
    claimed_until: datetime | None
    seq: int
    blob: bytes | None
    failures: int
    retry_at: datetime | None
    last_error: str | None


_STATE_NAMES = tuple(StateRecord.__dataclass_fields__)


def state(connection: Connection, study_id: str) -> StateRecord | None:
    """The state row, None if the study is gone."""
    row = connection.execute(
        select(*(STATES.c[name] for name in _STATE_NAMES)).where(STATES.c.study_id == study_id)
    ).first()
    return None if row is None else StateRecord(*row)


def insert_state(connection: Connection, study_id: str) -> None:
    """A fresh state row for a new study."""
    connection.execute(insert(STATES), [{"study_id": study_id, "token": 0, "seq": 0, "failures": 0}])


def update_state(connection: Connection, record: StateRecord) -> None:
    """Write it back."""
    values = {name: getattr(record, name) for name in _STATE_NAMES if name != "study_id"}
    connection.execute(update(STATES).where(STATES.c.study_id == record.study_id).values(values))


def renew_claim(connection: Connection, study_id: str, token: int, until: datetime) -> bool:
    """Extend a claim; False if another holds it by now."""
    statement = update(STATES).where(
        STATES.c.study_id == study_id, STATES.c.token == token, STATES.c.owner.is_not(None)
    )
    return connection.execute(statement.values(claimed_until=until)).rowcount == 1


def release_claim(connection: Connection, study_id: str, token: int) -> None:
    """Give a claim up, unless another holds it by now."""
    statement = update(STATES).where(STATES.c.study_id == study_id, STATES.c.token == token)
    connection.execute(statement.values(owner=None, claimed_until=None))


def due(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Studies that want suggestions, whose claim is free or has run out, and whose back-off is over."""
    query = (
        select(PROGRESS.c.study_id)
        .join(STATES, STATES.c.study_id == PROGRESS.c.study_id)
        .where(
            PROGRESS.c.wants,
            or_(STATES.c.claimed_until.is_(None), STATES.c.claimed_until <= now),
            or_(STATES.c.retry_at.is_(None), STATES.c.retry_at <= now),
        )
        .order_by(PROGRESS.c.updated_at)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())

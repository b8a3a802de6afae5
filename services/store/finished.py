"""Trials that have an outcome, with no more columns than looking back over thousands of them takes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from ..domain.trial import TrialState
from .trials import TRIALS

_OPEN = [state.value for state in TrialState if not state.is_terminal]


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """What a finished trial says about its study; the fields are those of `TrialRecord`."""

    number: int
    state: TrialState
    parameters: dict[str, Any]
    point_key: str | None
    metrics: dict[str, float]
    std: dict[str, float] | None
    feasible: bool | None
    value: float | None
    suggester: str
    receipt: dict[str, Any] | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a completed trial lies, and its values."""

    number: int
    parameters: dict[str, Any]
    metrics: dict[str, float]


_COLUMNS = [TRIALS.c[field.name] for field in fields(FinishedTrial)]


def latest(connection: Connection, study_id: str, most: int) -> list[FinishedTrial]:
    """The `most` finished trials with the highest numbers, by number."""
    query = (
        select(*_COLUMNS)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.state.not_in(_OPEN))
        .order_by(TRIALS.c.number.desc())
        .limit(most)
    )
    rows = connection.execute(query).all()
    return [FinishedTrial(number, TrialState(state), *rest) for number, state, *rest in reversed(rows)]


def places_before(connection: Connection, study_id: str, number: int, most: int) -> list[Place]:
    """The completed trials made before trial `number`, the latest `most` of them, latest first."""
    query = (
        select(TRIALS.c.number, TRIALS.c.parameters, TRIALS.c.metrics)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.number < number, TRIALS.c.state == TrialState.COMPLETED.value)
        .order_by(TRIALS.c.number.desc())
        .limit(most)
    )
    return [Place(*row) for row in connection.execute(query)]

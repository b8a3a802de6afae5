"""Trials in the database. Every statement stays inside one study and is served by an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select

from ..domain.history import Observations
from ..domain.trial import Measurement, TrialState
from .bulk import insert_rows, raw_columns, read_columns, update_rows
from .records import TRIAL_FIELDS, TrialRecord
from .tables import MeasurementRow, TrialRow, table

TRIALS = table(TrialRow)
MEASUREMENTS = table(MeasurementRow)
CHUNK = 500

_COLUMNS = tuple(TRIALS.c["metadata" if name == "meta" else name] for name in TRIAL_FIELDS)
_STATE = TRIAL_FIELDS.index("state")
_STATES = {state.value: state for state in TrialState}
_KEYS = ("study_id", "number")
_OBSERVED = tuple(TRIALS.c[name] for name in Observations.FIELDS)


def _records(connection: Connection, query: Select[Any]) -> list[TrialRecord]:
    columns = read_columns(connection, query, _COLUMNS)
    columns[_STATE] = [_STATES[state] for state in columns[_STATE]]
    return list(map(TrialRecord, *columns))


def _of(study_id: str) -> Select[Any]:
    return select(*_COLUMNS).where(TRIALS.c.study_id == study_id)


def get_many(connection: Connection, study_id: str, numbers: Iterable[int]) -> dict[int, TrialRecord]:
    """The trials that exist among `numbers`, by number."""
    wanted = sorted(set(numbers))
    found: dict[int, TrialRecord] = {}
    is_row = bool(wanted) and wanted[-1] - wanted[0] + 1 == len(wanted)
    for part in [wanted] if is_row else [wanted[i : i + CHUNK] for i in range(0, len(wanted), CHUNK)]:
        those = TRIALS.c.number.between(part[0], part[-1]) if is_row else TRIALS.c.number.in_(part)
        for record in _records(connection, _of(study_id).where(those)):
            found[record.number] = record
    return found


def waiting(connection: Connection, study_id: str, limit: int) -> list[TrialRecord]:
    """Trials to hand out, lowest number first."""
    query = _of(study_id).where(TRIALS.c.state == TrialState.WAITING.value).order_by(TRIALS.c.number).limit(limit)
    return _records(connection, query)


def running(connection: Connection, study_id: str, worker: str | None = None) -> list[TrialRecord]:
    """Leased trials, of one worker or of all."""
    query = _of(study_id).where(TRIALS.c.state == TrialState.RUNNING.value)
    if worker is not None:
        query = query.where(TRIALS.c.worker == worker)
    return _records(connection, query.order_by(TRIALS.c.number))


def observations_since(connection: Connection, study_id: str, seq: int) -> Observations:
    """Trials that changed after `seq` as suggesters see them, by number."""
    query = select(*_OBSERVED).where(TRIALS.c.study_id == study_id, TRIALS.c.seq > seq).order_by(TRIALS.c.number)
    return Observations(*raw_columns(connection, query, _OBSERVED))


def has_point(connection: Connection, study_id: str, point_key: str) -> bool:
    """Whether any trial of the study has this point."""
    query = select(TRIALS.c.number).where(TRIALS.c.study_id == study_id, TRIALS.c.point_key == point_key).limit(1)
    return connection.execute(query).first() is not None


def has_feasible(connection: Connection, study_id: str) -> bool:
    """Whether any trial of the study is known to keep its constraints."""
    query = select(TRIALS.c.number).where(TRIALS.c.study_id == study_id, TRIALS.c.feasible.is_(True)).limit(1)
    return connection.execute(query).first() is not None


def best(connection: Connection, study_id: str) -> TrialRecord | None:
    """The eligible trial with the lowest value of the first objective, the earliest among equals."""
    query = _of(study_id).where(TRIALS.c.value.is_not(None)).order_by(TRIALS.c.value, TRIALS.c.number).limit(1)
    found = _records(connection, query)
    return found[0] if found else None


def eligible(connection: Connection, study_id: str) -> list[tuple[int, dict[str, float]]]:
    """(number, metrics) of every trial that can be among the best, by number."""
    query = (
        select(TRIALS.c.number, TRIALS.c.metrics)
        .where(TRIALS.c.study_id == study_id, TRIALS.c.value.is_not(None))
        .order_by(TRIALS.c.number)
    )
    return [(number, metrics) for number, metrics in connection.execute(query)]


def infeasible_completed(connection: Connection, study_id: str) -> list[tuple[int, dict[str, float]]]:
    """(number, metrics) of every completed trial that breaks a constraint, by number."""
    query = (
        select(TRIALS.c.number, TRIALS.c.metrics)
        .where(
            TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.COMPLETED.value, TRIALS.c.feasible.is_(False)
        )
        .order_by(TRIALS.c.number)
    )
    return [(number, metrics) for number, metrics in connection.execute(query)]


@dataclass(frozen=True, slots=True)
class Slice:
    """Which trials of a study, in which order, from where on.

    Attributes:
        order_by: number | -number | created_at | -created_at (creation follows the number).
        after: the last number already seen.
    """

    limit: int
    state: TrialState | None = None
    worker: str | None = None
    order_by: str = "number"
    after: int | None = None


def page(connection: Connection, study_id: str, wanted: Slice) -> list[TrialRecord]:
    """One slice of the trials."""
    query = _of(study_id)
    descending = wanted.order_by.startswith("-")
    if wanted.state is not None:
        query = query.where(TRIALS.c.state == wanted.state.value)
    if wanted.worker is not None:
        query = query.where(TRIALS.c.worker == wanted.worker)
    if wanted.after is not None:
        query = query.where(TRIALS.c.number < wanted.after if descending else TRIALS.c.number > wanted.after)
    return _records(
        connection, query.order_by(TRIALS.c.number.desc() if descending else TRIALS.c.number).limit(wanted.limit)
    )


def _names_and_values(fields: Iterable[str]) -> tuple[tuple[str, ...], attrgetter[tuple[Any, ...]]]:
    """What columns are named, and how a record has their values."""
    names = tuple("metadata" if name == "meta" else name for name in fields)
    return names, attrgetter(*("state.value" if name == "state" else name for name in fields))


_INSERTED, _inserted = _names_and_values(TRIAL_FIELDS)


def insert_many(connection: Connection, records: Sequence[TrialRecord]) -> None:
    """Write new trials."""
    insert_rows(connection, TRIALS, _INSERTED, [_inserted(record) for record in records])


# What never changes after creation is not written again.
_FIXED = frozenset(
    {"parameters", "point_key", "suggester", "reason", "fallback", "seen_seq", "origin", "receipt", "created_at"}
)
_UPDATED, _updated = _names_and_values([*(f for f in TRIAL_FIELDS if f not in {*_FIXED, *_KEYS}), *_KEYS])


def update_many(connection: Connection, records: Sequence[TrialRecord]) -> None:
    """Write changed trials back."""
    update_rows(connection, TRIALS, _UPDATED, _KEYS, [_updated(record) for record in records])


def measurements(connection: Connection, study_id: str, numbers: Sequence[int]) -> dict[int, list[Measurement]]:
    """The reports of some trials, by number, in the order of their steps."""
    found: dict[int, list[Measurement]] = {number: [] for number in numbers}
    for start in range(0, len(numbers), CHUNK):
        query = (
            select(MEASUREMENTS.c.number, MEASUREMENTS.c.step, MEASUREMENTS.c.metrics, MEASUREMENTS.c.created_at)
            .where(MEASUREMENTS.c.study_id == study_id, MEASUREMENTS.c.number.in_(numbers[start : start + CHUNK]))
            .order_by(MEASUREMENTS.c.number, MEASUREMENTS.c.step)
        )
        for number, step, metrics, created_at in connection.execute(query):
            found[number].append(Measurement.model_construct(step=step, metrics=metrics, created_at=created_at))
    return found


def add_measurement(
    connection: Connection, study_id: str, number: int, measurement: Measurement, value: float | None
) -> None:
    """Write one report."""
    row = {"study_id": study_id, "number": number, "step": measurement.step, "metrics": measurement.metrics}
    connection.execute(insert(MEASUREMENTS), [row | {"value": value, "created_at": measurement.created_at}])


def first_lease_end(connection: Connection, study_id: str) -> datetime | None:
    """When the first of the running leases runs out."""
    query = select(func.min(TRIALS.c.lease_expires_at)).where(
        TRIALS.c.study_id == study_id, TRIALS.c.state == TrialState.RUNNING.value
    )
    return connection.execute(query).scalar_one_or_none()

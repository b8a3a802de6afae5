"""Studies in the database; every lookup by a client's word is scoped by project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, delete, func, insert, literal, or_, select, tuple_, update
from sqlalchemy.sql.elements import ColumnElement

from ..domain.study import StudySpec, StudyState
from .records import PROGRESS_FIELDS, Progress, StudyRecord
from .tables import ProgressRow, ProjectRow, StudyRow, table

STUDIES = table(StudyRow)
PROGRESS = table(ProgressRow)
PROJECTS = table(ProjectRow)

_PROGRESS = [PROGRESS.c[name] for name in PROGRESS_FIELDS]
_STUDY = [
    STUDIES.c[name]
    for name in (
        "id",
        "project",
        "name",
        "state",
        "state_reason",
        "spec",
        "seed",
        "pooled",
        "revision",
        "created_at",
        "updated_at",
    )
]


class SpecCache:
    """Parsed specs by study and revision: parsing costs more than the transaction around it."""

    def __init__(self, size: int = 2000) -> None:
        self.size = size
        self._known: dict[str, tuple[int, StudySpec]] = {}

    def get(self, study_id: str, revision: int) -> StudySpec | None:
        """The spec at this revision, if it is known."""
        known = self._known.get(study_id)
        return known[1] if known and known[0] == revision else None

    def put(self, study_id: str, revision: int, spec: StudySpec) -> None:
        """Remember it; the oldest goes when there are too many."""
        self._known.pop(study_id, None)
        while len(self._known) >= self.size:
            self._known.pop(next(iter(self._known)), None)
        self._known[study_id] = (revision, spec)

    def parse(self, study_id: str, revision: int, document: dict[str, Any]) -> StudySpec:
        """The spec at this revision, from here or from its document."""
        from ..domain.document import canonical

        spec = self.get(study_id, revision)
        if spec is None:
            spec = StudySpec.model_validate_json(canonical(document))
            self.put(study_id, revision, spec)
        return spec


def _record(row: Row[Any] | Sequence[Any], specs: SpecCache) -> StudyRecord:
    id_, project, name, state, reason, document, seed, pooled, revision, created, updated = tuple(row)
    spec = specs.parse(id_, revision, document)
    return StudyRecord(id_, project, name, StudyState(state), reason, spec, seed, pooled, revision, created, updated)


def _named(project: str, ref: str) -> ColumnElement[bool]:
    # An id is unguessable and never a name: ids start with a letter and a dot that names also allow, so both are asked for.
    return (STUDIES.c.project == project) & or_(STUDIES.c.id == ref, STUDIES.c.name == ref)


def find_id(connection: Connection, project: str, ref: str) -> str | None:
    """The id of a study by its id or name."""
    query = select(STUDIES.c.id).where(_named(project, ref)).order_by((STUDIES.c.id == ref).desc()).limit(1)
    return connection.execute(query).scalar_one_or_none()


def get(connection: Connection, project: str, ref: str, specs: SpecCache) -> tuple[StudyRecord, Progress] | None:
    """A study and its progress by id or name."""
    query = (
        select(*_STUDY, *_PROGRESS)
        .join(PROGRESS, PROGRESS.c.study_id == STUDIES.c.id)
        .where(_named(project, ref))
        .order_by((STUDIES.c.id == ref).desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else (_record(row[: len(_STUDY)], specs), Progress(*row[len(_STUDY) :]))


@dataclass(frozen=True, slots=True)
class Locked:
    """A study whose row is locked until the transaction ends."""

    study: StudyRecord
    progress: Progress
    now: datetime | None  # the database's clock; None on SQLite, which has none of its own


def _lock_query(is_sqlite: bool) -> Select[Any]:
    clock: ColumnElement[Any] = literal(None) if is_sqlite else func.clock_timestamp()
    query = (
        select(STUDIES.c.revision, clock, *_PROGRESS)
        .join(PROGRESS, PROGRESS.c.study_id == STUDIES.c.id)
        .where(STUDIES.c.id == bindparam("study_id"))
    )
    # Race prevented: two servers giving the same number or counting the same free slot. Of the two tables only the hot row is
    # locked; whoever changes the study itself locks this row first.
    return query if is_sqlite else query.with_for_update(of=PROGRESS)


@cache
def _lock(is_sqlite: bool) -> Select[Any]:
    return _lock_query(is_sqlite)


def lock(connection: Connection, study_id: str, specs: SpecCache, known: dict[str, StudyRecord]) -> Locked | None:
    """Lock a study; None if it is gone.

    Args:
        known: records by study, reused while their revision stands; the caller keeps it between transactions.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    row = connection.execute(_lock(is_sqlite), {"study_id": study_id}).first()
    if row is None:
        known.pop(study_id, None)
        return None
    revision, now, *progress = row
    record = known.get(study_id)
    if record is None or record.revision != revision:
        found = connection.execute(select(*_STUDY).where(STUDIES.c.id == study_id)).first()
        if found is None:
            return None
        record = known[study_id] = _record(found, specs)
        while len(known) > specs.size:
            known.pop(next(iter(known)))
    return Locked(record, Progress(*progress), now)


def insert_study(connection: Connection, record: StudyRecord, progress: Progress) -> None:
    """Write a new study."""
    connection.execute(insert(STUDIES), [_study_row(record)])
    connection.execute(insert(PROGRESS), [_progress_row(progress)])


def update_study(connection: Connection, record: StudyRecord) -> None:
    """Write a study's own columns back."""
    row = _study_row(record)
    connection.execute(update(STUDIES).where(STUDIES.c.id == row.pop("id")).values(row))


@cache
def _update_progress() -> Any:
    names = [name for name in PROGRESS_FIELDS if name != "study_id"]
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    return update(PROGRESS).where(PROGRESS.c.study_id == bindparam("at_study")).values(values)


def update_progress(connection: Connection, progress: Progress) -> None:
    """Write a study's counters back."""
    row = {f"new_{name}": getattr(progress, name) for name in PROGRESS_FIELDS if name != "study_id"}
    connection.execute(_update_progress(), row | {"at_study": progress.study_id})


def _study_row(record: StudyRecord) -> dict[str, Any]:
    document = record.spec.model_dump(mode="json", include=set(StudySpec.model_fields))
    return {
        "id": record.id,
        "project": record.project,
        "name": record.name,
        "state": record.state.value,
        "state_reason": record.state_reason,
        "spec": document,
        "labels": document["labels"],
        "seed": record.seed,
        "pooled": record.pooled,
        "revision": record.revision,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }


def _progress_row(progress: Progress) -> dict[str, Any]:
    return {name: getattr(progress, name) for name in PROGRESS_FIELDS}


def delete_study(connection: Connection, study_id: str) -> None:
    """Delete a study; its trials and all else go with it."""
    connection.execute(delete(STUDIES).where(STUDIES.c.id == study_id))


ORDERS = {"created_at": STUDIES.c.created_at, "name": STUDIES.c.name}


@dataclass(frozen=True, slots=True)
class StudySlice:
    """Which studies, in which order, from where on.

    Attributes:
        labels: each must be present with this value.
        q: part of the name.
        order_by: a key of `ORDERS`, `-` before it for descending.
        after: (value of the order column, id) of the last one seen.
    """

    limit: int
    state: StudyState | None = None
    labels: tuple[tuple[str, str], ...] = ()
    q: str | None = None
    order_by: str = "created_at"
    after: tuple[Any, str] | None = None


def page(
    connection: Connection, project: str, wanted: StudySlice, specs: SpecCache
) -> list[tuple[StudyRecord, Progress]]:
    """One slice of a project's studies."""
    query = (
        select(*_STUDY, *_PROGRESS)
        .join(PROGRESS, PROGRESS.c.study_id == STUDIES.c.id)
        .where(STUDIES.c.project == project)
    )
    if wanted.state is not None:
        query = query.where(STUDIES.c.state == wanted.state.value)
    for name, value in wanted.labels:
        query = query.where(STUDIES.c.labels[name].as_string() == value)
    if wanted.q:
        query = query.where(func.lower(STUDIES.c.name).contains(wanted.q.lower(), autoescape=True))
    column = ORDERS[wanted.order_by.removeprefix("-")]
    place = tuple_(column, STUDIES.c.id)
    if wanted.order_by.startswith("-"):
        query = query.order_by(column.desc(), STUDIES.c.id.desc())
        query = query if wanted.after is None else query.where(place < wanted.after)
    else:
        query = query.order_by(column, STUDIES.c.id)
        query = query if wanted.after is None else query.where(place > wanted.after)
    split = len(_STUDY)
    return [
        (_record(row[:split], specs), Progress(*row[split:])) for row in connection.execute(query.limit(wanted.limit))
    ]


def with_lapsed_leases(connection: Connection, now: datetime, limit: int) -> list[str]:
    """Studies in which a lease has run out."""
    query = select(PROGRESS.c.study_id).where(PROGRESS.c.next_lease_at <= now).limit(limit)
    return list(connection.execute(query).scalars())


def ensure_project(connection: Connection, name: str, now: datetime) -> None:
    """Create a project unless it exists."""
    if connection.execute(select(PROJECTS.c.name).where(PROJECTS.c.name == name)).first() is None:
        connection.execute(insert(PROJECTS), [{"name": name, "created_at": now}])

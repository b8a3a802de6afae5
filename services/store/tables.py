"""The tables, typed. What changes with every ask and tell (`study_progress`) stands apart from what rarely does (`studies`)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class UtcTime(TypeDecorator[datetime]):
    """A time with its zone: timestamptz on Postgres; SQLite keeps UTC without the zone, which is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; naive on SQLite."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Always aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """All tables share one naming convention, so that migrations can name what they change."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        float: Double,
        datetime: UtcTime,
        dict[str, Any]: JSON(none_as_null=True),
        list[Any]: JSON(none_as_null=True),
        bytes: LargeBinary,
    }


def _of_study(**options: Any) -> Mapped[str]:
    return mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), **options)


class ProjectRow(Base):
    """A tenant."""

    __tablename__ = "projects"

    name: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]


class KeyRow(Base):
    """An API key: only its hash is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"), index=True)
    label: Mapped[str]
    role: Mapped[str]
    digest: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class StudyRow(Base):
    """What a study is. `revision` grows with every change of it; spec caches are keyed by it."""

    __tablename__ = "studies"

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("projects.name"))
    name: Mapped[str]
    state: Mapped[str]
    state_reason: Mapped[str | None]
    spec: Mapped[dict[str, Any]]
    labels: Mapped[dict[str, Any]]
    seed: Mapped[int]
    pooled: Mapped[bool]
    revision: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]

    __table_args__ = (
        Index("uq_studies_project_name", "project", "name", unique=True),
        Index("ix_studies_project_created_at", "project", "created_at", "id"),
    )


class ProgressRow(Base):
    """Where a study stands: its counters. Locking this row is locking the study."""

    __tablename__ = "study_progress"

    study_id: Mapped[str] = _of_study(primary_key=True)
    seq: Mapped[int]
    next_number: Mapped[int]
    knowledge_seq: Mapped[int]  # the latest change that a fresh suggestion must have seen
    waiting: Mapped[int]
    running: Mapped[int]
    completed: Mapped[int]
    pruned: Mapped[int]
    infeasible: Mapped[int]
    failed: Mapped[int]
    cancelled: Mapped[int]
    cost: Mapped[float]
    example_evaluations: Mapped[int]
    peak_running: Mapped[int]
    demand: Mapped[int]  # suggestions that open asks wait for
    buffered: Mapped[int]
    buffer_seq: Mapped[int]  # what the buffered suggestions have seen
    wants: Mapped[bool]  # the dispatcher has something to do here
    exhausted: Mapped[bool]  # the suggester knows no further point
    short: Mapped[bool]  # the suggester has no more than what is buffered until something is told
    next_lease_at: Mapped[datetime | None]  # no lease runs out before this
    updated_at: Mapped[datetime]
    infeasible_suspected: Mapped[dict[str, Any] | None]  # trial, evidence and time of the suggester's verdict
    llm: Mapped[dict[str, Any] | None]  # usage of its language model, and what keeps it from it

    __table_args__ = (
        Index("ix_study_progress_wants", "study_id", postgresql_where=text("wants"), sqlite_where=text("wants")),
        Index("ix_study_progress_next_lease_at", "next_lease_at"),
        # Each ask and tell rewrites this row: room on the page keeps the new version beside the old one (HOT updates).
        {"postgresql_with": {"fillfactor": 50}},
    )


class TrialRow(Base):
    """A trial. `point_key` is equal for equal points; `value` is set where the trial can be the best one."""

    __tablename__ = "trials"

    study_id: Mapped[str] = _of_study(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int]
    state: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    point_key: Mapped[str | None]
    metrics: Mapped[dict[str, Any]]
    std: Mapped[dict[str, Any] | None]
    feasible: Mapped[bool | None]
    value: Mapped[float | None]
    worker: Mapped[str | None]
    attempt: Mapped[int]
    lease_seconds: Mapped[float | None]
    lease_expires_at: Mapped[datetime | None]
    should_stop: Mapped[bool]
    suggester: Mapped[str]
    reason: Mapped[str]
    fallback: Mapped[bool]
    seen_seq: Mapped[int | None]
    told_seq: Mapped[int | None]
    origin: Mapped[dict[str, Any]]
    receipt: Mapped[dict[str, Any] | None]
    evaluate_on: Mapped[dict[str, Any] | None]
    feedback: Mapped[str | None]
    examples: Mapped[list[Any] | None]
    residual: Mapped[list[Any] | None]
    elapsed_seconds: Mapped[float | None]
    cost: Mapped[float | None]
    outcome_digest: Mapped[str | None]
    labels: Mapped[dict[str, Any]]
    meta: Mapped[dict[str, Any]] = mapped_column("metadata")
    reports: Mapped[int]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        Index("ix_trials_study_id_seq", "study_id", "seq"),
        Index(
            "ix_trials_open",
            "study_id",
            "state",
            "number",
            postgresql_where=text("state IN ('waiting', 'running')"),
            sqlite_where=text("state IN ('waiting', 'running')"),
        ),
        Index(
            "ix_trials_study_id_point_key",
            "study_id",
            "point_key",
            postgresql_where=text("point_key IS NOT NULL"),
            sqlite_where=text("point_key IS NOT NULL"),
        ),
        Index(
            "ix_trials_study_id_value",
            "study_id",
            "value",
            "number",
            postgresql_where=text("value IS NOT NULL"),
            sqlite_where=text("value IS NOT NULL"),
        ),
    )


class MeasurementRow(Base):
    """An intermediate report. `value` is the metric that early stopping judges."""

    __tablename__ = "measurements"

    study_id: Mapped[str] = _of_study(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    metrics: Mapped[dict[str, Any]]
    value: Mapped[float | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_measurements_study_id_step_value", "study_id", "step", "value"),
        Index("ix_measurements_study_id_step_number", "study_id", "step", "number"),
    )


class EventRow(Base):
    """What happened, one row for each number of a study's sequence."""

    __tablename__ = "events"

    study_id: Mapped[str] = _of_study(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    type: Mapped[str]
    number: Mapped[int | None]
    data: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class SuggestionRow(Base):
    """A proposed point that no client has taken yet; the buffer of a study is replaced as a whole."""

    __tablename__ = "suggestions"

    study_id: Mapped[str] = _of_study(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True)
    parameters: Mapped[dict[str, Any]]
    suggester: Mapped[str]
    reason: Mapped[str]
    fallback: Mapped[bool]
    origin: Mapped[dict[str, Any]]
    receipt: Mapped[dict[str, Any] | None]
    evaluate_on: Mapped[dict[str, Any] | None]
    seen_seq: Mapped[int]


class AskRow(Base):
    """An ask that could not be answered at once. `trials` holds the numbers it got."""

    __tablename__ = "asks"

    id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[str] = _of_study()
    project: Mapped[str]
    request: Mapped[dict[str, Any]]
    state: Mapped[str]  # open | done | failed
    open_count: Mapped[int]  # how many trials it still waits for
    trials: Mapped[list[Any]]
    error: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_asks_study_id_state", "study_id", "state"),
        Index("ix_asks_expires_at", "expires_at"),
    )


class SuggesterStateRow(Base):
    """A suggester's saved state and who computes for the study now; `token` fences off late writers."""

    __tablename__ = "suggester_states"

    study_id: Mapped[str] = _of_study(primary_key=True)
    token: Mapped[int]
    owner: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    seq: Mapped[int]
    blob: Mapped[bytes | None]
    failures: Mapped[int]
    retry_at: Mapped[datetime | None]
    last_error: Mapped[str | None]


class UpdateRow(Base):
    """One step of a seed-encoded vector, from `version` to the next; written once. `body` is its binary form."""

    __tablename__ = "updates"

    study_id: Mapped[str] = _of_study(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    body: Mapped[bytes]
    seq: Mapped[int]
    created_at: Mapped[datetime]


class FingerprintRow(Base):
    """Which parameters a worker had at a version of a seed-encoded vector, as it last said."""

    __tablename__ = "fingerprints"

    study_id: Mapped[str] = _of_study(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    worker: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    seq: Mapped[int]


class LlmCallRow(Base):
    """A language model call: open while it runs, and its reply for ever after. Taken as spent as soon as it is open."""

    __tablename__ = "llm_calls"

    study_id: Mapped[str] = _of_study(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    profile: Mapped[str]
    role: Mapped[str]
    snapshot: Mapped[int]
    token: Mapped[int]  # the claim that the call was made under
    state: Mapped[str]  # open | done | failed | lost
    request: Mapped[dict[str, Any]]
    reply: Mapped[dict[str, Any] | None]
    failure: Mapped[str | None]
    detail: Mapped[str | None]
    prompt_tokens: Mapped[int]  # the most it may come to while open, what it came to afterwards
    completion_tokens: Mapped[int]
    cost: Mapped[float]
    estimated: Mapped[bool]
    seconds: Mapped[float | None]
    seq: Mapped[int | None]
    created_at: Mapped[datetime]

    __table_args__ = (
        Index("ix_llm_calls_study_id_seq", "study_id", "seq"),
        Index(
            "ix_llm_calls_open",
            "study_id",
            postgresql_where=text("state = 'open'"),
            sqlite_where=text("state = 'open'"),
        ),
        Index(
            "ix_llm_calls_open_project",
            "project",
            "profile",
            postgresql_where=text("state = 'open'"),
            sqlite_where=text("state = 'open'"),
        ),
    )


class LlmAccountRow(Base):
    """What a project has spent on a profile; outlives its studies."""

    __tablename__ = "llm_accounts"

    project: Mapped[str] = mapped_column(primary_key=True)
    profile: Mapped[str] = mapped_column(primary_key=True)
    calls: Mapped[int]
    tokens: Mapped[int]
    cost: Mapped[float]


class IdempotencyRow(Base):
    """The answer to a request that carried an `Idempotency-Key`, kept for a day."""

    __tablename__ = "idempotency"

    project: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    answer: Mapped[str]
    expires_at: Mapped[datetime]

    __table_args__ = (Index("ix_idempotency_expires_at", "expires_at"),)


def table(row: type[Base]) -> Table:
    """The Core table behind a mapped class: the hot path speaks Core, which costs a third of the ORM."""
    found = row.__table__
    assert isinstance(found, Table)
    return found

"""Rows as they are held during one transaction: mutable, one object a row, written back by the unit of work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..domain.document import canonical
from ..domain.llm import LlmUsage
from ..domain.study import InfeasibleSuspected, Study, StudySpec, StudyState, TrialCounts
from ..domain.trial import EvaluateOn, ExampleResult, Measurement, SuggestedBy, Trial, TrialState


@dataclass(slots=True)
class Progress:
    """A study's counters; the columns of `study_progress` by name."""

    study_id: str
    updated_at: datetime
    seq: int = 0
    next_number: int = 1
    knowledge_seq: int = 0
    waiting: int = 0
    running: int = 0
    completed: int = 0
    pruned: int = 0
    infeasible: int = 0
    failed: int = 0
    cancelled: int = 0
    cost: float = 0.0
    example_evaluations: int = 0
    peak_running: int = 1
    demand: int = 0
    buffered: int = 0
    buffer_seq: int = 0
    wants: bool = False
    exhausted: bool = False
    short: bool = False
    next_lease_at: datetime | None = None
    infeasible_suspected: dict[str, Any] | None = None
    llm: dict[str, Any] | None = None

    @property
    def trials(self) -> int:
        """How many trials exist, of every state."""
        return self.next_number - 1

    @property
    def open(self) -> int:
        """How many trials have no outcome yet."""
        return self.waiting + self.running

    @property
    def llm_usage(self) -> LlmUsage | None:
        """What language model calls have come to; None before the first, or its refusal."""
        return None if self.llm is None else LlmUsage.model_validate(self.llm["usage"])


def _suspicion(saved: dict[str, Any] | None) -> InfeasibleSuspected | None:
    return None if saved is None else InfeasibleSuspected.model_validate_json(canonical(saved))


@dataclass(slots=True)
class StudyRecord:
    """What a study is; the columns of `studies`."""

    id: str
    project: str
    name: str
    state: StudyState
    state_reason: str | None
    spec: StudySpec
    seed: int
    pooled: bool
    revision: int
    created_at: datetime
    updated_at: datetime

    def study(self, progress: Progress) -> Study:
        """The study as answered to clients."""
        counts = {state.value: getattr(progress, state.value) for state in TrialState}
        known = {name: getattr(self.spec, name) for name in StudySpec.model_fields}
        known |= {"name": self.name, "seed": self.seed}
        return Study.model_construct(
            **known,
            id=self.id,
            state=self.state,
            state_reason=self.state_reason,
            seq=progress.seq,
            trial_counts=TrialCounts.model_construct(**counts),
            etag=f'"{self.revision}"',
            created_at=self.created_at,
            updated_at=max(self.updated_at, progress.updated_at),
            infeasible_suspected=_suspicion(progress.infeasible_suspected),
            llm_usage=progress.llm_usage,
        )


@dataclass(slots=True)
class TrialRecord:
    """A trial; the columns of `trials` by name."""

    study_id: str
    number: int
    state: TrialState
    parameters: dict[str, Any]
    suggester: str
    reason: str
    created_at: datetime
    seq: int = 0
    point_key: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    std: dict[str, float] | None = None
    feasible: bool | None = None
    value: float | None = None
    worker: str | None = None
    attempt: int = 0
    lease_seconds: float | None = None
    lease_expires_at: datetime | None = None
    should_stop: bool = False
    fallback: bool = False
    seen_seq: int | None = None
    told_seq: int | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    receipt: dict[str, Any] | None = None
    evaluate_on: dict[str, Any] | None = None
    feedback: str | None = None
    examples: list[Any] | None = None
    residual: list[float] | None = None
    elapsed_seconds: float | None = None
    cost: float | None = None
    outcome_digest: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    reports: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None

    def trial(self, study_name: str, measurements: Sequence[Measurement] = ()) -> Trial:
        """The trial as answered to clients."""
        return Trial.made(
            study=study_name,
            number=self.number,
            state=self.state,
            parameters=self.parameters,
            metrics=self.metrics,
            std=self.std,
            feasible=self.feasible,
            worker=self.worker,
            attempt=self.attempt,
            lease_expires_at=self.lease_expires_at,
            suggested_by=_suggested_by(self.suggester, self.reason, self.fallback, self.seen_seq),
            measurements=tuple(measurements),
            evaluate_on=self.evaluation(),
            feedback=self.feedback,
            examples=None
            if self.examples is None
            else tuple(ExampleResult.model_construct(**e) for e in self.examples),
            residual=None if self.residual is None else tuple(self.residual),
            elapsed_seconds=self.elapsed_seconds,
            cost=self.cost,
            labels=self.labels,
            metadata=self.meta,
            seq=self.seq,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
        )

    def evaluation(self) -> EvaluateOn | None:
        """The examples it is scored on."""
        if self.evaluate_on is None:
            return None
        return EvaluateOn.model_construct(split=self.evaluate_on["split"], ids=tuple(self.evaluate_on["ids"]))


@lru_cache(maxsize=256)  # the trials of a batch often share it
def _suggested_by(suggester: str, reason: str, fallback: bool, seen_seq: int | None) -> SuggestedBy:
    return SuggestedBy.made(suggester=suggester, reason=reason, fallback=fallback, seen_seq=seen_seq)


TRIAL_FIELDS = tuple(f.name for f in fields(TrialRecord))
PROGRESS_FIELDS = tuple(f.name for f in fields(Progress))

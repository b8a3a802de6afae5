"""A trial: one point to evaluate, and what came of it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field

from .document import Document, LongText, Name, canonical
from .errors import FieldError, Invalid
from .parameters import Finite
from .study import ExampleId, Labels, StudySpec

MAX_BATCH = 10_000
Metrics = dict[Name, Finite]
Residual = Annotated[tuple[Finite, ...], Field(min_length=1, max_length=1_000_000)]
LeaseSeconds = Annotated[float, Field(ge=1, le=86_400)]
Worker = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]
Number = Annotated[int, Field(ge=1, le=2**53)]


class TrialState(StrEnum):
    """Where a trial stands. The last five are terminal."""

    WAITING = "waiting"
    RUNNING = "running"
    COMPLETED = "completed"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing more is expected of the trial."""
        return self not in (TrialState.WAITING, TrialState.RUNNING)


ToldState = Literal["completed", "pruned", "infeasible", "failed"]


class ExampleResult(Document):
    """What one example gave under a trial's parameters."""

    id: ExampleId
    score: Finite = Field(description="In the direction of the first objective.")
    output: LongText | None = Field(default=None, description="What the model answered.")
    expected: LongText | None = Field(default=None, description="What it should have answered.")
    feedback: LongText | None = Field(default=None, description="Why it scored so, in words.")


class EvaluateOn(Document):
    """The examples that a trial is to be scored on."""

    split: Literal["train", "validation"] = Field(description="The set that `ids` are of.")
    ids: tuple[ExampleId, ...]


class SuggestedBy(Document):
    """Who proposed a trial, why, and what it had seen."""

    suggester: str = Field(description="A suggester of the catalogue, or `user` for an enqueued or imported trial.")
    reason: str
    fallback: bool = Field(default=False, description="The quasi-random net: the suggester was not ready or failed.")
    seen_seq: int | None = Field(default=None, description="The study's `seq` that the suggester had seen.")


class Measurement(Document):
    """An intermediate report."""

    step: int
    metrics: Metrics
    created_at: datetime


class Trial(Document):
    """A trial as the service answers it."""

    study: str
    number: int
    state: TrialState
    parameters: dict[str, Any]
    metrics: Metrics = Field(default_factory=dict)
    std: Metrics | None = None
    feasible: bool | None = None
    worker: str | None = None
    attempt: int = 0
    lease_expires_at: datetime | None = None
    suggested_by: SuggestedBy
    measurements: tuple[Measurement, ...] = ()
    evaluate_on: EvaluateOn | None = Field(
        default=None,
        description="The examples to score it on, where the study declares some; its tell brings a row for each.",
    )
    feedback: str | None = None
    examples: tuple[ExampleResult, ...] | None = None
    residual: Residual | None = None
    elapsed_seconds: float | None = None
    cost: float | None = None
    labels: Labels = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)
    seq: int = Field(description="The study's `seq` at the trial's latest change.")
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Outcome(Document):
    """What a client tells about a trial."""

    metrics: Metrics = Field(default_factory=dict)
    state: ToldState = "completed"
    std: Metrics | None = Field(default=None, description="Standard error of each metric's value, >= 0.")
    feedback: LongText | None = Field(default=None, description="What happened, in words.")
    examples: Annotated[tuple[ExampleResult, ...], Field(max_length=100_000)] | None = None
    residual: Residual | None = Field(
        default=None, description="What was measured minus what was wanted, where a method takes more than a number."
    )
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")] | None = Field(
        default=None,
        description="Of the parameters that were evaluated, where they are encoded as seeds: drift is a 409.",
    )
    elapsed_seconds: Annotated[float, Field(ge=0, le=1e12)] | None = None
    cost: Annotated[float, Field(ge=0, le=1e300)] | None = Field(
        default=None, description="What the evaluation cost, in the unit of `limits.max_cost`."
    )

    def check(self, spec: StudySpec, evaluate_on: EvaluateOn | None = None) -> None:
        """Hold it against its study.

        Raises:
            Invalid: a required metric is missing, a `std` is negative or of no told metric, examples that were not asked for.
        """
        problems = []
        if self.state == "completed":
            problems += [
                FieldError(f"/metrics/{name}", "is missing")
                for name in spec.required_metrics
                if name not in self.metrics
            ]
        for name, value in (self.std or {}).items():
            if name not in self.metrics:
                problems.append(FieldError(f"/std/{name}", "no value is told for this metric"))
            if value < 0:
                problems.append(FieldError(f"/std/{name}", "must be >= 0"))
        if self.fingerprint is not None and spec.seed_vector is None:
            problems.append(FieldError("/fingerprint", "this study has no vector with encoding seed"))
        problems += self._example_problems(evaluate_on)
        if problems:
            raise Invalid(f"{problems[0].pointer}: {problems[0].message}", errors=problems[:50])

    def _example_problems(self, evaluate_on: EvaluateOn | None) -> list[FieldError]:
        if self.examples is None:
            if evaluate_on is not None and self.state == "completed":
                return [FieldError("/examples", "is missing: this trial is scored on examples")]
            return []
        if evaluate_on is None:
            return [FieldError("/examples", "this trial is not scored on examples")]
        wanted, seen, problems = set(evaluate_on.ids), set[str](), []
        for index, result in enumerate(self.examples):
            if result.id not in wanted:
                problems.append(FieldError(f"/examples/{index}/id", "was not asked for"))
            elif result.id in seen:
                problems.append(FieldError(f"/examples/{index}/id", "stands twice"))
            seen.add(result.id)
        missing = [example for example in evaluate_on.ids if example not in seen]
        if missing and self.state == "completed":
            problems.append(FieldError("/examples", f"{len(missing)} ids are missing, {missing[0]!r} first"))
        return problems

    def digest(self) -> str:
        """32 hex digits that are equal for equal outcomes: telling the same twice changes nothing."""
        told = {name: value for name, value in self.__dict__.items() if value is not None and name not in _NOT_COMPARED}
        if self.examples is not None:
            told["examples"] = [example.model_dump(mode="json", exclude_none=True) for example in self.examples]
        return hashlib.blake2b(canonical(told).encode(), digest_size=16).hexdigest()


_NOT_COMPARED = frozenset({"number", "elapsed_seconds", "fingerprint"})


class NumberedOutcome(Outcome):
    """One of many outcomes told in one call."""

    number: Number


class TellMany(Document):
    """Many outcomes; each is judged on its own (the items are read one by one)."""

    outcomes: Annotated[tuple[dict[str, Any], ...], Field(min_length=1, max_length=MAX_BATCH)]
    brief: bool = Field(default=False, description="Results without the trials, which cost most where many are told.")


class AskRequest(Document):
    """A wish for trials."""

    count: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 1
    worker: Worker = ""
    wait_seconds: Annotated[float, Field(ge=0, le=600)] = 30.0
    lease_seconds: LeaseSeconds = 3600.0
    fresh: bool = Field(default=True, description="Wait for suggestions that have seen every outcome told before.")
    resume: bool = Field(default=False, description="First hand back the trials that this worker already holds.")


class NewTrial(Document):
    """A trial that a client brings: a point to try (no outcome), or a finished one (`state` or `metrics`)."""

    parameters: dict[str, Any]
    metrics: Metrics | None = None
    state: ToldState | Literal["waiting"] | None = None
    std: Metrics | None = None
    feedback: LongText | None = None
    residual: Residual | None = None
    elapsed_seconds: Annotated[float, Field(ge=0, le=1e12)] | None = None
    cost: Annotated[float, Field(ge=0, le=1e300)] | None = None
    labels: Annotated[Labels, Field(max_length=64)] = Field(default_factory=dict)
    metadata: dict[str, Any] = Field(default_factory=dict)

    def outcome(self) -> Outcome | None:
        """What came of it, None for a point still to be tried.

        Raises:
            Invalid: metrics beside `waiting`.
        """
        if self.state == "waiting" or (self.state is None and self.metrics is None):
            if self.metrics:
                raise Invalid.at("/metrics", "a waiting trial has none; leave out `state` to import it as completed")
            return None
        return Outcome(
            metrics=self.metrics or {},
            state=self.state or "completed",
            std=self.std,
            feedback=self.feedback,
            residual=self.residual,
            elapsed_seconds=self.elapsed_seconds,
            cost=self.cost,
        )


class Report(Document):
    """An intermediate measurement of a running trial."""

    step: Annotated[int, Field(ge=0, le=2**53)]
    metrics: Annotated[Metrics, Field(min_length=1)]


class TrialPatch(Document):
    """What of a trial may change at any time; JSON merge patch, so null removes an entry."""

    labels: dict[str, str | None] | None = None
    metadata: dict[str, Any] | None = None


class HeartbeatRequest(Document):
    """Extend a lease."""

    lease_seconds: LeaseSeconds | None = Field(default=None, description="As asked for at first, if absent.")

"""Envelopes: what calls answer beside studies and trials."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from .domain.calibration import Calibration
from .domain.document import Document
from .domain.errors import AsktellError
from .domain.study import Study
from .domain.suggester import Honours
from .domain.trial import Trial
from .domain.updates import Update


class ProblemError(Document):
    """One place in the request and what is wrong there."""

    pointer: str
    message: str


class Problem(Document):
    """What went wrong (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: tuple[ProblemError, ...] = ()


STATUS = {
    "error": 500,
    "invalid": 422,
    "not-found": 404,
    "conflict": 409,
    "not-active": 409,
    "unauthenticated": 401,
    "forbidden": 403,
    "exhausted": 429,
    "stale": 412,
    "unavailable": 503,
}
"""The contract numbers outcomes inside answers (`results[].status`) as HTTP does; both edges use these numbers."""


def problem(error: AsktellError) -> Problem:
    """An error as a document."""
    return Problem(
        type=f"https://asktell.dev/problems/{error.kind}",
        title=(type(error).__doc__ or "").strip().rstrip("."),
        status=STATUS[error.kind],
        detail=error.detail,
        errors=tuple(ProblemError(pointer=e.pointer, message=e.message) for e in error.errors),
    )


class StudyPage(Document):
    """Some studies, and where the next ones begin."""

    studies: tuple[Study, ...]
    next_page_token: str = ""


class TrialList(Document):
    """Some trials."""

    trials: tuple[Trial, ...]


class TrialPage(Document):
    """Some trials, and where the next ones begin."""

    trials: tuple[Trial, ...]
    next_page_token: str = ""


class Operation(Document):
    """An ask that takes longer than its client wanted to wait."""

    id: str
    study: str
    done: bool
    trials: tuple[Trial, ...] = ()
    error: Problem | None = None
    created_at: datetime


class AskAnswer(Document):
    """The trials to evaluate, or the operation that will have them."""

    trials: tuple[Trial, ...]
    operation: Operation | None = None


class TellResult(Document):
    """What became of one outcome among many. `status` is the number the single call would have answered."""

    number: int
    status: int
    trial: Trial | None = None
    error: Problem | None = None


class TellAnswer(Document):
    """What became of each outcome, in the order of the request."""

    results: tuple[TellResult, ...]


class ReportAnswer(Document):
    """Whether the trial should give up."""

    should_stop: bool
    reason: str | None = None
    lease_expires_at: datetime | None = None


class HeartbeatAnswer(Document):
    """The extended lease."""

    lease_expires_at: datetime
    should_stop: bool


class BestAnswer(Document):
    """The best trial, or the Pareto set. Where nothing is feasible yet: the trial that breaks the constraints least."""

    trials: tuple[Trial, ...]
    feasible: bool


class Nearest(Document):
    """A trial near another. `distance` is a root mean square over the parameters, 1 being a parameter's whole range."""

    number: int
    distance: float
    metrics: dict[str, float]


class Receipt(Document):
    """What was believed when a point was proposed, and how it turned out."""

    study: str
    number: int
    suggester: str
    reason: str
    seen_seq: int | None = None
    believed: dict[str, Any] = Field(
        default_factory=dict, description="Predictions of the model, empty if it had none."
    )
    residual: dict[str, float] = Field(default_factory=dict, description="Told minus predicted mean, by metric.")
    z: dict[str, float] = Field(default_factory=dict, description="Residual in predicted deviations, noise included.")
    nearest: tuple[Nearest, ...] = Field(default=(), description="The closest finished trials that came before it.")


class ModelPicture(Document):
    """What the newest trial's model looks like. Lengthscales are in ranges of their parameters."""

    trial: int
    suggester: str
    n: int | None = None
    checkpoint: int | None = None
    lengthscales: dict[str, float] = Field(default_factory=dict)
    importances: dict[str, float] = Field(default_factory=dict, description="Shares of the total effects; sum 1.")
    noise_std: dict[str, float] = Field(default_factory=dict)
    output_transform: str | None = None
    warped: tuple[str, ...] = ()
    jitter: float | None = None


class Limitation(Document):
    """Something that limits progress, and the numbers behind it."""

    kind: str
    message: str
    evidence: dict[str, Any] = Field(default_factory=dict)


class Diagnosis(Document):
    """How well a study's model predicts, what it believes matters, and what limits progress."""

    study: str
    trials: int
    calibration: tuple[Calibration, ...]
    model: ModelPicture | None = None
    limits: tuple[Limitation, ...]


class Event(Document):
    """What happened, at one number of the study's sequence."""

    seq: int
    type: str
    study: str
    number: int | None = None
    data: dict[str, Any] = Field(default_factory=dict)
    created_at: datetime


class UpdateList(Document):
    """Some updates of a seed-encoded vector, and the newest version of theta."""

    updates: tuple[Update, ...]
    latest: int
    pending: bool = Field(
        default=False, description="Nobody evaluates now, and what was told last may make one more update in a moment."
    )


class SuggesterEntry(Document):
    """A suggester of the catalogue. `options` is the JSON Schema of its options."""

    name: str
    summary: str
    reference: str
    honours: Honours
    inline: bool
    options: dict[str, Any]


class SuggesterList(Document):
    """The catalogue."""

    suggesters: tuple[SuggesterEntry, ...]


class Key(Document):
    """An API key; the secret is shown once, when it is made."""

    id: str
    project: str
    label: str
    role: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    secret: str | None = None

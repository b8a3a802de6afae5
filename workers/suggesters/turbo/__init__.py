"""Trust-region Bayesian optimisation: for 20 to some hundred dimensions, thousands of trials, and large batches.

TuRBO-1 (Eriksson et al. 2019) with SCBO's treatment of constraints (Eriksson, Poloczek 2021), written from the papers: one box around
the best point, a local Gaussian process, Thompson sampling over candidates that differ from the centre in some twenty coordinates.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester

MOST_DIMENSIONS = 2000


class TurboOptions(Document):
    """What the trust region can be told."""

    initial_trials: int | None = Field(
        default=None,
        ge=2,
        le=1000,
        description="Quasi-random trials at the start of each region; min(2d, 100) if absent.",
    )
    length: float = Field(default=0.8, gt=0, le=1.6, description="First side of the box, as a share of each range.")
    success_tolerance: int = Field(default=3, ge=1, le=100, description="Successes in a row that double the box.")
    failure_tolerance: int | None = Field(
        default=None, ge=1, le=10_000, description="Failures in a row that halve the box; max(4, d) if absent."
    )
    target_transform: Literal["auto", "standard", "copula"] = Field(
        default="auto",
        description="`copula` replaces values by normal scores of their ranks; `auto` does under constraints.",
    )


def _refuse(spec: StudySpec, _: TurboOptions) -> list[FieldError]:
    d = sum(getattr(p, "length", 1) for p in spec.parameters)
    message = f"turbo serves up to {MOST_DIMENSIONS} coordinates, not {d}"
    return [FieldError("/parameters", message)] if d > MOST_DIMENSIONS else []


def _create(problem: Problem, options: TurboOptions, blob: Blob | None) -> Suggester:
    from .suggester import Turbo

    return Turbo(problem, options, blob)


SPEC = Spec(
    name="turbo",
    summary="Trust-region Bayesian optimisation: for many dimensions, thousands of trials and large batches.",
    reference="Eriksson et al. 2019, Scalable Global Optimization via Local Bayesian Optimization; Eriksson, Poloczek 2021",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=TurboOptions,
    create=_create,
    refuse=_refuse,
    resources=Resources(timeout_seconds=120.0),
)

"""Random decompositions with an upper confidence bound: for 20 to some hundred dimensions and few trials, without known structure.

Ziomek, Bou-Ammar 2023 (RDUCB). A new random forest over the coordinates for each trial, an additive Gaussian process over it, and the
exact minimum of its confidence bound on a grid that is zoomed into.
"""

from __future__ import annotations

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester

MOST_DIMENSIONS = 500


class RducbOptions(Document):
    """What random decompositions can be told."""

    initial_trials: int = Field(default=10, ge=2, le=1000, description="Quasi-random trials at first.")
    edges: float = Field(default=0.2, gt=0, le=1, description="Edges of a forest, as a share of the dimensions.")
    grid: int = Field(
        default=150, ge=4, le=10_000, description="Grid values of a continuous coordinate, before polishing."
    )
    beta: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Weight of the deviation; half the logarithm of twice the step if absent.",
    )
    dual_step: float = Field(default=1.0, gt=0, le=100, description="Step of the multipliers under constraints.")


def _refuse(spec: StudySpec, _: RducbOptions) -> list[FieldError]:
    d = sum(getattr(p, "length", 1) for p in spec.parameters)
    message = f"rducb serves up to {MOST_DIMENSIONS} coordinates, not {d}"
    return [FieldError("/parameters", message)] if d > MOST_DIMENSIONS else []


def _create(problem: Problem, options: RducbOptions, blob: Blob | None) -> Suggester:
    from .suggester import Rducb

    return Rducb(problem, options, blob)


SPEC = Spec(
    name="rducb",
    summary="Random tree decompositions and a confidence bound: many dimensions, few trials, no known structure.",
    reference="Ziomek, Bou-Ammar 2023, Are Random Decompositions all we need in High Dimensional Bayesian Optimisation?",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=RducbOptions,
    create=_create,
    refuse=_refuse,
    resources=Resources(timeout_seconds=120.0),
)

"""CONFIG: constrained Bayesian optimisation by lower confidence bounds, with a verdict where nothing seems feasible."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester

MOST_DIMENSIONS = 500


class ConfigOptions(Document):
    """What the method can be told."""

    beta: float = Field(default=3.0, gt=0, le=100, description="How many deviations below the mean the bounds lie.")
    initial_trials: int | None = Field(
        default=None, ge=1, le=1000, description="Quasi-random trials at first; by dimension and budget if absent."
    )
    kernel: Literal["matern52", "matern32", "rbf"] = Field(default="matern52", description="Shape of the kernel.")


def _refuse(spec: StudySpec, _: ConfigOptions) -> list[FieldError]:
    d = sum(getattr(p, "length", 1) for p in spec.parameters)
    message = f"config serves up to {MOST_DIMENSIONS} coordinates, not {d}"
    return [FieldError("/parameters", message)] if d > MOST_DIMENSIONS else []


def _create(problem: Problem, options: ConfigOptions, blob: Blob | None) -> Suggester:
    from .suggester import Config

    return Config(problem, options, blob)


SPEC = Spec(
    name="config",
    summary="Constrained Bayesian optimisation by optimistic bounds; says when nothing seems feasible.",
    reference="Xu, Jiang, Svetozarevic, Jones 2023, Constrained Efficient Global Optimization of Expensive Black-box Functions",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=ConfigOptions,
    create=_create,
    refuse=_refuse,
    resources=Resources(timeout_seconds=120.0),
)

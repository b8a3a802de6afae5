"""ε-shotgun: batches by exploiting the model's minimum, then scattering around it as wide as its slope asks for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester

MOST_DIMENSIONS = 500


class ShotgunOptions(Document):
    """What the method can be told."""

    batch: int = Field(default=10, ge=2, le=50, description="Points of a batch: the centre and those scattered.")
    epsilon: float = Field(default=0.1, ge=0, le=1, description="Probability of exploring instead of exploiting.")
    variant: Literal["pf", "rs"] = Field(
        default="pf", description="How it explores: a member of the front of low mean and large spread, or uniformly."
    )
    explore: Literal["centre", "points"] = Field(
        default="centre", description="What exploring replaces: a batch's centre, or each scattered point on its own."
    )
    isotropic: bool = Field(
        default=False, description="One lengthscale, plain likelihood and no learned noise, as its authors ran it."
    )
    radius_scale: float = Field(default=1.0, gt=0, le=100, description="Factor of the scatter's radius.")
    initial_trials: int | None = Field(
        default=None, ge=2, le=1000, description="Quasi-random trials at first; max(5, 2d) up to 40 if absent."
    )


def _refuse(spec: StudySpec, _: ShotgunOptions) -> list[FieldError]:
    d = sum(getattr(p, "length", 1) for p in spec.parameters)
    message = f"eshotgun serves up to {MOST_DIMENSIONS} coordinates, not {d}"
    return [FieldError("/parameters", message)] if d > MOST_DIMENSIONS else []


def _create(problem: Problem, options: ShotgunOptions, blob: Blob | None) -> Suggester:
    from .suggester import Shotgun

    return Shotgun(problem, options, blob)


SPEC = Spec(
    name="eshotgun",
    summary="Batches of 2 to 50 from one fit: the model's minimum, and points scattered as wide as its slope asks for.",
    reference="De Ath, Everson, Fieldsend, Rahat 2020, ε-shotgun: ε-greedy Batch Bayesian Optimisation",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=ShotgunOptions,
    create=_create,
    refuse=_refuse,
    resources=Resources(timeout_seconds=120.0),
)

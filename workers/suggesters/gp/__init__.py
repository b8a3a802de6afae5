"""Bayesian optimisation with a Gaussian process: the method of choice while evaluations are dear.

Log expected improvement (Ament et al. 2023) over an exact Gaussian process with dimension-scaled priors (Hvarfner, Hellsten,
Nardi 2024): mixed spaces, measured constraints, places where the black box cannot be evaluated, pending trials, noise told or
learned; up to four objectives by exact expected hypervolume improvement (Emmerich 2006), more by random Chebyshev weights
(Knowles 2006).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester

MOST_DIMENSIONS = 2000


class GpOptions(Document):
    """What the Gaussian process can be told."""

    initial_trials: int | None = Field(
        default=None, ge=1, le=1000, description="Quasi-random trials at first; by dimension and budget if absent."
    )
    kernel: Literal["matern52", "matern32", "rbf"] = Field(default="matern52", description="Shape of the kernel.")
    priors: Literal["auto", "strong", "weak"] = Field(
        default="auto",
        description="On lengthscales: `strong` grow with the dimension, `weak` pull gently towards 1; `auto` is strong.",
    )
    acquisition: Literal["auto", "log_ei", "log_nei", "ucb"] = Field(
        default="auto",
        description="Expected improvement, its noisy form, or an upper confidence bound; `auto` goes by declared or told noise.",
    )
    input_warping: Literal["auto", "on", "off"] = Field(
        default="auto", description="Kumaraswamy warping of inputs; `auto` where it explains the values clearly better."
    )
    target_transform: Literal["auto", "standard", "power"] = Field(
        default="auto", description="Power transform of the values; `auto` where it explains them better."
    )
    solver: Literal["auto", "exact", "sdd"] = Field(
        default="auto",
        description="For more than 2000 trials: `auto` models the best and the newest 2000, `exact` all of them up to 8000 by one "
        "factor, `sdd` all of them by stochastic dual descent.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto",
        description="Where `exact` and `sdd` compute large histories; `auto` is the accelerator of a worker that has one.",
    )


def _refuse(spec: StudySpec, options: GpOptions) -> list[FieldError]:
    from workers.models.sequence_codec import too_long

    d = sum(getattr(p, "length", 1) for p in spec.parameters)
    problems = [FieldError(f"/parameters/{place}", f"gp: {message}") for place, message in too_long(spec)]
    if d > MOST_DIMENSIONS:
        problems.append(FieldError("/parameters", f"gp serves up to {MOST_DIMENSIONS} coordinates, not {d}"))
    if options.solver != "auto" and (len(spec.objectives) > 1 or spec.constraints):
        message = f"{options.solver} serves one objective without constraints"
        problems.append(FieldError("/suggester/options/solver", message))
    return problems


def _create(problem: Problem, options: GpOptions, blob: Blob | None) -> Suggester:
    from .suggester import GaussianProcessSearch

    return GaussianProcessSearch(problem, options, blob)


SPEC = Spec(
    name="gp",
    summary="Bayesian optimisation: a Gaussian process and log expected improvement, for mixed spaces with constraints.",
    reference="Ament et al. 2023, Unexpected Improvements to Expected Improvement; Hvarfner, Hellsten, Nardi 2024",
    honours=Honours(types=ENUMERABLE | {"vector", "tokens", "permutation"}, max_objectives=10, examples=True),
    options=GpOptions,
    create=_create,
    refuse=_refuse,
    resources=Resources(gpus=0.0, timeout_seconds=300.0),
)

"""CMA-ES: adapts a normal distribution to the landscape, generation by generation; for hundreds of trials and more.

Hansen, Ostermeier 2001; Hansen 2016, "The CMA Evolution Strategy: A Tutorial". The update is pycma's; sampling, restarts, surrogate,
ledger and state are ours: row k of generation t is a pure function of (study seed, run, t, k) and the distribution.
"""

from __future__ import annotations

import math
import warnings
from typing import Literal

from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester

from .cube import Cube

MOST_MODELLED = 20
MODELLED = 100
MOST_COORDINATES = 2000


class CmaesOptions(Document):
    """What CMA-ES can be told."""

    popsize: int | None = Field(
        default=None, ge=4, le=10_000,
        description="Trials a generation; if absent 4 + 3 ln n, or as many as run at one time, twice that under noise.",
    )  # fmt: skip
    sigma0: float = Field(default=0.3, ge=1e-6, le=1, description="First step size, as a share of each range.")
    restarts: Literal["bipop", "ipop", "none"] = Field(
        default="bipop",
        description="When a run is over: bipop alternates growing populations and short local runs; ipop only grows.",
    )
    diagonal: bool = Field(default=False, description="Learn scales only, no correlations: for many dimensions.")
    surrogate: Literal["auto", "lq", "none"] = Field(
        default="auto",
        description="lq: tell apart the rows of a generation by a quadratic model, and evaluate only what it needs. "
        "auto: where it pays, up to 20 numbers without noise, constraints or choices, in the first 100 n outcomes of the first run.",
    )
    constraints: Literal["lexicographic", "auglag"] = Field(
        default="lexicographic",
        description="lexicographic: feasible trials first, others by how much they break; auglag: an augmented Lagrangian.",
    )
    warm_start: bool = Field(
        default=True, description="Start at the best of the trials told before, as wide as the good ones are spread."
    )


def _modelled(spec: StudySpec, options: CmaesOptions) -> float:
    """How many outcomes a surrogate chooses."""
    if options.surrogate != "auto":
        return math.inf if options.surrogate == "lq" else 0.0
    cube = Cube(spec.space)
    plain = not (spec.is_noisy or spec.constraints or options.diagonal or cube.has_choices)
    return MODELLED * cube.size if plain and not spec.space.is_finite and cube.size <= MOST_MODELLED else 0.0


def _refuse(spec: StudySpec, options: CmaesOptions) -> list[FieldError]:
    cube = Cube(spec.space)
    if cube.size < 2:
        return [FieldError("/parameters", "cmaes needs at least two coordinates; use gp or sobol")]
    if cube.size > MOST_COORDINATES:
        return [FieldError("/parameters", f"cmaes serves up to {MOST_COORDINATES} coordinates, not {cube.size}")]
    if options.surrogate == "lq" and (cube.has_choices or spec.space.is_finite):
        message = "surrogate lq models numbers; it needs one without steps, and no choices"
        return [FieldError("/suggester/options/surrogate", message)]
    if options.surrogate == "lq" and options.constraints == "auglag":
        return [FieldError("/suggester/options/surrogate", "surrogate lq does not go with constraints auglag")]
    return []


def _create(problem: Problem, options: CmaesOptions, blob: Blob | None) -> Suggester:
    from .suggester import CmaEs

    warnings.filterwarnings("ignore", module="cma")
    return CmaEs(problem, options, blob, modelled=_modelled(problem.spec, options))


SPEC = Spec(
    name="cmaes",
    summary="CMA-ES with restarts and a quadratic surrogate: ill-conditioned and rugged landscapes.",
    reference="Hansen 2016, The CMA Evolution Strategy: A Tutorial; Hansen 2019 (lq); Hansen 2009 (BIPOP); pycma",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=CmaesOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

"""Nelder and Mead's simplex with adaptive coefficients: few dimensions, no noise, no derivatives.

Nelder, Mead 1965; Gao, Han 2012. The simplex stands in `workers.models.nelder_mead`, searches and trials meet in
`workers.models.local_runs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.study import StudySpec
from services.domain.suggester import NUMERIC, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion

if TYPE_CHECKING:
    from workers.models.local_runs import LocalRuns

MOST_COORDINATES = 100


class NelderMeadOptions(Document):
    """What the simplex search can be told."""

    initial_simplex: float = Field(default=0.2, ge=1e-6, le=0.5, description="First edges, as a share of each range.")
    min_simplex: float = Field(
        default=1e-6, ge=1e-12, le=0.1, description="A simplex this small has converged: a new search starts elsewhere."
    )
    adaptive: bool = Field(default=True, description="Coefficients of Gao and Han for n dimensions; else 2, 1/2, 1/2.")
    chains: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Searches side by side, each from a place of its own: the next one begins when all before it wait for trials.",
    )


class NelderMead:
    """The searches with their trials."""

    def __init__(self, problem: Problem, options: NelderMeadOptions) -> None:
        from workers.models.local_runs import LocalRuns
        from workers.models.nelder_mead import nelder_mead

        edge, final = options.initial_simplex, min(options.min_simplex, options.initial_simplex / 2)
        self._runs: LocalRuns = LocalRuns(
            problem,
            "nelder-mead",
            lambda start: nelder_mead(start, edge, final, adaptive=options.adaptive),
            options.chains,
        )

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        return self._runs.suggest(history, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None


def _refuse(spec: StudySpec, _: NelderMeadOptions) -> list[FieldError]:
    size = Codec(spec.space).dimensions
    if size <= MOST_COORDINATES:
        return []
    return [
        FieldError("/parameters", f"nelder-mead serves up to {MOST_COORDINATES} coordinates, not {size}; use cmaes")
    ]


def _create(problem: Problem, options: NelderMeadOptions, _: Blob | None) -> Suggester:
    return NelderMead(problem, options)


SPEC = Spec(
    name="nelder-mead",
    summary="Nelder-Mead simplex with adaptive coefficients and restarts: up to some ten numbers, without noise.",
    reference="Nelder, Mead 1965; Gao, Han 2012",
    honours=Honours(types=NUMERIC | {"vector"}, noise=False, examples=True),
    options=NelderMeadOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

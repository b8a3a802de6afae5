"""COBYLA: linear models of objective and constraints over a simplex, inside a trust region that shrinks.

Powell 1994. The search stands in `workers.models.cobyla` (without constraints) and `workers.models.constrained_cobyla`; searches and
trials meet in `workers.models.local_runs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.study import StudySpec
from services.domain.suggester import NUMERIC, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion

if TYPE_CHECKING:
    from workers.models.constrained_cobyla import Measured
    from workers.models.local_runs import LocalRuns, Outcome, Search

Array = NDArray[np.float64]
MOST_COORDINATES = 200
LARGEST_VALUE, LARGEST_VIOLATION, EDGE = 1e200, 1e90, 1e-9


class CobylaOptions(Document):
    """What COBYLA can be told."""

    initial_radius: float = Field(
        default=0.3, ge=1e-6, le=0.5, description="First trust region, as a share of each range."
    )
    final_radius: float = Field(
        default=1e-6,
        ge=1e-12,
        le=0.1,
        description="At this trust region it has converged: a new search starts elsewhere.",
    )
    chains: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Searches side by side: the next one begins when all before it wait for trials.",
    )


class Cobyla:
    """The searches with their trials."""

    def __init__(self, problem: Problem, options: CobylaOptions) -> None:
        from workers.models.local_runs import LocalRuns

        self._problem = problem
        bounds = sum((c.max is not None) + (c.min is not None) for c in problem.spec.constraints)
        self._constraints = bounds + len(problem.space.expressions)
        self._radius, self._final = options.initial_radius, min(options.final_radius, options.initial_radius / 2)
        self._runs: LocalRuns = LocalRuns(problem, "cobyla", self._begin, options.chains)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        return self._runs.suggest(history, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _begin(self, start: Array) -> Search:
        from workers.models.cobyla import cobyla
        from workers.models.constrained_cobyla import constrained_cobyla

        scale, lower, upper = _Scale(len(self._problem.space.expressions)), np.zeros(len(start)), np.ones(len(start))
        if not len(start):
            return _once(start)
        if not self._constraints:
            free = cobyla(start, self._radius, self._final, lower, upper)
            return _told(free, scale.value, "a linear model")
        bounded = constrained_cobyla(start, self._radius, self._final, lower, upper, self._constraints)
        return _told(bounded, lambda outcome: scale.measured(outcome, self._constraints), "linear models")


def _once(start: Array) -> Search:
    from workers.models.local_runs import Wish

    yield Wish((start,), note="the only point")


def _told(asks: Generator[Array, Any, None], read: Callable[[Outcome], Any], note: str) -> Search:
    """A search whose points come one by one, sent each outcome as it reads it."""
    from workers.models.local_runs import Wish

    value: Any = None
    while True:
        try:
            with np.errstate(all="ignore"):
                point = asks.send(value)
        except StopIteration:
            return
        outcomes = yield Wish((point.copy(),), note=note)
        value = read(outcomes[0])


class _Scale:
    """Values for outcomes that have none: worse than all that this search has seen."""

    def __init__(self, expressions: int) -> None:
        self._lowest, self._highest = math.inf, -math.inf
        self._widest = np.zeros(expressions)

    def value(self, outcome: Outcome) -> float:
        """The objective; for what could not be measured the worst so far, and their spread on top."""
        from workers.models.local_runs import FEASIBLE, PRUNED, VIOLATED

        seen = self._highest > -math.inf
        if outcome.kind in (FEASIBLE, VIOLATED, PRUNED):
            value = min(max(outcome.value, -LARGEST_VALUE), LARGEST_VALUE)
            if outcome.kind == PRUNED and seen:
                return max(value, self._highest)
            self._lowest, self._highest = min(self._lowest, value), max(self._highest, value)
            return value
        return self._highest + (self._highest - self._lowest) if seen else 0.0

    def measured(self, outcome: Outcome, constraints: int) -> Measured:
        """The same with constraints; what a forbidden point's trial would have told is left to the models."""
        from workers.models.constrained_cobyla import Measured
        from workers.models.local_runs import FEASIBLE, FORBIDDEN, VIOLATED

        violations = np.array(outcome.violations or (math.nan,) * constraints)
        violations = np.clip(violations, -LARGEST_VIOLATION, LARGEST_VIOLATION)
        value = math.nan if outcome.kind == FORBIDDEN else self.value(outcome)
        if len(self._widest) and outcome.violations:
            # A step onto the edge of what is allowed may be outside by a rounding: the models see the edge a little earlier.
            margins = violations[-len(self._widest) :]
            self._widest = np.maximum(self._widest, np.abs(margins))
            margins += EDGE * self._widest
        return Measured(value, violations, allowed=outcome.kind in (FEASIBLE, VIOLATED))


def _refuse(spec: StudySpec, _: CobylaOptions) -> list[FieldError]:
    size = Codec(spec.space).dimensions
    if size <= MOST_COORDINATES:
        return []
    return [FieldError("/parameters", f"cobyla serves up to {MOST_COORDINATES} coordinates, not {size}; use cmaes")]


def _create(problem: Problem, options: CobylaOptions, _: Blob | None) -> Suggester:
    return Cobyla(problem, options)


SPEC = Spec(
    name="cobyla",
    summary="COBYLA: linear models in a shrinking trust region; smooth problems with constraints and few trials.",
    reference="Powell 1994, A direct search optimization method that models the objective and constraint functions",
    honours=Honours(types=NUMERIC | {"vector"}, noise=False, examples=True),
    options=CobylaOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

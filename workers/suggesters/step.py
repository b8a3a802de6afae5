"""STEP: one coordinate after the other, searched over its whole range; for sums of one-dimensional functions, however rugged.

Langerman, Seront, Bersini 1994; Baudis, Posik 2015. The search along a line stands in `workers.models.line_search`; searches and
trials meet in `workers.models.local_runs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    from workers.models.local_runs import Outcome, Search

Array = NDArray[np.float64]
MOST_COORDINATES = 1000
LEAST_GAIN = 1e-3


class StepOptions(Document):
    """What STEP can be told."""

    patience: int = Field(
        default=3, ge=1, le=1000, description="Coordinates in a row that bring next to nothing: the search is over."
    )
    sweeps: int = Field(
        default=1, ge=1, le=1000, description="How often a search goes over all coordinates; then it is over too."
    )
    chains: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Searches side by side: the next one begins when all before it wait for trials.",
    )


class Step:
    """Sweeps over the coordinates, from the best point that others told."""

    def __init__(self, problem: Problem, options: StepOptions) -> None:
        from workers.models.local_runs import LocalRuns

        self._patience, self._sweeps = options.patience, options.sweeps
        self._runs: LocalRuns = LocalRuns(problem, "step", self._begin, options.chains)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        return self._runs.suggest(history, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _begin(self, start: Array) -> Search:
        return sweeps(start, self._patience, self._sweeps)


def sweeps(start: Array, patience: int, count: int) -> Search:
    """Search each coordinate in turn, until several in a row brought next to nothing beside the largest gain so far.

    Args:
        start: (n,) point of the unit cube.
        patience: how many in a row; n at the most.
        count: how often to go over all at the most.
    """
    from workers.models.line_search import search
    from workers.models.local_runs import Wish

    scale = _Scale()
    best = start.copy()
    value = scale.read((yield Wish((best.copy(),), note="the start")))
    idle, most = 0, 0.0
    for step in range(count * len(start)):
        if idle == min(patience, len(start)):
            return
        j = step % len(start)
        asks = search(float(best[j]), value)
        place = next(asks)
        while True:
            point = best.copy()
            point[j] = place
            told = scale.read((yield Wish((point,), note=f"along coordinate {j + 1} of {len(start)}")))
            try:
                place = asks.send(told)
            except StopIteration as end:
                place, least = end.value
                break
        most = max(most, value - least)
        idle = 0 if value - least > LEAST_GAIN * most else idle + 1
        best[j], value = place, least


class _Scale:
    """Values for outcomes that have none: worse than all that this search has seen."""

    def __init__(self) -> None:
        self._worst = -math.inf

    def read(self, outcomes: Sequence[Outcome]) -> float:
        """The objective where a point is allowed and was measured."""
        from workers.models.local_runs import FEASIBLE, PRUNED

        (outcome,) = outcomes
        if outcome.kind == FEASIBLE:
            self._worst = max(self._worst, outcome.value)
            return outcome.value
        value = outcome.value if outcome.kind == PRUNED else 0.0
        return max(value, self._worst + abs(self._worst)) if self._worst > -math.inf else value


def _refuse(spec: StudySpec, _: StepOptions) -> list[FieldError]:
    size = Codec(spec.space).dimensions
    if size <= MOST_COORDINATES:
        return []
    return [FieldError("/parameters", f"step serves up to {MOST_COORDINATES} coordinates, not {size}; use cmaes")]


def _create(problem: Problem, options: StepOptions, _: Blob | None) -> Suggester:
    return Step(problem, options)


SPEC = Spec(
    name="step",
    summary="STEP: one coordinate after the other over its whole range; rugged sums of one-dimensional functions.",
    reference="Langerman, Seront, Bersini 1994, S.T.E.P.: The easiest way to optimize a function; Baudis, Posik 2015",
    honours=Honours(types=NUMERIC | {"vector"}, noise=False, examples=True),
    options=StepOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

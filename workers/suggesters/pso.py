"""Particle swarm: each member flies on, drawn to the best place it has seen and to the best that anyone has.

Kennedy, Eberhart 1995; the constants are those of Clerc, Kennedy 2002. Steady state: a particle moves when its turn comes, from its
newest outcome. What it flew is read from its trial and the one before, so no velocity is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester
from workers.models.positions import Places, reflected
from workers.models.steady_state import Move, SteadyState, usual_rows

Array = NDArray[np.float64]
MOST_ROWS = 40


class PsoOptions(Document):
    """What the swarm can be told."""

    popsize: int | None = Field(
        default=None, ge=2, le=10_000,
        description="Particles, a third of limits.max_trials at most; 10 + 2 n, from 20 to 40, if absent.",
    )  # fmt: skip
    inertia: float = Field(default=0.7298, ge=0, lt=1, description="Share of its velocity that a particle keeps.")
    own: float = Field(
        default=1.496, ge=0, le=4, description="Pull to the best place that the particle itself has seen."
    )
    shared: float = Field(default=1.496, ge=0, le=4, description="Pull to the best place that any particle has seen.")


class ParticleSwarm(SteadyState):
    """The swarm with one best place for all, and walls that reflect."""

    name = "pso"

    def __init__(self, problem: Problem, options: PsoOptions, blob: Blob | None) -> None:
        self._options = options
        super().__init__(problem, options.popsize or usual_rows(problem, MOST_ROWS), blob)

    def move(self, history: History, row: int, rng: np.random.Generator) -> Move | None:
        """Where the row's particle flies; a particle without an outcome, or at rest, is drawn."""
        if self.now[row] is None:
            return None
        leader = self.best[self.by_merit(history)[0]]
        x = self.place(history, self.now[row])
        raw = flown(
            x,
            self.velocity(history, row),
            self.place(history, self.best[row]),
            self.place(history, leader),
            rng.random((2, len(x))),
            self._options,
        )
        if np.array_equal(raw, x):  # at rest in the best place: looking elsewhere tells more than looking again
            return None
        return reflected(raw), {"parent": self.now[row]} | bounces(raw)

    def velocity(self, history: History, row: int) -> Array:
        """(n,) what the particle flew last, turned round where it met a wall; 0 where it was put."""
        trial = self.trial(history, self.now[row])
        x = self.place(history, trial.number)
        if trial.origin.get("method") != self.name or "parent" not in trial.origin:
            return np.zeros(len(x))
        return turned(x, self.place(history, trial.origin["parent"]), trial.origin)

    def end_round(self, history: History) -> None:
        """Begin anew where nothing differs any more."""
        if self.has_collapsed(history):
            self.begin_anew(history)


def flown(x: Array, velocity: Array, own: Array, shared: Array, draws: Array, options: PsoOptions) -> Array:
    """(n,) the next place before walls: x + w v + c1 r1 (own - x) + c2 r2 (shared - x), a step of the cube's width at most."""
    pull = options.own * draws[0] * (own - x) + options.shared * draws[1] * (shared - x)
    return np.asarray(x + np.clip(options.inertia * velocity + pull, -1.0, 1.0))


def bounces(raw: Array) -> dict[str, Any]:
    """Columns in which a place lies below or above the cube; only those that there are."""
    met = {"low": np.flatnonzero(raw < 0.0).tolist(), "high": np.flatnonzero(raw > 1.0).tolist()}
    return {side: columns for side, columns in met.items() if columns}


def turned(x: Array, parent: Array, bounced: Mapping[str, Any]) -> Array:
    """(n,) the velocity after a flight from `parent` to x: what was flown, with the opposite sign where it ended beyond a wall."""
    found = x - parent
    low, high = list(bounced.get("low", ())), list(bounced.get("high", ()))
    found[low] = x[low] + parent[low]  # flew to -x
    found[high] = parent[high] + x[high] - 2.0  # flew to 2 - x
    return np.asarray(found)


def _refuse(spec: StudySpec, _: PsoOptions) -> list[FieldError]:
    size = Places(spec.space).size
    return [FieldError("/parameters", f"pso serves up to 10000 coordinates, not {size}")] if size > 10_000 else []


def _create(problem: Problem, options: PsoOptions, blob: Blob | None) -> Suggester:
    return ParticleSwarm(problem, options, blob)


SPEC = Spec(
    name="pso",
    summary="Particle swarm: multimodal functions of real numbers, many workers, budgets of thousands.",
    reference="Kennedy, Eberhart 1995, Particle Swarm Optimization; Clerc, Kennedy 2002",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=PsoOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

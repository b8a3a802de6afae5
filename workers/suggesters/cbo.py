"""Consensus-based optimisation: particles drift to their weighted mean and scatter as widely as they are far from it.

Pinnau, Totzeck, Tse, Martin 2017, "A consensus-based model for global optimization and its mean-field limit"; defaults after CBXpy.
Steady state: when a particle's turn comes, the consensus is that of everyone's newest outcome, and only this particle moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester
from services.domain.trial import TrialState
from workers.models.consensus import STEEPEST, effective, mean, stepped, weights
from workers.models.generations import ranks
from workers.models.positions import Places, reflected
from workers.models.scores import just_behind
from workers.models.steady_state import Move, SteadyState

Array = NDArray[np.float64]
FEWEST = 20
MOST = 1000
SCATTER = 0.1
SMALL_MOVE = 1e-4
PATIENCE = 5


class CboOptions(Document):
    """What consensus-based optimisation can be told."""

    popsize: int | None = Field(
        default=None,
        ge=2,
        le=10_000,
        description="Particles, a third of limits.max_trials at most; max_running, from 20 to 1000, if absent.",
    )
    drift: float = Field(default=1.0, ge=0, le=100, description="lambda: pull to the consensus.")
    noise: float = Field(
        default=5.1, ge=0, le=100, description="sigma: scatter, times the distance from it. Below 1.4 the theory holds."
    )
    dt: float = Field(default=0.01, ge=1e-6, le=1, description="Length of a step.")
    isotropic: bool = Field(default=False, description="The same scatter in every direction, not by coordinate.")
    weight: Literal["factor", "effective"] = Field(
        default="factor", description="alpha grows by a factor each round, or weighs a share of the particles as one."
    )
    alpha: float = Field(
        default=30.0, gt=0, le=STEEPEST, description="Weight of values at first, in their quartile range."
    )
    factor: float = Field(default=1.05, ge=1, le=10, description="By which alpha grows each round, to 100000 at most.")
    effective_share: float = Field(default=0.5, gt=0, lt=1, description="eta: the share of particles, for effective.")
    memory: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="Pull of each particle to its own best place; the consensus is of these.",
    )
    renoise: bool = Field(
        default=False, description="Scatter everyone a little where a round moved or improved nothing."
    )
    polar: float | None = Field(
        default=None, ge=1e-6, le=100, description="Several minima: each particle listens to those about this near."
    )
    batch: int | None = Field(
        default=None, ge=1, le=10_000, description="Particles drawn for each consensus; all if absent."
    )


class Consensus(SteadyState):
    """Particles whose newest outcomes say where everybody drifts."""

    name = "cbo"
    repeats = False  # the consensus averages

    def __init__(self, problem: Problem, options: CboOptions, blob: Blob | None) -> None:
        self._options = options
        self._scale: float | None = None  # of the values, from the first round on
        self._is_scattered = False
        self._stale = 0
        self._leader: int | None = None
        self._begun = 0  # rounds when the population was begun, or begun anew
        self._before: list[int | None] = []
        self._latest: tuple[tuple[int, int], tuple[Array, Array, float]] | None = None
        super().__init__(problem, options.popsize or _usual(problem), blob)
        self._read: list[int | None] = [None] * self.size  # by row, the trial whose place and value stand here
        self._at, self._told = np.zeros((self.size, self.places.size)), np.zeros(self.size)
        self._is_pruned = np.zeros(self.size, dtype=bool)

    def move(self, history: History, row: int, rng: np.random.Generator) -> Move | None:
        """A step towards the consensus; a particle without an outcome starts among the others."""
        at, values, alpha = self._heard(history)
        is_first = self.now[row] is None and self.rounds == self._begun
        if len(values) < 2 or is_first:
            return None
        if self._options.batch is not None and self._options.batch < len(values):
            some = np.sort(rng.permutation(np.flatnonzero(np.isfinite(values)))[: self._options.batch])
            at, values = at[some], values[some]
        if self.now[row] is None:
            centre = mean(at, weights(values, alpha))
            return reflected(centre + at.std(axis=0) * rng.standard_normal(self.places.size)), {}
        x = self.place(history, self.now[row])
        consensus = mean(at, weights(values, alpha, self._far(x, at)))
        return reflected(self._stepped(history, row, x, consensus, rng)), {}

    def _far(self, x: Array, at: Array) -> Array | None:
        """(N,) what distance from x takes off a particle's weight, where there may be several minima."""
        width = self._options.polar
        return None if width is None else np.asarray(((at - x) ** 2).sum(axis=1) / (2 * width**2))

    def _stepped(self, history: History, row: int, x: Array, consensus: Array, rng: np.random.Generator) -> Array:
        options = self._options
        normals = rng.standard_normal((3, len(x)))
        x = stepped(x, consensus, options.drift, options.noise, normals[0], options.dt, options.isotropic)
        if options.memory is not None:
            own, noise = self.place(history, self.best[row]), options.memory * options.noise
            x = stepped(x, own, options.memory, noise, normals[1], options.dt, options.isotropic)
        return x + SCATTER * np.sqrt(options.dt) * normals[2] if self._is_scattered else x

    def _heard(self, history: History) -> tuple[Array, Array, float]:
        """(N, n) places that make the consensus, (N,) their values, and alpha; the same until an outcome comes."""
        if self._latest is None or self._latest[0] != (self.told, self._seen):
            rows = self._read_rows(history)
            values = self._values(history, rows)
            self._latest = (self.told, self._seen), (self._at[rows], values, self._alpha(values) if len(rows) else 0.0)
        return self._latest[1]

    def _read_rows(self, history: History) -> NDArray[np.int64]:
        """(N,) rows that make the consensus, after reading the trials that are new in it."""
        numbers = self.now if self._options.memory is None else self.best
        for row, (number, before) in enumerate(zip(numbers, self._read, strict=True)):
            if number != before and number is not None:
                trial = self.trial(history, number)
                self._at[row], self._told[row] = self.place(history, number), _value(history, trial)
                self._is_pruned[row] = trial.state is TrialState.PRUNED
        self._read = list(numbers)
        return np.array([row for row, number in enumerate(numbers) if number is not None], dtype=np.int64)

    def _values(self, history: History, rows: NDArray[np.int64]) -> Array:
        """(N,) values above the lowest in units of their scale, inf where a trial does not count; ranks where none is feasible."""
        found, pruned = self._told[rows], self._is_pruned[rows]
        counts = np.isfinite(found)
        if not counts.any():
            trials = [self.trial(history, self._read[row]) for row in rows]
            return np.array(ranks(history, trials)) / max(1, len(trials))
        if pruned.any():
            found[pruned] = np.maximum(found[pruned], just_behind(found[counts & ~pruned]))
        with np.errstate(over="ignore"):
            return np.asarray((found - found.min()) / (self._scale or _spread(found[counts])))

    def _alpha(self, values: Array) -> float:
        options = self._options
        if options.weight == "effective":
            return effective(values, options.effective_share)
        steps = max(0, self.rounds - self._begun - 1) * np.log(options.factor)
        return float(min(STEEPEST, np.exp(min(np.log(options.alpha) + steps, np.log(STEEPEST)))))

    def end_round(self, history: History) -> None:
        """Fix the unit of the values after the first round; see whether anything still moves or improves."""
        if self.has_collapsed(history):
            self.begin_anew(history)
            self._begun, self._before = self.rounds, []
        if self._scale is None:
            found = self._told[self._read_rows(history)]
            counts = np.isfinite(found)
            if counts.any() and found[counts].max() > found[counts].min():
                self._scale = _spread(found[counts])
        if not self._options.renoise:
            return
        leader = self.best[self.by_merit(history)[0]]
        self._stale = 0 if leader != self._leader else self._stale + 1
        pairs = [(a, b) for a, b in zip(self.now, self._before, strict=False) if a is not None and b is not None]
        moved = [self.place(history, a) - self.place(history, b) for a, b in pairs]
        is_still = bool(moved) and float(np.linalg.norm(moved)) / len(moved) < SMALL_MOVE
        self._is_scattered = is_still or self._stale >= PATIENCE
        self._stale = 0 if self._is_scattered else self._stale
        self._leader, self._before = leader, list(self.now)

    def document(self) -> Mapping[str, Any]:
        """The unit of values, and what a round is compared with."""
        return {
            "scale": self._scale, "is_scattered": self._is_scattered, "stale": self._stale, "leader": self._leader,
            "before": self._before, "begun": self._begun,
        }  # fmt: skip

    def load(self, document: Mapping[str, Any]) -> None:
        """Take them up."""
        self._scale, self._is_scattered, self._stale = document["scale"], document["is_scattered"], document["stale"]
        self._leader, self._before, self._begun = document["leader"], list(document["before"]), document["begun"]


def _value(history: History, trial: Observation) -> float:
    """A feasible trial's value, a pruned one's last; inf for the others."""
    objective = history.spec.objectives[0]
    if trial.state is TrialState.INFEASIBLE or objective.metric not in trial.metrics:
        return float("inf")
    if trial.state is TrialState.COMPLETED and max(history.violations(trial), default=0.0) > 0:
        return float("inf")
    value = trial.metrics[objective.metric]
    return value if objective.goal == "minimize" else -value


def _spread(values: Array) -> float:
    """Between the quartiles; 1 where they are equal."""
    low, high = np.quantile(values / 2, [0.25, 0.75])  # halves: the difference of the largest numbers is finite
    return min(float(high - low) * 2, 1e308) or 1.0


def _usual(problem: Problem) -> int:
    limits = problem.spec.limits
    size = min(max(FEWEST, limits.max_running or 0), MOST)
    return size if limits.max_trials is None else min(size, max(8, limits.max_trials // 10))


def _refuse(spec: StudySpec, _: CboOptions) -> list[FieldError]:
    size = Places(spec.space).size
    return [FieldError("/parameters", f"cbo serves up to 10000 coordinates, not {size}")] if size > 10_000 else []


def _create(problem: Problem, options: CboOptions, blob: Blob | None) -> Suggester:
    return Consensus(problem, options, blob)


SPEC = Spec(
    name="cbo",
    summary="Consensus-based optimisation: multimodal smooth-ish functions with 50 to 500 evaluations at a time.",
    reference="Pinnau, Totzeck, Tse, Martin 2017; Carrillo, Jin, Li, Zhu 2021; CBXpy",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=CboOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

"""A box around the best point that grows with success, shrinks with failure and starts anew when it has collapsed.

Eriksson et al. 2019, "Scalable Global Optimization via Local Bayesian Optimization" (TuRBO); Eriksson, Poloczek 2021, "Scalable
Constrained Bayesian Optimization" (SCBO). Outcomes come one by one and in any order here, so counters count single outcomes, and the
whole region is read from the outcomes in the order in which they were told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

MOVED = 20.0


@dataclass(frozen=True, slots=True)
class Rules:
    """When a region changes.

    Attributes:
        failures: so many in a row halve its side; successes: so many in a row double it.
        first, least, most: side lengths, in units of the cube; below `least` a new region starts.
        gain: the share of the best value by which a success must be better.
    """

    failures: int
    successes: int = 3
    first: float = 0.8
    least: float = 2.0**-7
    most: float = 1.6
    gain: float = 1e-3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a told trial means to a region.

    Attributes:
        number: of the trial.
        region: whose suggestion it was; None: of nobody's, and so data of the region that is open.
        counts: whether it was meant to improve (not an initial point, not somebody else's).
        violation: total of the constraints' violations, 0: feasible; None: nothing was measured.
        value: of the objective, to be minimised.
        is_barren: the black box could not be evaluated there.
    """

    number: int
    region: int | None
    counts: bool
    violation: float | None
    value: float = 0.0
    is_barren: bool = False


@dataclass
class TrustRegion:
    """The open region.

    Attributes:
        restart: how many regions were before; length: side of the box, before it is stretched by lengthscales.
        successes, failures: in a row.
        numbers: measured trials of this region, in the order in which their outcomes came; barren: its infeasible ones.
        best: (violation, value, number) of the best of them.
    """

    rules: Rules
    restart: int = 0
    length: float = 0.0
    successes: int = 0
    failures: int = 0
    numbers: list[int] = field(default_factory=list)
    barren: list[int] = field(default_factory=list)
    best: tuple[float, float, int] | None = None

    def __post_init__(self) -> None:
        self.length = self.rules.first

    def tell(self, outcome: Outcome) -> None:
        """Take in the next outcome; one of an earlier region comes too late."""
        if outcome.region is not None and outcome.region != self.restart:
            return
        improves = self._improves(outcome)
        if outcome.violation is not None:
            self.numbers.append(outcome.number)
            if self.best is None or (outcome.violation, outcome.value) < self.best[:2]:
                self.best = (outcome.violation, outcome.value, outcome.number)
        elif outcome.is_barren:
            self.barren.append(outcome.number)
        if outcome.counts:
            self._count(improves)

    def _improves(self, outcome: Outcome) -> bool:
        """Feasible before infeasible, then the smaller violation or value, by a margin."""
        if outcome.violation is None:
            return False
        if self.best is None:
            return True
        violation, value, _ = self.best
        if violation > 0:
            return outcome.violation < violation * (1.0 - self.rules.gain)
        return outcome.violation == 0 and outcome.value < value - self.rules.gain * abs(value)

    def _count(self, is_success: bool) -> None:
        rules = self.rules
        self.successes, self.failures = (self.successes + 1, 0) if is_success else (0, self.failures + 1)
        if self.successes >= rules.successes:
            self.length, self.successes = min(2.0 * self.length, rules.most), 0
        elif self.failures >= rules.failures:
            self.length, self.failures = self.length / 2.0, 0
        if self.length < rules.least:
            self.restart, self.length, self.successes, self.failures = self.restart + 1, rules.first, 0, 0
            self.numbers, self.barren, self.best = [], [], None


def box(centre: Array, length: float, lengthscales: Array, levels: Sequence[int | None]) -> tuple[Array, Array]:
    """(d,) lower and upper ends: longer where the function changes slowly, of the same volume, inside the cube.

    A discrete coordinate always reaches the levels next to the centre's, however small the box: else it would be frozen.
    """
    weights = lengthscales / lengthscales.mean()
    weights = weights / np.exp(np.log(weights).mean())
    half = 0.5 * length * weights
    cells = np.array([0.0 if n is None else 1.0 / n for n in levels])
    half = np.maximum(half, cells)
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def perturbed(
    centre: Array,
    lower: Array,
    upper: Array,
    unit: Array,
    rng: np.random.Generator,
    *,
    movable: Mask,
    categorical: Mask,
    free: Mask,
) -> Array:
    """(m, d) points of the box that differ from the centre in some twenty coordinates, in one at least.

    Args:
        centre, lower, upper: (d,).
        unit: (m, d) evenly spread points of the cube.
        movable: (d,) coordinates that can change; categorical: (d,) redrawn among all choices.
        free: (d,) drawn anew from everywhere whatever else happens: children that are inactive at the centre.
    """
    m, d = unit.shape
    columns = np.flatnonzero(movable)
    moved = (rng.random((m, d)) < min(1.0, MOVED / max(1, len(columns)))) & movable
    if len(columns):
        stuck = np.flatnonzero(~moved.any(1))
        moved[stuck, columns[rng.integers(0, len(columns), len(stuck))]] = True
    inside = np.where(categorical | free, unit, lower + unit * (upper - lower))
    return np.where(moved | free, inside, centre)

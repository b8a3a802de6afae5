"""Optimism under constraints: the most promising point that may be feasible, judged by lower confidence bounds.

With high probability every bound lies below its true function everywhere. Then a feasible problem always leaves a point whose bounds
keep the constraints, and where none is left the problem is infeasible.

Source: Xu, Jiang, Svetozarevic, Jones 2023, "Constrained Efficient Global Optimization of Expensive Black-box Functions" (CONFIG).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .gaussian_process import GaussianProcess

Array = NDArray[np.float64]

PENALTY = 100.0


class Bound(Protocol):
    """What has lower bounds."""

    def values(self, points: Array) -> Array:
        """(m,) lower bounds at (m, d) points."""
        ...

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d)."""
        ...


@dataclass(frozen=True)
class LowerBound:
    """Mean less `beta` deviations of the function (not of its noisy values), times `sign`, plus `shift`.

    Attributes:
        sign: -1 for the lower bound of the negated function.
    """

    process: GaussianProcess
    beta: float
    sign: float = 1.0
    shift: float = 0.0

    def values(self, points: Array) -> Array:
        """(m,) lower bounds at (m, d) points."""
        mean, std = self.process.predict(points)
        return np.asarray(self.sign * mean + self.shift - self.beta * std)

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d); zero along categorical columns."""
        mean, std, trace = self.process.traced(points)
        ones = np.ones(len(points))
        gradient = self.process.pull_back(trace, self.sign * ones, -self.beta * ones)
        return self.sign * mean + self.shift - self.beta * std, gradient


@dataclass(frozen=True)
class LeastViolation:
    """-max_i l_i(x): above 0 where every constraint may hold. Larger is better."""

    constraints: Sequence[Bound]

    def values(self, points: Array) -> Array:
        """(m,)."""
        return np.asarray(-np.max([c.values(points) for c in self.constraints], axis=0))

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d) of the constraint that binds."""
        found = [c.value_and_gradient(points) for c in self.constraints]
        values = np.array([value for value, _ in found])
        worst = values.argmax(0)
        gradients = np.array([gradient for _, gradient in found])
        every = np.arange(len(points))
        return -values[worst, every], -gradients[worst, every]


@dataclass(frozen=True)
class Optimistic:
    """-(l_0(x) + penalty Σ_i max(0, l_i(x))): its maximum is the smallest l_0 among points whose bounds keep the constraints.

    An exact penalty: above the multipliers of the problem, nothing outside beats what is inside.
    """

    objective: Bound
    constraints: Sequence[Bound]
    penalty: float = PENALTY

    def values(self, points: Array) -> Array:
        """(m,)."""
        total = self.objective.values(points)
        for c in self.constraints:
            total = total + self.penalty * np.maximum(c.values(points), 0.0)
        return np.asarray(-total)

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d)."""
        total, slope = self.objective.value_and_gradient(points)
        for c in self.constraints:
            value, gradient = c.value_and_gradient(points)
            over = value > 0
            total = total + self.penalty * np.where(over, value, 0.0)
            slope = slope + self.penalty * np.where(over[:, None], gradient, 0.0)
        return -total, -slope


def next_on_grid(objective: Array, constraints: Array) -> tuple[int, bool]:
    """The step of the method where every point can be listed.

    Args:
        objective: (m,) lower bounds l_0; constraints: (c, m) lower bounds l_i.

    Returns:
        The place of the next point, and whether any point may be feasible. Where none may be, the least violating one.
    """
    worst = constraints.max(0)
    if not (worst <= 0).any():
        return int(np.argmin(worst)), False
    return int(np.argmin(np.where(worst <= 0, objective, np.inf))), True

"""Recursive estimates: the gradient before, corrected by differences at the same directions and the same random numbers.

SPIDER on two-point estimates (GFM+: Chen, Xu, Luo 2023, "Faster Gradient-Free Algorithms for Nonsmooth Nonconvex Stochastic
Optimization"); SARAH with its restart (Nguyen et al. 2017; Shi et al. 2021); STORM (Cutkosky, Orabona 2019) with unit steps; SVRG
(Johnson, Zhang 2013; Liu et al. 2018, "Zeroth-Order Stochastic Variance Reduction for Nonconvex Optimization").
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["spider", "sarah", "storm", "svrg"]
RESTART = 1 / 32
MOMENTUM = 0.9


class Reduction:
    """Gradients from differences.

    Args:
        kind: spider: a large batch every `period` steps; sarah: the same, also once the estimate has become small; storm: every step
            is a difference, and the estimate before counts nine tenths; svrg: differences to the last large batch itself.
        directions: of a large batch.

    Attributes:
        before: (n,) the point that `v` belongs to; v: (n,) the estimate there.
        largest: length of the longest large estimate: in units of it estimates do not depend on the objective's unit.
    """

    def __init__(self, kind: Kind, size: int, directions: int, period: int) -> None:
        self._kind, self._large, self._period = kind, directions, period
        self.since, self.first, self.largest = 0, 0.0, 0.0
        self.v, self.before = np.zeros(size), np.zeros(size)

    @property
    def is_recursive(self) -> bool:
        """Whether the next estimate is a difference."""
        if self.since == 0:
            return False
        if self._kind == "storm":
            return True
        is_small = self._kind == "sarah" and float(self.v @ self.v) < RESTART * self.first
        return self.since < self._period and not is_small

    @property
    def directions(self) -> int:
        """Wanted in the next step."""
        if self._kind == "storm" or not self.is_recursive:
            return self._large
        return max(1, self._large // self._period)

    def estimate(self, x: Array, here: Array, there: Array | None) -> Array:
        """(n,) the estimate in units of the largest, at most one long (storm: one long).

        Args:
            x: where `here` is the gradient; `there`: at `before`, along the same directions; None starts anew.
        """
        if there is None:
            found, self.since = here, 0
            self.first = float(here @ here)
            self.largest = max(self.largest, float(np.linalg.norm(here)))
        else:
            share = MOMENTUM if self._kind == "storm" else 1.0
            found = here + share * (self.v - there)
        if there is None or self._kind != "svrg":
            self.v, self.before = found, x.copy()
        self.since += 1
        length = float(np.linalg.norm(found))
        if length == 0.0:
            return found
        return found / (length if self._kind == "storm" else max(self.largest, length))

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state."""
        scalars = {"since": self.since, "first": self.first, "largest": self.largest}
        return scalars, {"v": self.v, "before": self.before}

    def load(self, scalars: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Restore what `save` gave."""
        self.since, self.first, self.largest = scalars["since"], scalars["first"], scalars["largest"]
        self.v, self.before = arrays["v"], arrays["before"]

"""Recursive estimates: the gradient before, corrected by differences at the same directions and the same random numbers.

SPIDER on two-point estimates (GFM+: Chen, Xu, Luo 2023, "Faster Gradient-Free Algorithms for Nonsmooth Nonconvex Stochastic
Optimization"); SARAH with its restart (Nguyen et al. 2017; Shi et al. 2021); STORM (Cutkosky, Orabona 2019) with unit steps.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PERIOD = 16
RESTART = 1 / 32
MOMENTUM = 0.9


class Reduction:
    """Gradients from differences.

    Args:
        kind: spider: a large batch every `PERIOD` steps; sarah: the same, also once the estimate has become small; storm: every step
            is a difference, and the estimate before counts nine tenths.

    Attributes:
        before: (n,) the point that the estimate belongs to.
    """

    def __init__(self, kind: Literal["spider", "sarah", "storm"], size: int, directions: int) -> None:
        self._kind, self._large = kind, directions
        self.since, self.first = 0, 0.0
        self.v, self.before = np.zeros(size), np.zeros(size)

    @property
    def is_recursive(self) -> bool:
        """Whether the next estimate is a difference to the one before."""
        if self.since == 0:
            return False
        if self._kind == "storm":
            return True
        is_small = self._kind == "sarah" and float(self.v @ self.v) < RESTART * self.first
        return self.since < PERIOD and not is_small

    @property
    def directions(self) -> int:
        """Wanted in the next step."""
        if self._kind == "storm" or not self.is_recursive:
            return self._large
        return max(1, self._large // PERIOD)

    def estimate(self, x: Array, here: Array, there: Array | None) -> Array:
        """(n,) the estimate, at most one long (storm: one long).

        Args:
            x: where `here` is the gradient; `there`: at `before`, along the same directions; None starts anew.
        """
        if there is None:
            self.v, self.since = here, 0
            self.first = float(here @ here)
        else:
            share = MOMENTUM if self._kind == "storm" else 1.0
            self.v = here + share * (self.v - there)
        self.since += 1
        self.before = x.copy()
        length = float(np.linalg.norm(self.v))
        if length == 0.0:
            return self.v
        return self.v / (length if self._kind == "storm" else max(1.0, length))

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state."""
        return {"since": self.since, "first": self.first}, {"v": self.v, "before": self.before}

    def load(self, scalars: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Restore what `save` gave."""
        self.since, self.first = scalars["since"], scalars["first"]
        self.v, self.before = arrays["v"], arrays["before"]

"""Two losses: approximate proximal steps on a cheap proxy h, corrected by what the expensive loss f says now and then.

    z ← argmin h(z) + ⟨∇f(x) - ∇h(x), z⟩ + ½·pull·‖z - x‖²

Woodworth, Mishchenko, Bach 2023, "Two Losses Are Better Than One: Faster Optimization Using a Cheaper Proxy".
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class TwoLosses:
    """Gradients of the proximal problem: from both losses every `period` steps, in between from the proxy alone.

    Args:
        directions: of every step; reach: root mean square of a coordinate's way at which the pull back is as strong as the first
            gradient, in shares of each range; share: of what a look says about the correction that is believed, 1 where it sees all
            of it.

    Attributes:
        before: (n,) x; correction: (n,) what is known of ∇f - ∇h; pull: 1/η.
    """

    def __init__(self, size: int, directions: int, period: int, reach: float, share: float) -> None:
        self.directions, self._period, self._reach = directions, period, reach * math.sqrt(size)
        self._share = share
        self.since, self.pull = 0, 0.0
        self.correction, self.before = np.zeros(size), np.zeros(size)

    @property
    def looks_at_both(self) -> bool:
        """Whether the next step evaluates both losses, at the same points."""
        return self.since % self._period == 0

    def inner(self, x: Array, h: Array) -> Array:
        """(n,) gradient of the proximal problem at x, where the proxy's is h."""
        self.since += 1
        return np.asarray(h + self.correction + self.pull * (x - self.before))

    def look(self, x: Array, f: Array, h: Array, seen: Array) -> Array:
        """(n,) gradient at x, from now on the centre of the proximal problem.

        A few directions see a part of ∇f - ∇h only; the rest of the correction stays as it was.

        Args:
            f, h: (n,) gradients of both losses there, along the same directions; seen: what these make of the correction so far.
        """
        self.since += 1
        self.correction = self.correction + self._share * (f - h - seen)
        self.before = x.copy()
        self.pull = self.pull or float(np.linalg.norm(f)) / self._reach
        return np.asarray(h + self.correction)

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state."""
        return {"since": self.since, "pull": self.pull}, {"correction": self.correction, "before": self.before}

    def load(self, scalars: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Restore what `save` gave."""
        self.since, self.pull = scalars["since"], scalars["pull"]
        self.correction, self.before = arrays["correction"], arrays["before"]

"""Prices of constraints: what a broken bound costs in units of the objective, learnt by dual ascent.

A violation counts in distances: divided by its own slope, and multiplied by the objective's. So neither unit matters. Hestenes 1969,
Powell 1969 (augmented Lagrangian); plain dual ascent, λ ← max(0, λ + η·g), as in constrained learning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RATE = 0.1
MEMORY = 0.9
LARGEST = 1e100


class Prices:
    """Multipliers of k bounds, for m objectives.

    Args:
        penalty: weight of the augmented term, and with the rate of 0.1 the step of the multipliers.
        is_augmented: the penalty grows with the square of a violation too.
    """

    def __init__(self, bounds: int, objectives: int, penalty: float, is_augmented: bool) -> None:
        self._penalty, self._is_augmented = penalty, is_augmented
        self.multipliers = np.zeros(bounds)
        self.squares = np.zeros(objectives + bounds)  # of slopes, running means
        self.count = 0

    def learn(self, slopes: Array) -> None:
        """Take in slopes.

        Args:
            slopes: (J, m + k) differences by distance, of objectives and bounds.
        """
        self.count += 1
        weight = max(1.0 / self.count, 1.0 - MEMORY)
        squares = np.square(np.clip(slopes, -LARGEST, LARGEST)).mean(axis=0)
        self.squares = (1 - weight) * self.squares + weight * squares

    def costs(self, violations: Array) -> Array:
        """(r, m) to add to the objectives of r trials with (r, k) violations."""
        distances = self._distances(violations)
        if self._is_augmented:
            priced = np.maximum(0.0, self.multipliers + self._penalty * distances)
            total = ((priced**2 - self.multipliers**2) / (2 * self._penalty)).sum(axis=1)
        else:
            total = distances @ self.multipliers
        objectives = len(self.squares) - len(self.multipliers)
        return np.outer(total, np.sqrt(self.squares[:objectives]))

    def ascend(self, violations: Array) -> None:
        """Move the multipliers by the mean of (r, k) violations around the iterate."""
        step = RATE * self._penalty * self._distances(violations).mean(axis=0)
        self.multipliers = np.clip(self.multipliers + step, 0.0, LARGEST)

    def _distances(self, violations: Array) -> Array:
        scales = np.sqrt(self.squares[len(self.squares) - len(self.multipliers) :])
        known = scales > 0
        found = np.where(known, violations / np.where(known, scales, 1.0), 0.0)
        return np.clip(found, -1.0, 1.0)  # where a bound is flat, its slope says nothing of the distance

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state."""
        return {"count": self.count}, {"multipliers": self.multipliers, "squares": self.squares}

    def load(self, scalars: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Restore what `save` gave."""
        self.count = scalars["count"]
        self.multipliers, self.squares = arrays["multipliers"], arrays["squares"]

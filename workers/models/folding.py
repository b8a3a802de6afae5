"""The whole space folded into a box, so that a method without bounds can search in one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MARGIN = 0.05


class Box:
    """A smooth periodic folding of the whole space into bounds: the identity inside, a parabola at each bound, mirrored beyond.

    pycma's linear-quadratic map with the same margin on both sides (its own margins depend on where zero is).

    Args:
        lower, upper: (n,) bounds.
    """

    def __init__(self, lower: Array, upper: Array) -> None:
        self.lower, self.upper = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
        self._margin = np.minimum((self.upper - self.lower) / 2, MARGIN)

    def inside(self, x: Array) -> Array:
        """(…, n) where coordinates lie in the box."""
        lower, upper, margin = self.lower, self.upper, self._margin
        bent = np.nonzero((x < lower + margin) | (x > upper - margin))
        if not len(bent[0]):
            return x
        found, column = np.array(x), bent[-1]
        found[bent] = _folded(found[bent], lower[column], upper[column], margin[column])
        return found

    def outside(self, x: Array) -> Array:
        """(…, n) coordinates that `inside` maps to a point of the box: the nearest ones."""
        lower, upper, margin = self.lower, self.upper, self._margin
        x = np.clip(x, lower, upper)
        low = lower - margin + 2 * np.sqrt(margin * (x - lower))
        high = upper + margin - 2 * np.sqrt(margin * (upper - x))
        return np.asarray(np.where(x - lower < margin, low, np.where(upper - x < margin, high, x)))


def _folded(x: Array, lower: Array, upper: Array, margin: Array) -> Array:
    """(m,) coordinates in their bounds."""
    width = upper - lower + 2 * margin
    place = np.mod(x - (lower - margin), 2 * width)
    place = np.minimum(place, 2 * width - place)
    low, high = lower + place**2 / (4 * margin), upper - (width - place) ** 2 / (4 * margin)
    found = np.where(place < 2 * margin, low, np.where(width - place < 2 * margin, high, lower - margin + place))
    return np.asarray(np.clip(found, lower, upper))

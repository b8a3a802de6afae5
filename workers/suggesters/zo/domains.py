"""The sets that Frank-Wolfe iterates must not leave, and how their probes are kept inside too."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Kind = Literal["box", "simplex", "l1"]
EXACT, NOISY = 0.01, 0.2


class Domain:
    """A set of one vector z = low + width·x, x in the unit cube.

    Args:
        kind: box: the whole range; simplex: entries >= 0 that sum to `size`; l1: absolute values sum to at most `size`.
        low, width: of the range.
        is_noisy: offsets may be a fifth of the set's size, to stand out of the noise; else a hundredth, so that a pair that has to
            move inside still stands close to where its slope is wanted.
    """

    def __init__(self, kind: Kind, size: float, low: float, width: float, *, is_noisy: bool) -> None:
        self.kind, self.width = kind, width
        self._size, self._low, self._longest = size, low, (NOISY if is_noisy else EXACT) * size

    def inside(self, x: Array) -> Array:
        """(n,) a point of the set: x, else where its line to zero enters (simplex: of its z > 0)."""
        z, size = self._z(x), self._size
        if self.kind == "simplex" and (z.min() < 0 or abs(z.sum() - size) > 1e-9 * size):
            z = np.maximum(z, 0.0)
            z = z * (size / z.sum()) if z.sum() > 0 else np.full(len(z), size / len(z))
        elif self.kind == "l1" and np.abs(z).sum() > size:
            z = z * (size / np.abs(z).sum())
        else:
            return x
        return self._x(z)

    def vertex(self, d: Array) -> Array:
        """(n,) the point of the set that lies furthest down a gradient."""
        if self.kind == "box":
            return np.where(d > 0, 0.0, 1.0)
        z = np.zeros(len(d))
        if self.kind == "simplex":
            z[int(np.argmin(d))] = self._size
        else:
            i = int(np.argmax(np.abs(d)))
            z[i] = -self._size * np.sign(d[i])
        return self._x(z)

    def fitted(self, offset: Array) -> tuple[Array, float]:
        """An offset as the set has room for it to both sides of some centre, and its share of the length that was wanted.

        A simplex has no room along its normal, and that part of a gradient chooses no vertex: it is left out.
        """
        found = offset - offset.mean() if self.kind == "simplex" else offset
        length = self.width * float(np.abs(found).sum())
        share = min(1.0, self._longest / length) if length > 0 else 1.0
        return found * share, share

    def centre(self, x: Array, offset: Array) -> Array:
        """(n,) x, moved no further than a fitted offset needs, so that both probes are in the set."""
        z, reach = self._z(x), self.width * np.abs(offset)
        room = self._size - reach.sum()
        if self.kind == "simplex":
            beyond = np.maximum(z - reach, 0.0)
            return self._x(reach + beyond * (room / beyond.sum()))
        length = float(np.abs(z).sum())
        return self._x(z * (room / length)) if length > room else x

    def _z(self, x: Array) -> Array:
        return self._low + self.width * x

    def _x(self, z: Array) -> Array:
        return np.asarray((z - self._low) / self.width)

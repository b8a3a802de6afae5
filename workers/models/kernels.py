"""What compares two rows of the unit cube: how far apart they count, and how alike their values are at that distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Shape = Literal["matern52", "matern32", "rbf"]

SQRT3 = math.sqrt(3.0)
SQRT5 = math.sqrt(5.0)


@dataclass(frozen=True, slots=True)
class Kernel:
    """A correlation that depends on r² = Σ_j δ_j / ℓ²: squared differences of ordered columns, inequality of categorical ones.

    Every δ is a squared Euclidean distance of some embedding (an unequal pair is one of two different unit vectors), so each shape is
    positive definite on mixed rows too.

    Attributes:
        categorical: (d,) columns that are compared by equality.
        groups: (d,) which of the g lengthscales each column uses.
        shape: as a function of r.
    """

    categorical: Mask
    groups: NDArray[np.int64]
    shape: Shape = "matern52"

    @staticmethod
    def ard(categorical: Mask, shape: Shape = "matern52") -> Kernel:
        """A lengthscale for each column."""
        return Kernel(categorical, np.arange(len(categorical)), shape)

    @staticmethod
    def isotropic(categorical: Mask, shape: Shape = "matern52") -> Kernel:
        """One lengthscale for all columns."""
        return Kernel(categorical, np.zeros(len(categorical), dtype=np.int64), shape)

    @property
    def size(self) -> int:
        """g, how many lengthscales there are."""
        return int(self.groups.max()) + 1 if len(self.groups) else 0

    def squared_distance(self, a: Array, b: Array, lengthscales: Array) -> Array:
        """(n, m) values of r² between (n, d) and (m, d) rows, for (g,) lengthscales."""
        widths = lengthscales[self.groups]
        numeric = ~self.categorical
        left, right = a[:, numeric] / widths[numeric], b[:, numeric] / widths[numeric]
        found = left @ right.T
        found *= -2.0
        found += (left**2).sum(1)[:, None]
        found += (right**2).sum(1)[None, :]
        np.maximum(found, 0.0, out=found)
        for j in np.flatnonzero(self.categorical):
            found += (a[:, j][:, None] != b[:, j][None, :]) / widths[j] ** 2
        return np.asarray(found)

    def value(self, r2: Array) -> Array:
        """The correlation; 1 at r² = 0."""
        if self.shape == "rbf":
            return np.asarray(np.exp(-0.5 * r2))
        if self.shape == "matern32":
            r = SQRT3 * np.sqrt(r2)
            return np.asarray((1.0 + r) * np.exp(-r))
        r = SQRT5 * np.sqrt(r2)
        return np.asarray((1.0 + r + r2 * (5.0 / 3.0)) * np.exp(-r))

    def value_and_slope(self, r2: Array) -> tuple[Array, Array]:
        """The correlation and -2 d/d(r²) of it; both finite at 0."""
        if self.shape == "rbf":
            value = np.exp(-0.5 * r2)
            return value, value
        if self.shape == "matern32":
            r = SQRT3 * np.sqrt(r2)
            decay = np.exp(-r)
            return (1.0 + r) * decay, 3.0 * decay
        r = SQRT5 * np.sqrt(r2)
        decay = np.exp(-r)
        slope = (1.0 + r) * decay
        return slope + (5.0 / 3.0) * r2 * decay, (5.0 / 3.0) * slope

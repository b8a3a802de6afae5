"""The search distribution of the cross-entropy method: truncated normals for ordered coordinates, shares for categories.

Rubinstein, Kroese 2004, "The Cross-Entropy Method"; elites, smoothing and the least deviation as used in planning. Path-integral
weights: Williams et al. 2017, "Information theoretic MPC for model-based reinforcement learning" (MPPI). Coloured noise and kept
elites: Pinneri et al. 2020, "Sample-efficient cross-entropy method for real-time planning" (iCEM); the noise itself: Timmer, König
1995, "On generating power law noise".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# A whole-number coordinate whose mean stands in the middle of its cell leaves the cell in about 5 of 100 samples.
LEAST_CELL_SHARE = 0.25
LEAST_CATEGORY_SHARE = 0.25
WIDER = 1.25
SMALLEST = 1e-15  # what a coordinate of the cube can tell apart; 0 would leave nothing to widen
MOST_HALVINGS = 200


@dataclass(frozen=True)
class Columns:
    """What the columns of the unit cube are.

    Attributes:
        levels: (d,) cells of each column, 0 for a continuous one.
        categorical: columns whose cells have no order.
    """

    levels: NDArray[np.int64]
    categorical: tuple[int, ...]

    @property
    def ordered(self) -> NDArray[np.bool_]:
        """(d,) which columns have a mean and a deviation."""
        found = np.ones(len(self.levels), dtype=bool)
        found[list(self.categorical)] = False
        return found


class SearchDistribution:
    """Mean, deviation and category shares over the unit cube.

    Attributes:
        mean, deviation: (d,); those of categorical columns mean nothing.
        shares: (K,) for each categorical column, summing to 1.

    Args:
        columns: of the cube.
        mean: (d,) to start from, in [0, 1].
        deviation: to start from, > 0.
    """

    def __init__(self, columns: Columns, mean: Array, deviation: float) -> None:
        self.columns = columns
        self.mean = np.array(mean, dtype=np.float64)
        self.deviation = np.full(len(mean), float(deviation))
        self.shares: list[Array] = [np.full(k, 1 / k) for k in columns.levels[list(columns.categorical)]]

    def sample(self, normals: Array, uniforms: Array) -> Array:
        """One row of the cube.

        Args:
            normals: (d,) standard normal; their correlations, if any, stay.
            uniforms: (number of categorical columns,) in [0, 1).
        """
        from scipy.special import ndtr, ndtri

        low, high = ndtr((0 - self.mean) / self.deviation), ndtr((1 - self.mean) / self.deviation)
        row: Array = self.mean + self.deviation * ndtri(low + ndtr(normals) * (high - low))
        for column, share, uniform in zip(self.columns.categorical, self.shares, uniforms, strict=True):
            choice = int(np.searchsorted(np.cumsum(share), uniform * share.sum(), side="right"))
            row[column] = (min(choice, len(share) - 1) + 0.5) / len(share)
        return np.clip(np.where(np.isfinite(row), row, self.mean), 0.0, 1.0)

    def fit(self, rows: Array, active: NDArray[np.bool_], weights: Array, smoothing: float, *, spread: bool) -> None:
        """Move towards weighted rows; a column that is active in none of them stays.

        Args:
            rows: (n, d) in the cube.
            active: (n, d) which coordinates count.
            weights: (n,) >= 0, not all 0.
            smoothing: the part of the new; 1 forgets the old.
            spread: whether deviations move too.
        """
        counted = weights[:, None] * active
        total = counted.sum(axis=0)
        seen = (total > 0) & self.columns.ordered
        part = counted / np.where(total > 0, total, 1.0)
        mean = (part * rows).sum(axis=0)
        deviation = np.sqrt((part * (rows - mean) ** 2).sum(axis=0))
        self.mean[seen] += smoothing * (mean - self.mean)[seen]
        if spread:
            self.deviation[seen] += smoothing * (deviation - self.deviation)[seen]
        for j, column in enumerate(self.columns.categorical):
            if total[column] > 0:
                self.shares[j] = self._moved(self.shares[j], rows[:, column], part[:, column], smoothing)

    def _moved(self, share: Array, cells: Array, part: Array, smoothing: float) -> Array:
        choices = np.minimum((cells * len(share)).astype(int), len(share) - 1)
        seen = np.bincount(choices, weights=part, minlength=len(share))
        floor = LEAST_CATEGORY_SHARE / len(share)
        moved = (1 - smoothing) * share + smoothing * seen
        # Every share keeps the floor, and what stands above it is scaled so that the sum stays 1.
        above = np.maximum(moved - floor, 0.0)
        return np.asarray(floor + above * ((1 - floor * len(share)) / max(above.sum(), 1e-300)))

    def keep_wide(self, least: float) -> None:
        """Deviations stay above `least`; those of whole numbers wide enough to leave their cell now and then."""
        cells = LEAST_CELL_SHARE / np.maximum(self.columns.levels, 1)
        least = max(least, SMALLEST)
        floor = np.where(self.columns.levels > 0, np.maximum(least, cells), least)
        self.deviation = np.minimum(np.maximum(self.deviation, floor), 1.0)

    def widen(self) -> None:
        """A plateau says nothing about where to go: look farther around."""
        self.deviation = np.minimum(self.deviation * WIDER, 1.0)


def path_integral_weights(costs: Array, temperature: float | None, effective: float) -> Array:
    """(n,) weights exp(-(f - min f) / T), summing to 1.

    Args:
        costs: (n,) finite; differences may be as large as floats go.
        temperature: T > 0; None chooses it by the effective number.
        effective: the wanted (Σw)² / Σw², 1 to n; ties may keep it higher.
    """
    with np.errstate(over="ignore", under="ignore"):
        if temperature is not None:
            weights = np.exp(-(costs - costs.min()) / temperature)
            return np.asarray(weights / weights.sum())
        apart = costs / 2 - costs.min() / 2
        apart = apart / max(float(apart.max()), 5e-324)
        low, high = -60.0, 60.0  # of log T
        for _ in range(MOST_HALVINGS):
            middle = (low + high) / 2
            weights = np.exp(-apart / math.exp(middle))
            if weights.sum() ** 2 / (weights**2).sum() < effective:
                low = middle
            else:
                high = middle
            if high - low < 1e-9:
                break
        weights = np.exp(-apart / math.exp(high))
        return np.asarray(weights / weights.sum())


def coloured(normals: Array, exponent: float) -> Array:
    """Noise with power 1/fᵉ over its places, each value of variance 1, made of as many independent normals.

    Args:
        normals: (n,) standard normal.
        exponent: 0 for white, 1 for pink, 2 for red noise.

    Returns:
        (n,) standard normal each, correlated. The lowest frequency 0 has the power of the first one.
    """
    n = len(normals)
    if exponent == 0 or n < 2:
        return normals
    frequencies = np.fft.rfftfreq(n)
    frequencies[0] = frequencies[1]
    scale = frequencies ** (-exponent / 2)
    # Real and imaginary parts from one set of n normals: the transform of white noise has exactly their number of free values.
    spectrum = np.fft.rfft(normals) * scale
    weight = np.full(len(scale), 2.0)
    weight[0] = 1.0
    if n % 2 == 0:
        weight[-1] = 1.0
    return np.asarray(np.fft.irfft(spectrum, n) / math.sqrt(float((weight * scale**2).sum()) / n))


def blocks(lengths: Sequence[tuple[int, int]], normals: Array, exponent: float) -> Array:
    """Normals whose stretches (start, end) are coloured, the rest as they are."""
    if exponent == 0:
        return normals
    found = normals.copy()
    for start, end in lengths:
        found[start:end] = coloured(normals[start:end], exponent)
    return found

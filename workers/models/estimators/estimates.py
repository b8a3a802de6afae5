"""From values to a gradient: slopes along directions, kept from outliers, and the curvature that the same values show.

Values are expected within ±1e150, so that no difference and no square of one overflows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LARGEST = 1e100
MEMORY = 50
ENOUGH = 8
DEVIATIONS = 10.0


def gradient(slopes: Array, weights: Array, shares: Array | None = None) -> Array:
    """(m, n) the mean of slope times weight, for each of m objectives, at most 1e100 in size.

    Args:
        slopes: (J, m) along each direction.
        weights: (J, n) u/mu, or what stands for it.
        shares: (J,) how much each direction counts; equal if absent.
    """
    shares = np.ones(len(slopes)) if shares is None else shares
    found = (slopes * shares[:, None]).T @ weights / shares.sum()
    return np.asarray(np.clip(found, -LARGEST, LARGEST))


def winsorised(slopes: Array, memory: Array) -> Array:
    """(J, m) slopes held within ten median deviations of the median of the latest ones.

    Args:
        slopes: (J, m).
        memory: (k, m) of steps before.
    """
    known = np.concatenate([memory, slopes])
    if len(known) < ENOUGH:
        return slopes
    middle = np.median(known, axis=0)
    spread = np.median(np.abs(known - middle), axis=0)
    reach = np.where(spread > 0, DEVIATIONS * spread, np.inf)
    return np.asarray(np.clip(slopes, middle - reach, middle + reach))


def remembered(slopes: Array, memory: Array) -> Array:
    """The latest `MEMORY` slopes."""
    return np.concatenate([memory, slopes])[-MEMORY:]


def centred_ranks(values: Array) -> Array:
    """(k, m) ranks of each column from -½ to ½, equal values sharing theirs (Salimans et al. 2017)."""
    k = len(values)
    if k < 2:
        return np.zeros_like(values)
    ordered = np.sort(values, axis=0)
    found = np.empty(values.shape)
    for column in range(values.shape[1]):
        below = np.searchsorted(ordered[:, column], values[:, column], side="left")
        above = k - np.searchsorted(ordered[:, column], values[:, column], side="right")
        found[:, column] = (below - above) / (2.0 * (k - 1))
    return found


def diagonal_hessian(bends: Array, weights: Array, offsets: Array, is_coordinate: bool) -> Array:
    """(n,) diagonal of the Hessian from second differences f⁺ + f⁻ - 2f.

    Args:
        bends: (J,) second differences.
        weights: (J, n) u/mu.
        offsets: (J, n) mu·u.
        is_coordinate: the directions are axes; otherwise they must be normal (of Rademacher ones u² - 1 is always 0).
    """
    if is_coordinate:
        found, seen = np.zeros(offsets.shape[1]), np.zeros(offsets.shape[1])
        for bend, offset in zip(bends, offsets, strict=True):
            axis = int(np.argmax(np.abs(offset)))
            found[axis] += bend / offset[axis] ** 2
            seen[axis] += 1
        return np.asarray(np.clip(found / np.maximum(seen, 1), -LARGEST, LARGEST))
    squares = weights * offsets  # u²
    lengths = np.where(weights != 0, offsets / np.where(weights == 0, 1.0, weights), 1.0)  # mu²
    found = (bends[:, None] * (squares - 1) / (2 * lengths)).mean(axis=0)
    return np.asarray(np.clip(found, -LARGEST, LARGEST))

"""The dominated volume, fast enough for a value after every trial: exclusive parts, one point at a time (While et al. 2012)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def front(points: Array) -> Array:
    """(m, k) the distinct points that no other dominates, everything minimised."""
    points = np.unique(points, axis=0)
    no_worse = np.all(points[:, None] <= points[None], axis=2)
    np.fill_diagonal(no_worse, False)
    return np.asarray(points[~no_worse.any(axis=0)])


def volume(points: Array, corner: Array) -> float:
    """The volume that (n, k) points dominate up to the corner (k,)."""
    inside = front(points[np.all(points < corner, axis=1)])
    if len(inside) == 0:
        return 0.0
    if inside.shape[1] == 2:
        inside = inside[np.argsort(inside[:, 0])]
        tops = np.append(corner[1], inside[:-1, 1])
        return float(np.sum((corner[0] - inside[:, 0]) * (tops - inside[:, 1])))
    return sum(gained(point, inside[i + 1 :], corner) for i, point in enumerate(inside))


def gained(point: Array, others: Array, corner: Array) -> float:
    """What a point adds to the volume of others."""
    if np.any(point >= corner):
        return 0.0
    return float(np.prod(corner - point)) - volume(np.maximum(point, others), corner)


def growth(points: list[list[float] | None], corner: tuple[float, ...]) -> list[float]:
    """The volume after each of the points; None adds nothing."""
    top, kept, total, found = np.array(corner), np.zeros((0, len(corner))), 0.0, []
    for point in points:
        if point is not None:
            row = np.array(point)
            total += gained(row, kept, top)
            kept = front(np.vstack([kept, row]))
        found.append(total)
    return found

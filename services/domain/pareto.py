"""Which of several compromises are worth showing: dominance and the dominated volume. Everything is minimised."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = Sequence[Sequence[float]] | NDArray[np.float64]


def non_dominated(points: Points) -> list[int]:
    """Places of the points that no other point dominates, ascending.

    A point dominates another if it is no worse in every objective and better in one; equal points do not dominate each other.

    Args:
        points: (n, k) objective values.
    """
    if len(points) == 0:
        return []
    values = np.asarray(points, dtype=np.float64)
    order = np.lexsort(values.T[::-1])
    front: list[int] = []
    for place in order:
        # In lexicographic order nobody later can dominate, so the front so far decides.
        kept = values[front]
        if not len(front) or not np.any(np.all(kept <= values[place], axis=1) & np.any(kept < values[place], axis=1)):
            front.append(int(place))
    return sorted(front)


def hypervolume(points: Points, reference: Sequence[float]) -> float:
    """The volume that points dominate up to a reference point.

    Args:
        points: (n, k) objective values; those not below the reference in every objective add nothing.
        reference: (k,) the worst corner.

    Returns:
        The Lebesgue measure, by slicing along the last objective: O(n^(k-1)), meant for k <= 4.
    """
    corner = np.asarray(reference, dtype=np.float64)
    values = np.asarray(points, dtype=np.float64).reshape(-1, len(corner))
    inside = values[np.all(values < corner, axis=1)]
    return _volume(inside, corner)


def _volume(values: NDArray[np.float64], corner: NDArray[np.float64]) -> float:
    if len(values) == 0:
        return 0.0
    if values.shape[1] == 1:
        return float(corner[0] - values[:, 0].min())
    ordered = values[np.argsort(values[:, -1], kind="stable")]
    tops = np.append(ordered[1:, -1], corner[-1])
    total = 0.0
    for i, top in enumerate(tops):
        height = float(top - ordered[i, -1])
        if height > 0:
            slab = ordered[: i + 1, :-1]
            total += height * _volume(slab[non_dominated(slab)], corner[:-1])
    return total

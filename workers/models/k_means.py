"""Lloyd's k-means with seeds spread out (Arthur, Vassilvitskii 2007, "k-means++"), seeded and deterministic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
ROUNDS = 15
ROWS_AT_ONCE = 4096


def nearest_members(points: Array, clusters: int, rng: np.random.Generator) -> list[int]:
    """The member nearest to each centroid, in the order of the points; fewer than `clusters` where two share theirs.

    Args:
        points: (n, d).
        clusters: 1 to n.
    """
    points = points.astype(np.float32)
    centroids = _spread_out(points, clusters, rng)
    labels = np.full(len(points), -1)
    for _ in range(ROUNDS):
        found = _labels(points, centroids)
        if np.array_equal(found, labels):
            break
        labels = found
        counts = np.bincount(labels, minlength=clusters)
        sums = np.zeros_like(centroids)
        np.add.at(sums, labels, points)
        filled = counts > 0  # an empty cluster stays where it was
        centroids[filled] = sums[filled] / counts[filled, None]
    return sorted(set(_labels(centroids, points).tolist()))


def _spread_out(points: Array, clusters: int, rng: np.random.Generator) -> Array:
    """First centroids: members drawn with a chance that grows with the squared distance to those before."""
    chosen = [int(rng.integers(len(points)))]
    squares = (points**2).sum(1)
    least = np.full(len(points), np.inf, dtype=points.dtype)
    for _ in range(clusters - 1):
        latest = points[chosen[-1]]
        least = np.minimum(least, np.maximum(squares - 2 * points @ latest + latest @ latest, 0.0))
        least[chosen[-1]] = 0.0
        total = least.cumsum(dtype=np.float64)
        left = rng.random() * total[-1]
        # Where only copies of chosen members are left, any will do.
        chosen.append(int(min(np.searchsorted(total, left, side="right"), len(points) - 1)))
    return points[chosen].copy()


def _labels(points: Array, centroids: Array) -> NDArray[np.int64]:
    """(n,) the nearest centroid of each point, the first among equals."""
    squares = (centroids**2).sum(1)
    parts = [points[i : i + ROWS_AT_ONCE] for i in range(0, len(points), ROWS_AT_ONCE)]
    return np.concatenate([np.argmin(squares - 2 * part @ centroids.T, axis=1) for part in parts])

"""The region that no known point dominates, cut into boxes (minimisation).

Source: Lacour, Klamroth, Fonseca 2017, "A box decomposition algorithm to compute the hypervolume indicator"; cutting the dominated
region of the local upper bounds once more gives the free region, as Yang, Emmerich et al. 2019 note.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def free_boxes(front: Array, reference: Array) -> tuple[Array, Array]:
    """Boxes that share no inside and cover what lies below `reference` and is dominated by no point of `front`.

    Args:
        front: (n, k) mutually non-dominated points, k >= 1; those not below the reference are left out.
        reference: (k,) the worst values that count.

    Returns:
        (b, k) lower corners, -inf where a box has no lower side, and (b, k) upper corners.
    """
    k = len(reference)
    inside = front[np.all(front < reference, axis=1)] if len(front) else np.empty((0, k))
    if not len(inside):
        return np.full((1, k), -np.inf), reference[None, :].copy()
    bounds, _ = _local_upper_bounds(inside, reference)
    # The free region is the union of what lies below a bound: with the signs turned, the region that the bounds dominate.
    turned, defining = _local_upper_bounds(-bounds, np.full(k, np.inf))
    low, high = _boxes(turned, defining, np.full(k, np.inf))
    return -high, -low


def _local_upper_bounds(points: Array, reference: Array) -> tuple[Array, Array]:
    """(u, k) corners below which the free region of `points` lies, and the (u, k, k) points that define each of their sides."""
    k = len(reference)
    bounds = reference[None, :].copy()
    defining = np.full((1, k, k), -np.inf)
    defining[0, np.arange(k), np.arange(k)] = reference
    for point in points[np.argsort(points[:, 0], kind="stable")]:
        hit = np.all(point < bounds, axis=1)
        if not hit.any():
            continue
        old, old_defining = bounds[hit], defining[hit]
        made, made_defining = [bounds[~hit]], [defining[~hit]]
        for j in range(k):
            others = np.delete(old_defining[:, :, j], j, axis=1)
            keeps = point[j] >= others.max(1) if k > 1 else np.ones(len(old), dtype=bool)
            cut, cut_defining = old[keeps].copy(), old_defining[keeps].copy()
            cut[:, j] = point[j]
            cut_defining[:, j, :] = point
            made.append(cut)
            made_defining.append(cut_defining)
        bounds, defining = np.vstack(made), np.concatenate(made_defining)
    return bounds, defining


def _boxes(bounds: Array, defining: Array, reference: Array) -> tuple[Array, Array]:
    """The dominated region between the points and the reference, one box a local upper bound."""
    k = len(reference)
    low, high = np.empty_like(bounds), np.empty_like(bounds)
    low[:, 0], high[:, 0] = bounds[:, 0], reference[0]
    for j in range(1, k):
        low[:, j] = defining[:, :j, j].max(1)
        high[:, j] = bounds[:, j]
    real = np.all(low < high, axis=1)
    return low[real], high[real]

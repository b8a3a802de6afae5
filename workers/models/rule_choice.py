"""Which rule a population follows next: nine numbers that say how its search stands, and a linear score for each rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FEATURES = 9


def features(
    places: Array, costs: Array, best: tuple[Array, float], worst: float, left: float, stagnation: float, improved: bool
) -> Array:
    """(9,) how the search stands, each about 0 to 1.

    Mean gap to the best so far; mean distance of pairs; spread of costs over the largest that it could be; budget left; stagnation;
    mean distance to the best member; mean gap to the best member; mean distance to the best so far; 1 if that was improved since the
    last choice. Gaps in units of worst minus best so far, distances of the cube's diameter.

    Args:
        places: (N, n) of the members in the unit cube; costs: (N,) theirs, lower is better.
        best: place and cost of the best so far; worst: cost of the worst so far.
        left: share of the budget left; stagnation: rounds without improvement as a share of all rounds.
    """
    diameter = np.sqrt(places.shape[1])
    scale = worst - best[1]
    gap = (costs - best[1]) / scale if np.isfinite(scale) and scale > 0 else np.zeros(len(costs))
    current = int(np.argmin(costs))
    away = np.linalg.norm(places - best[0], axis=1) / diameter
    here = np.linalg.norm(places - places[current], axis=1) / diameter
    return np.array(
        [
            gap.mean(), _pairwise(places) / diameter, min(1.0, 2 * gap.std()), left, min(1.0, stagnation),
            here.mean(), (gap - gap[current]).mean(), away.mean(), float(improved),
        ]
    )  # fmt: skip


def chosen(found: Array, weights: Sequence[Sequence[float]]) -> int:
    """The rule of the highest score: `weights` has a row for each rule, one weight a feature and a constant."""
    return int(np.argmax(np.asarray(weights, dtype=float) @ np.append(found, 1.0)))


def _pairwise(places: Array) -> float:
    """Mean distance of two members."""
    squares = (places**2).sum(axis=1)
    distances = np.sqrt(np.maximum(0.0, squares[:, None] + squares[None] - 2 * places @ places.T))
    count = len(places)
    return float(distances.sum() / max(1, count * (count - 1)))

"""Racing: who is clearly beaten on the examples so far is not evaluated on more."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]


def beaten_by(scores: Scores, alpha: float) -> NDArray[np.intp]:
    """(c,) by how many others each candidate is beaten.

    One beats another where the mean of their paired differences is above zero by the one-sided paired t-test at level `alpha`;
    differences that are all equal and above zero beat for certain.

    Args:
        scores: (c, n) of c candidates on the same n examples, higher is better.
    """
    from scipy.special import stdtr

    candidates, n = scores.shape
    counts = np.zeros(candidates, dtype=np.intp)
    for loser in range(candidates):
        gaps = scores - scores[loser]
        mean = gaps.mean(axis=1)
        spread = gaps.std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else np.full(candidates, np.inf)
        even = spread <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        t = np.divide(mean, spread, out=np.zeros(candidates), where=~even & np.isfinite(spread))
        chance = np.where(even, (mean <= 0).astype(float), stdtr(max(n - 1, 1), -t))
        wins = (mean > 0) & (chance < alpha)
        wins[loser] = False
        counts[loser] = wins.sum()
    return counts


def kept(scores: Scores, most: int, alpha: float) -> list[int]:
    """The candidates that stay in the race: those beaten by fewer than `most` others. The best `most` by mean always stay."""
    if len(scores) <= most:
        return list(range(len(scores)))
    return [int(i) for i in np.flatnonzero(beaten_by(scores, alpha) < most)]


def ranked(scores: Scores) -> list[int]:
    """By mean, the best first, the earlier one among equals."""
    return [int(i) for i in np.argsort(-scores.mean(axis=1), kind="stable")]

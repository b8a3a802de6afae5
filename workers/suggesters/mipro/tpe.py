"""A multivariate tree-structured Parzen estimator over categorical indices.

Bergstra et al. 2011; Falkner et al. 2018 for the multivariate form: one mixture of product kernels for the good outcomes, one for the
others; the proposal has the best ratio of the two among draws from the good one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Combination = tuple[int, ...]
DRAWS = 24
GOOD_SHARE = 0.1
UNIFORM_DRAWS = 200
MOST_LISTED = 10_000


@dataclass(frozen=True)
class Mixture:
    """A mixture of product kernels over categories, and a uniform one.

    Attributes:
        weights: (m,) of the kernels, the uniform one last; they sum to 1.
        kernels: for each of d variables (m, size) probabilities.
    """

    weights: Floats
    kernels: tuple[Floats, ...]

    @classmethod
    def of(cls, points: Indices, sizes: Sequence[int]) -> Mixture:
        """A kernel on each of (k, d) points: its own category has mass 1 more than the others, which share less the more points
        there are."""
        m = len(points) + 1
        kernels = []
        for variable, size in enumerate(sizes):
            mass = np.full((m, size), 1.0 / m)
            mass[np.arange(m - 1), points[:, variable]] += 1.0
            kernels.append(mass / mass.sum(axis=1, keepdims=True))
        return cls(np.full(m, 1.0 / m), tuple(kernels))

    def density(self, points: Indices) -> Floats:
        """(n,) probabilities of (n, d) points."""
        each = np.ones((len(self.weights), len(points)))
        for variable, kernel in enumerate(self.kernels):
            each = each * kernel[:, points[:, variable]]
        return self.weights @ each

    def draw(self, count: int, rng: np.random.Generator) -> Indices:
        """(count, d) points."""
        chosen = rng.choice(len(self.weights), size=count, p=self.weights)
        return np.array(
            [[rng.choice(k.shape[1], p=k[kernel]) for k in self.kernels] for kernel in chosen], dtype=np.int64
        )


def propose(
    told: Sequence[tuple[Combination, float]],
    pending: Sequence[Combination],
    sizes: Sequence[int],
    rng: np.random.Generator,
    *,
    startup: int,
    is_closed: Callable[[Combination], bool],
) -> Combination | None:
    """The next combination; None if all are closed.

    Args:
        told: a combination and its value (higher is better) for each evaluation.
        pending: that are out; they count as not good.
        sizes: of the d variables.
        startup: evaluations before which combinations are drawn uniformly.
        is_closed: whether a combination is not to come again.
    """
    if len(told) < max(1, startup):
        return _uniform(sizes, rng, is_closed)
    values = np.array([value for _, value in told])
    order = np.argsort(-values, kind="stable")
    count = math.ceil(GOOD_SHARE * len(told))
    points = np.array([combination for combination, _ in told], dtype=np.int64).reshape(len(told), len(sizes))
    out = np.array(pending, dtype=np.int64).reshape(len(pending), len(sizes))
    good = Mixture.of(points[order[:count]], sizes)
    others = Mixture.of(np.concatenate([points[order[count:]], out]), sizes)
    draws = [tuple(int(i) for i in draw) for draw in good.draw(DRAWS, rng)]
    open_draws = [draw for draw in draws if not is_closed(draw)]
    if not open_draws:
        return _uniform(sizes, rng, is_closed)
    candidates = np.array(open_draws, dtype=np.int64)
    gain = np.log(good.density(candidates)) - np.log(others.density(candidates))
    best = np.flatnonzero(gain >= gain.max() - 1e-12)
    return open_draws[int(rng.choice(best))]


def _uniform(
    sizes: Sequence[int], rng: np.random.Generator, is_closed: Callable[[Combination], bool]
) -> Combination | None:
    if math.prod(sizes) <= MOST_LISTED:
        left = [c for c in np.ndindex(*sizes) if not is_closed(c)]
        return left[int(rng.integers(len(left)))] if left else None
    for _ in range(UNIFORM_DRAWS):
        drawn = tuple(int(rng.integers(size)) for size in sizes)
        if not is_closed(drawn):
            return drawn
    return None

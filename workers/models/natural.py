"""The search distribution of separable natural evolution strategies: one normal a coordinate, moved along its natural gradient.

Wierstra, Schaul et al. 2014, "Natural Evolution Strategies"; Schaul, Glasmachers, Schmidhuber 2011, "High dimensions and heavy tails
for natural evolution strategies" (SNES, its learning rates). The natural gradient of shares of categories is the difference between
those wanted and those that are (Ollivier et al. 2017, "Information-geometric optimization algorithms"). Time and memory: O(n) a row.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cross_entropy import Columns, SearchDistribution
from .positions import reflected

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SHARES_RATE = 0.2
KNOWN_TO_NARROW = 8
SMALLEST_WIDTH = 1e-3


@dataclass(frozen=True)
class Member:
    """One of those that an update is made of.

    Attributes:
        step: (n,) how far it is from the mean, in deviations.
        row: (n,) where it is in the cube; read where there are categories.
        rank: from 0 for the best, equal ones share their average.
        is_drawn: the distribution drew it; others attract its mean and teach nothing about deviations.
        active: (n,) which coordinates count; None for all.
    """

    step: Array
    row: Array
    rank: float
    is_drawn: bool = True
    active: Mask | None = None


def usual_popsize(n: int) -> int:
    """Rows a generation: 4 + 3 ln n."""
    return 4 + math.floor(3 * math.log(max(1, n)))


def learning_rate(n: int) -> float:
    """Of the logarithms of deviations: (3 + ln n) / (5 sqrt n)."""
    return (3 + math.log(max(1, n))) / (5 * math.sqrt(max(1, n)))


def utilities(count: int) -> Array:
    """(count,) what places are worth, the best first: max(0, ln(count / 2 + 1) - ln i) with sum 1, less 1 / count each."""
    found = np.maximum(0.0, math.log(count / 2 + 1) - np.log(np.arange(1, count + 1)))
    return np.asarray(found / found.sum() - 1 / count)


def worth(ranks: Iterable[float]) -> list[float]:
    """Utilities of all ranks from 0 on; equal ones share what their places are worth together."""
    ranks = list(ranks)
    table = utilities(len(ranks))
    shared = {rank: (round(rank - (alike - 1) / 2), alike) for rank, alike in Counter(ranks).items()}
    values = {rank: float(table[first : first + alike].mean()) for rank, (first, alike) in shared.items()}
    return [values[rank] for rank in ranks]


def first_width(good: Sequence[Array], known: int, usual: float) -> float:
    """The deviation to start with around the best known point, from 0.001 to `usual`.

    Half the root mean square distance of the good ones to it where at least 8 n are known: a few steps of a search lie close together
    wherever they are.

    Args:
        good: (n,) rows of the cube, the best first.
        known: how many they are the best of.
    """
    if len(good) < 2 or known < KNOWN_TO_NARROW * len(good[0]):
        return usual
    distances = np.sqrt(np.mean((np.array(good[1:]) - good[0]) ** 2, axis=1))
    return min(max(0.5 * float(np.median(distances)), SMALLEST_WIDTH), usual)


class NaturalDistribution(SearchDistribution):
    """Normals over the whole space, folded into the unit cube like a mirror does, and shares of categories.

    Args:
        columns: of the cube.
        mean: (n,) to start from, in [0, 1].
        deviation: to start from, > 0; most: the largest allowed.

    Attributes:
        rate: of the logarithms of deviations.
    """

    def __init__(self, columns: Columns, mean: Array, deviation: float, most: float) -> None:
        super().__init__(columns, mean, deviation)
        self.rate, self._most = learning_rate(len(mean)), most
        self._ordered = columns.ordered

    def sample(self, normals: Array, uniforms: Array) -> Array:
        """(n,) row of the cube, from (n,) standard normals and a uniform number for each category."""
        row: Array = reflected(self.mean + self.deviation * normals)
        for column, share, uniform in zip(self.columns.categorical, self.shares, uniforms, strict=True):
            choice = int(np.searchsorted(np.cumsum(share), uniform * share.sum(), side="right"))
            row[column] = (min(choice, len(share) - 1) + 0.5) / len(share)
        return row

    def step(self, row: Array) -> Array:
        """(n,) how far a row of the cube is from the mean in deviations, no further than is plausible for one of its own.

        At most sqrt(n) + 2n / (n + 2), as Hansen 2011, "Injecting external solutions into CMA-ES".
        """
        found = np.where(self._ordered, (row - self.mean) / self.deviation, 0.0)
        n = len(found)
        length = float(np.linalg.norm(found))
        return np.asarray(found * min(1.0, (math.sqrt(n) + 2 * n / (n + 2)) / max(length, 1e-300)))

    def learn(self, members: Sequence[Member]) -> None:
        """One update: m += s sum(u z), s *= exp(rate / 2 sum(u (z² - 1))).

        Args:
            members: with ranks among themselves, in an order that does not depend on when they came.
        """
        moved, spread = np.zeros(len(self.mean)), np.zeros(len(self.mean))
        values = worth(m.rank for m in members)
        for member, value in zip(members, values, strict=True):
            worth_it = value if member.is_drawn else max(0.0, value)
            step = member.step if member.active is None else np.where(member.active, member.step, 0.0)
            moved += worth_it * step
            if member.is_drawn:
                squares = step**2 - 1
                spread += worth_it * (squares if member.active is None else np.where(member.active, squares, 0.0))
        self.mean = reflected(np.where(self._ordered, self.mean + self.deviation * moved, self.mean))
        self.deviation = np.minimum(self.deviation * np.exp(self.rate / 2 * spread), self._most)
        self._learn_shares(members, [value + 1 / len(values) for value in values])

    def _learn_shares(self, members: Sequence[Member], weights: list[float]) -> None:
        for j, column in enumerate(self.columns.categorical):
            counts = [i for i, m in enumerate(members) if m.active is None or m.active[column]]
            total = sum(weights[i] for i in counts)
            if total > 0:
                cells = np.array([members[i].row[column] for i in counts])
                part = np.array([weights[i] for i in counts]) / total
                self.shares[j] = self._moved(self.shares[j], cells, part, SHARES_RATE * min(1.0, total))

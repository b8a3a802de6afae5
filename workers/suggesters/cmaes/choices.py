"""Categorical parameters with many choices beside CMA-ES: one probability vector each.

Population-based incremental learning (Baluja 1994): a generation's parents pull the probabilities towards their choices; no choice
falls below a floor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

RATE = 0.2
FLOOR = 0.25


class Choices:
    """The probability vectors.

    Args:
        levels: how many choices each parameter has.

    Attributes:
        tables: (levels,) for each parameter.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        self.tables: list[Array] = [np.full(k, 1 / k) for k in levels]

    def draw(self, uniform: Array) -> list[int]:
        """A choice for each parameter from (parameters,) uniform draws."""
        found = [int(np.searchsorted(np.cumsum(q), u, side="right")) for q, u in zip(self.tables, uniform, strict=True)]
        return [min(pick, len(q) - 1) for pick, q in zip(found, self.tables, strict=True)]

    def learn(self, picks: Sequence[Sequence[int | None]], weights: Array) -> None:
        """Pull towards the choices of a generation's parents, the best first.

        Args:
            picks: of each parent; None where the parameter was inactive, which pulls nowhere.
            weights: (parents,) summing to 1.
        """
        for j, q in enumerate(self.tables):
            target = np.zeros(len(q))
            for pick, weight in zip(picks, weights, strict=False):
                if pick[j] is None:
                    target += weight * q
                else:
                    target[pick[j]] += weight
            pulled = np.maximum((1 - RATE) * q + RATE * target, FLOOR / len(q))
            self.tables[j] = pulled / pulled.sum()

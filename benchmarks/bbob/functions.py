"""A BBOB function that counts: at which evaluation each target was first hit, and when to stop."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LOWER, UPPER = -5.0, 5.0
TARGETS = tuple(float(t) for t in 10.0 ** np.linspace(2, -8, 51))
"""Distances above the optimum, 10^2 to 10^-8."""
GROUPS = {
    "separable": range(1, 6),
    "moderate": range(6, 10),
    "ill-conditioned": range(10, 15),
    "multimodal": range(15, 20),
    "weak structure": range(20, 25),
}


class Done(Exception):
    """The budget is spent, or every target is hit."""


class Function:
    """One instance of one of the 24 functions.

    Args:
        number: 1 to 24.
        instance: 1 or more; each is shifted and rotated anew.
        dimension: 2 to 40.
        budget: evaluations until `Done` is raised.

    Attributes:
        hits: the evaluation that first hit each target, from the easiest on; shorter than `TARGETS` where some were not.
        count: evaluations so far.
    """

    def __init__(self, number: int, instance: int, dimension: int, budget: int) -> None:
        import cocoex

        self.dimension = dimension
        self.hits: list[int] = []
        self.count = 0
        self._budget = budget
        self._evaluate = cocoex.BareProblem("bbob", number, dimension, instance)
        self._optimum = float(self._evaluate.best_value())

    def __call__(self, x: Array) -> float:
        """The value at an (n,) point.

        Raises:
            Done: nothing is left to do; the call does not count.
        """
        if self.count >= self._budget or len(self.hits) == len(TARGETS):
            raise Done
        value = float(self._evaluate(np.asarray(x, dtype=float)))
        self.count += 1
        while len(self.hits) < len(TARGETS) and value - self._optimum <= TARGETS[len(self.hits)]:
            self.hits.append(self.count)
        return value

"""Steps ahead: where the next steps are predicted to lead is probed together with the iterate.

Shu et al. 2024, "OptEx: Expediting First-Order Optimization with Approximately Parallelized Iterations": gradients on the way are
predicted by kernel regression on the latest ones; the rule then takes its steps with the true gradients at the predicted points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .schemes import Scheme

Array = NDArray[np.float64]
MEMORY = 20
JITTER = 1e-6
SQRT5 = np.sqrt(5.0)


@dataclass(frozen=True)
class Place:
    """A predicted iterate, and (n,) where the gradient of its step is taken."""

    x: Array
    at: Array


class Ahead:
    """The latest gradients, and where they lead.

    Args:
        size: n; points: probed at once, the iterate included.

    Attributes:
        at, gradients: (k, n) each, k up to 20.
    """

    def __init__(self, size: int, points: int) -> None:
        self._points = points
        self.at, self.gradients = np.empty((0, size)), np.empty((0, size))

    def places(
        self, copy: Callable[[], Scheme], step: int, draws: Callable[[int, str], np.random.Generator]
    ) -> list[Place]:
        """The predicted iterates after the present one; none before the first gradient is known.

        Args:
            copy: makes a copy of the scheme, which takes the predicted steps.
        """
        if self._points == 1 or not len(self.at):
            return []
        trial, found = copy(), list[Place]()
        at = trial.probe_at(step, draws)
        for _ in range(self._points - 1):
            trial.move(self.predicted(at), 0.0, step, 1.0, {})
            at = trial.probe_at(step, draws)
            found.append(Place(trial.x, at))
        return found

    def predicted(self, at: Array) -> Array:
        """(n,) gradient by kernel regression: Matérn 5/2, as wide as the median distance of what is known."""
        apart = np.linalg.norm(self.at[:, None] - self.at[None], axis=2)
        between = apart[np.triu_indices(len(apart), 1)]
        width = float(np.median(between)) if len(between) else 0.0
        width = width if width > 0 else 1.0
        known = _matern(apart / width) + JITTER * np.eye(len(apart))
        near = _matern(np.linalg.norm(self.at - at, axis=1) / width)
        return np.asarray(near @ np.linalg.solve(known, self.gradients))

    def remember(self, at: Array, gradient: Array) -> None:
        """A gradient and where it was taken."""
        self.at = np.concatenate([self.at, at[None]])[-MEMORY:]
        self.gradients = np.concatenate([self.gradients, gradient[None]])[-MEMORY:]


def _matern(r: Array) -> Array:
    return np.asarray((1 + SQRT5 * r + 5 / 3 * r**2) * np.exp(-SQRT5 * r))

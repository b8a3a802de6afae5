"""Random directions u in n dimensions with E[u uᵀ] = I, each a pure function of (seed, step, index)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Draws = Callable[[int, str], np.random.Generator]
Family = Literal["rademacher", "gauss", "sphere", "orthonormal", "coordinate", "guided", "none"]

LARGEST_BLOCK = 1024
SHARE = 0.5


class Directions:
    """The directions of one step.

    Args:
        family: their distribution; "none" for the zero direction.
        size: n.
        step: number of the step.
        block: directions that belong together: an orthonormal set, or a share of the coordinates.
        draws: a fresh generator for (number, purpose).
        basis: (n, k) orthonormal columns that "guided" prefers, k may be 0.
    """

    def __init__(
        self, family: Family, size: int, step: int, block: int, draws: Draws, basis: Array | None = None
    ) -> None:
        self._family, self._size, self._step, self._draws = family, size, step, draws
        self._block = max(1, block)
        self._basis = basis if basis is not None and basis.size else None
        self._frames: dict[int, Array] = {}

    def draw(self, index: int) -> Array:
        """(n,) direction `index` >= 0. For "guided" E[u uᵀ] = a·I + (1 - a)·(n/k)·U Uᵀ with a = ½."""
        n = self._size
        if self._family == "none":
            return np.zeros(n)
        if self._family == "coordinate":
            return self._coordinate(index)
        if self._family == "orthonormal":
            width = min(self._block, n, LARGEST_BLOCK)
            frame, column = divmod(index, width)
            return math.sqrt(n) * self._frame(frame, width)[:, column]
        rng = self._draws(self._step, f"zo direction {index}")
        if self._family == "rademacher":
            return np.asarray(rng.integers(0, 2, n) * 2.0 - 1.0, dtype=np.float64)
        u = rng.standard_normal(n)
        if self._family == "sphere":
            return np.asarray(math.sqrt(n) * u / float(np.linalg.norm(u)))
        if self._family == "guided" and self._basis is not None:
            inside = self._basis @ rng.standard_normal(self._basis.shape[1])
            return np.asarray(math.sqrt(SHARE) * u + math.sqrt((1 - SHARE) * n / self._basis.shape[1]) * inside)
        return np.asarray(u, dtype=np.float64)

    def _frame(self, number: int, width: int) -> Array:
        """(n, width) orthonormal columns, uniformly distributed."""
        if number not in self._frames:
            normals = self._draws(self._step, f"zo frame {number}").standard_normal((self._size, width))
            q, r = np.linalg.qr(normals)
            self._frames[number] = q * np.sign(np.diag(r))  # without the sign the distribution would not be uniform
        return self._frames[number]

    def _coordinate(self, index: int) -> Array:
        """The axes in a random order, each once before any comes again."""
        cycle, place = divmod(self._step * self._block + index, self._size)
        if cycle not in self._frames:
            order = self._draws(cycle, "zo coordinates").permutation(self._size)
            self._frames[cycle] = order.astype(np.float64)
        u = np.zeros(self._size)
        u[int(self._frames[cycle][place])] = math.sqrt(self._size)
        return np.asarray(u, dtype=np.float64)


def guiding_basis(steps: Array) -> Array:
    """(n, k) orthonormal basis of the span of (k, n) steps; those that add nothing are left out."""
    if not len(steps):
        return np.empty((steps.shape[1], 0))
    lengths = np.linalg.norm(steps, axis=1)
    kept = steps[lengths > 0] / lengths[lengths > 0][:, None]
    if not len(kept):
        return np.empty((steps.shape[1], 0))
    _, values, right = np.linalg.svd(kept, full_matrices=False)
    return np.asarray(right[values > 1e-8 * values[0]].T)

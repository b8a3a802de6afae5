"""Rows that keep parameter constraints which leave so little room that plain draws miss it.

First a walk from anywhere to where every constraint holds: pick a broken constraint, move one of its parameters to where the
constraints are broken least (Selman, Kautz, Cohen 1994, "Noise Strategies for Improving Local Search"). Then steps that stay inside
and forget the start: slice sampling with shrinkage along random directions (Neal 2003, "Slice Sampling", 4.1), whose stationary
distribution is the uniform one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .columns import Columns
from .space import Space

Array = NDArray[np.float64]

STARTS = 4
MOST_STEPS = 400
SHRINKS = 16
NOISE = 0.1
NEAR = 6
FAR = 4


class Walk:
    """One walk through the rows of `Columns` that keep the constraints.

    Attributes:
        row: (k,) where it stands.

    Args:
        space: with constraints.
        rng: of every step.
    """

    def __init__(self, space: Space, columns: Columns, rng: np.random.Generator) -> None:
        self._space, self._columns, self._rng = space, columns, rng
        self.row: Array = np.empty(0)

    def settle(self) -> bool:
        """Go to where every constraint holds; False if the way was not found."""
        for _ in range(STARTS):
            self.row = self._rng.random(len(self._columns.parameters))
            if self._repair():
                return True
        return False

    def move(self, steps: int) -> None:
        """Take steps that stay inside, one coordinate, two, or all of them at a time."""
        d = len(self.row)
        for step in range(steps):
            direction = np.zeros(d)
            if step % 4 == 3:
                direction = self._rng.normal(size=d)
            else:
                some = self._rng.permutation(d)[: 1 + step % 2]
                direction[some] = 2.0 * self._rng.integers(2, size=len(some)) - 1.0
            self._slice(direction)

    def _repair(self) -> bool:
        broken = self._columns.excesses(self.row[None])[0]
        for _ in range(MOST_STEPS):
            if not broken.any():
                return True
            which = np.flatnonzero(broken)
            names = sorted(self._space.expressions[int(self._rng.choice(which))].names)
            place = self._columns.place[names[int(self._rng.integers(len(names)))]]
            candidates = np.tile(self.row, (NEAR + FAR + 2, 1))
            candidates[:, place] = self._candidates(self.row[place])
            found = self._columns.excesses(candidates)
            totals = found.sum(axis=1)
            best = int(np.argmin(totals))
            if totals[best] > broken.sum() or self._rng.random() < NOISE:
                best = best if totals[best] == 0 else int(self._rng.integers(len(found)))
            self.row, broken = candidates[best], found[best]
        return not broken.any()

    def _candidates(self, here: float) -> Array:
        steps = 10.0 ** -(6.0 * self._rng.random(NEAR)) * self._rng.choice([-1.0, 1.0], NEAR)
        found = np.concatenate([self._rng.random(FAR), here + steps, [0.0, 1.0]])
        return np.asarray(np.clip(found, 0.0, 1.0))

    def _slice(self, direction: Array) -> None:
        """A uniform draw from the part of the line that is inside, by shrinking towards where we stand."""
        used = direction != 0
        ends = np.stack([(0.0 - self.row[used]) / direction[used], (1.0 - self.row[used]) / direction[used]])
        low, high = float(ends.min(0).max()), float(ends.max(0).min())
        places = np.empty(SHRINKS)
        for k, share in enumerate(self._rng.random(SHRINKS)):
            places[k] = t = low + (high - low) * float(share)
            low, high = (t, high) if t < 0 else (low, t)
        rows = np.clip(
            self.row + places[:, None] * direction, 0.0, 1.0
        )  # all at once, as if each were the first inside
        inside = np.flatnonzero(self._columns.keep(rows) & np.isfinite(places))
        if len(inside):
            self.row = rows[inside[0]]

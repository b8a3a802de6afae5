"""Points of a space whose parameter constraints leave so little room that plain draws miss it.

First a walk from anywhere to where every constraint holds: pick a broken constraint, move one of its parameters to where the
constraints are broken least (Selman, Kautz, Cohen 1994, "Noise Strategies for Improving Local Search"). Then steps that stay inside
and forget the start: slice sampling with shrinkage along random directions (Neal 2003, "Slice Sampling", 4.1), whose stationary
distribution is the uniform one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codec import from_unit
from .parameters import Parameter
from .space import Point, Space

Array = NDArray[np.float64]

STARTS = 4
MOST_STEPS = 400
SHRINKS = 16
NOISE = 0.1
NEAR = 6
FAR = 4


class Walk:
    """One walk through the points that keep the constraints.

    Args:
        space: with constraints.
        rng: of every step.
        draw_value: a random value of one parameter; the parameters that no constraint names keep theirs until `refresh`.
    """

    def __init__(self, space: Space, rng: np.random.Generator, draw_value: Callable[[Parameter], Any]) -> None:
        self._space, self._rng, self._draw_value = space, rng, draw_value
        named = frozenset[str]().union(*(e.names for e in space.expressions))
        self._moving = {p.name: j for j, p in enumerate(p for p in space.parameters if p.name in named)}
        self._units: Array = np.empty(0)
        self._fixed: dict[str, Any] = {}

    def settle(self) -> bool:
        """Go to where every constraint holds; False if the way was not found."""
        for _ in range(STARTS):
            self._fixed = self._draw_fixed()
            self._units = self._rng.random(len(self._moving))
            if self._repair():
                return True
        return False

    def refresh(self) -> None:
        """Draw the parameters anew that no constraint names; the old ones stay where the new ones call for what does not hold."""
        before, self._fixed = self._fixed, self._draw_fixed()
        if self._space.broken(self.point()):
            self._fixed = before

    def move(self, steps: int) -> None:
        """Take steps that stay inside, one coordinate, two, or all of them at a time."""
        d = len(self._moving)
        for step in range(steps):
            direction = np.zeros(d)
            if step % 4 == 3:
                direction = self._rng.normal(size=d)
            else:
                some = self._rng.choice(d, min(d, 1 + step % 2), replace=False)
                direction[some] = self._rng.choice([-1.0, 1.0], len(some))
            self._slice(direction)

    def point(self) -> Point:
        """Where the walk stands."""
        return self._at(self._units)

    def _draw_fixed(self) -> dict[str, Any]:
        return {p.name: self._draw_value(p) for p in self._space.parameters if p.name not in self._moving}

    def _at(self, units: Array) -> Point:
        found: Point = {}
        for parameter in self._space.ordered:
            if self._space.is_active(parameter, found):
                place = self._moving.get(parameter.name)
                found[parameter.name] = (
                    self._fixed[parameter.name] if place is None else from_unit(parameter, units[place : place + 1])
                )
        return self._space.sorted(found)

    def _repair(self) -> bool:
        here = self._at(self._units)
        broken = self._violations(here)
        for _ in range(MOST_STEPS):
            if not broken:
                return True
            names = sorted(broken)[int(self._rng.integers(len(broken)))]
            place = self._moving[names[1][int(self._rng.integers(len(names[1])))]]
            candidates = np.tile(self._units, (NEAR + FAR + 2, 1))
            candidates[:, place] = self._candidates(self._units[place])
            found = [self._violations(self._at(row)) for row in candidates]
            totals = [sum(f.values()) for f in found]
            best = int(np.argmin(totals))
            if totals[best] > sum(broken.values()) or self._rng.random() < NOISE:
                best = best if totals[best] == 0 else int(self._rng.integers(len(found)))
            self._units, broken = candidates[best], found[best]
        return not broken

    def _violations(self, point: Point) -> dict[tuple[str, tuple[str, ...]], float]:
        """By how much the point breaks each constraint that it breaks."""
        return {
            (e.text, tuple(sorted(e.names))): max(e.excess(point), 1e-300)
            for e in self._space.expressions
            if e.names <= point.keys() and not e.holds(point)
        }

    def _candidates(self, here: float) -> Array:
        steps = 10.0 ** -(6.0 * self._rng.random(NEAR)) * self._rng.choice([-1.0, 1.0], NEAR)
        found = np.concatenate([self._rng.random(FAR), here + steps, [0.0, 1.0]])
        return np.asarray(np.clip(found, 0.0, 1.0))

    def _slice(self, direction: Array) -> None:
        """A uniform draw from the part of the line that is inside, by shrinking towards where we stand."""
        used = direction != 0
        ends = np.stack([(0.0 - self._units[used]) / direction[used], (1.0 - self._units[used]) / direction[used]])
        low, high = float(ends.min(0).max()), float(ends.max(0).min())
        for _ in range(SHRINKS):
            t = low + (high - low) * float(self._rng.random())
            units = np.clip(self._units + t * direction, 0.0, 1.0)
            if math.isfinite(t) and not self._space.broken(self._at(units)):
                self._units = units
                return
            low, high = (t, high) if t < 0 else (low, t)

"""The coordinates that the descent moves: the unit cube without fixed parameters and those that carry something else to the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.parameters import VectorParameter
from services.domain.sampling import draw
from services.domain.space import Point, Space
from services.domain.suggester import Problem

Array = NDArray[np.float64]
HALVINGS = 12
MARGIN = 0.9


class Coordinates:
    """Between iterates, (n,) in the unit cube, and points.

    Attributes:
        size: n.
        cells: (n,) width of one level of a discrete coordinate; 0 for a continuous one.

    Args:
        held: names of parameters that are not moved.
    """

    def __init__(self, problem: Problem, held: frozenset[str]) -> None:
        self.space = problem.space
        self._problem = problem
        self._codec = Codec(problem.space)
        self._columns = moved_columns(self._codec, held)
        chosen = [self._codec.coordinates[j] for j in self._columns]
        self.cells = np.array([0.0 if c.levels is None else 1.0 / c.levels for c in chosen])
        self._is_conditional = any(p.when for p in self.space.parameters)

    @property
    def size(self) -> int:
        """n."""
        return len(self._columns)

    def point(self, x: Array, carried: Mapping[str, Any] | None = None) -> Point:
        """The point at (n,) coordinates, with values for parameters that are not moved."""
        row = np.full(self._codec.dimensions, 0.5)
        row[self._columns] = x
        found = self._codec.decode(row)
        for name, value in (carried or {}).items():
            if name in found:
                found[name] = value
        return found

    def of(self, point: Point) -> Array:
        """(n,) coordinates of a point."""
        found: Array = self._codec.encode(point)[self._columns]
        return found

    def active(self, x: Array) -> Array:
        """(n,) 1 for coordinates of active parameters, 0 for the others."""
        if not self._is_conditional:
            return np.ones(self.size)
        return self._codec.active(self.point(x))[self._columns].astype(np.float64)

    def is_allowed(self, x: Array) -> bool:
        """Whether the point keeps the parameter constraints."""
        return not self.space.constraints or not self.space.broken(self.point(x))

    def start(self) -> Array:
        """(n,) the declared default or the centre; where it breaks the parameter constraints, a random point that does not."""
        default = self.space.default()
        if default is not None:
            return self.of(default)
        x = np.full(self.size, 0.5)
        if self.is_allowed(x):
            return x
        drawn = draw(self.space, self._problem.generator(0, "zo start"))
        return x if drawn is None else self.of(drawn)

    def projected(self, wanted: Array, x: Array) -> Array:
        """(n,) what is wanted, inside the cube; where it breaks the parameter constraints, less of the way from x."""
        inside = np.clip(np.nan_to_num(wanted, nan=0.5), 0.0, 1.0)
        if self.is_allowed(inside):
            return inside
        share = 0.5
        for _ in range(HALVINGS):
            nearer = x + share * (inside - x)
            if self.is_allowed(nearer):  # a little back from the edge: probes need room on both sides
                back = x + MARGIN * share * (inside - x)
                return back if self.is_allowed(back) else nearer
            share /= 2
        return x


def moved_columns(codec: Codec, held: frozenset[str]) -> list[int]:
    """Columns of the codec that a descent can move."""
    return [
        j
        for j, c in enumerate(codec.coordinates)
        if c.levels != 1 and c.parameter.name not in held and not _is_flat(c.parameter)
    ]


def vector_parameter(space: Space, held: frozenset[str]) -> VectorParameter | None:
    """The one parameter that is moved, where it is a vector; None otherwise."""
    free = [p for p in space.parameters if p.name not in held]
    return free[0] if len(free) == 1 and isinstance(free[0], VectorParameter) else None


def _is_flat(parameter: Any) -> bool:
    return isinstance(parameter, VectorParameter) and parameter.min == parameter.max

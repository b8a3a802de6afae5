"""Places in the unit cube for methods that move members of a population: continuous ones for every kind of parameter.

Numbers, whole numbers, steps, booleans and ordinals are one column each. A categorical is one column a choice, the largest wins: no
order is imposed on choices. A point tells its place back, whoever proposed it, so that no place need be kept beside the trials: where
the point leaves room (the cell of a discrete value, the losing columns of a choice, an inactive parameter) the place is drawn in it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.parameters import IntParameter
from services.domain.space import Point, Space

Array = NDArray[np.float64]
MOST_LEVELS = 64
ROOM = 0.8  # share of a cell that is drawn in: most steps of far less than a cell stay in it


class Places:
    """Between points and places.

    Attributes:
        size: columns.
        groups: (size,) the parameter, or vector item, that each column belongs to.
        is_real: (size,) columns without cells.
    """

    def __init__(self, space: Space) -> None:
        self._codec = Codec(space)
        self._choices: list[tuple[int, slice, int]] = []  # column of the codec, columns here, how many
        self._cells: list[tuple[int, int, Any]] = []  # column here, levels, parameter
        single, here, groups, real = [], [], list[int](), list[bool]()
        for j, coordinate in enumerate(self._codec.coordinates):
            levels, place = coordinate.levels, len(groups)
            if coordinate.is_categorical and (levels or 1) > 1:
                self._choices.append((j, slice(place, place + (levels or 1)), levels or 1))
                groups += [j] * (levels or 1)
                real += [False] * (levels or 1)
                continue
            single.append(j)
            here.append(place)
            if levels is not None and 1 < levels <= MOST_LEVELS:
                self._cells.append((place, levels, coordinate.parameter))
            groups.append(j)
            real.append(levels is None or levels > MOST_LEVELS)
        self._single, self._here = np.array(single, dtype=int), np.array(here, dtype=int)
        self.groups, self.is_real = np.array(groups, dtype=int), np.array(real, dtype=bool)
        self.size = len(groups)
        self.has_room = bool(self._choices or self._cells or any(p.when for p in space.parameters))

    def point(self, place: Array) -> Point:
        """The point at a (size,) place; what lies outside the cube counts as its nearest edge."""
        row = np.empty(self._codec.dimensions)
        row[self._single] = place[self._here]
        for column, choices, levels in self._choices:
            row[column] = (int(np.argmax(place[choices])) + 0.5) / levels
        return self._codec.decode(row)

    def place(self, point: Point, rng: np.random.Generator) -> Array:
        """A (size,) place of a point."""
        row, found = self._codec.encode(point), np.empty(self.size)
        found[self._here] = row[self._single]
        for column, levels, parameter in self._cells:
            low, high = _cell(parameter, found[column], levels)
            found[column] += (rng.random() - 0.5) * ROOM * (high - low)
        for column, choices, levels in self._choices:
            values = rng.random(levels) * ROOM / 2
            values[min(int(row[column] * levels), levels - 1)] += 1 - ROOM / 2
            found[choices] = values
        if self.has_room:
            inactive = ~self._codec.active(point)[self.groups]
            found[inactive] = rng.random(int(inactive.sum()))
        return np.clip(found, 0.0, 1.0)


def _cell(parameter: Any, at: float, levels: int) -> tuple[float, float]:
    """The ends of the cell around its centre."""
    if isinstance(parameter, IntParameter) and parameter.scale == "log":
        low, high = math.log(parameter.min - 0.5), math.log(parameter.max + 0.5)
        value = round(math.exp(low + at * (high - low)))
        return (math.log(value - 0.5) - low) / (high - low), (math.log(value + 0.5) - low) / (high - low)
    return at - 0.5 / levels, at + 0.5 / levels


def reflected(place: Array) -> Array:
    """A place folded back into the cube at its walls, however far outside."""
    folded = np.mod(place, 2.0)
    return np.asarray(np.minimum(folded, 2.0 - folded))

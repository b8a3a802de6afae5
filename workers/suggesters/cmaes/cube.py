"""The coordinates that CMA-ES moves: numbers around 0, ordered levels as whole numbers, one for each of a few choices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec, Coordinate
from services.domain.parameters import FloatParameter
from services.domain.space import Point, Space

Array = NDArray[np.float64]

FEW_LEVELS = 64
FEW_CHOICES = 3


class Cube:
    """A space as a box around 0.

    Attributes:
        size: how many coordinates there are.
        lower, upper: (size,) bounds; widths: (size,) their distances.
        whole: the coordinates that are whole numbers.
        steps: how many coordinates are whole numbers or stand for a choice.
        free: how many choices each categorical parameter has that has more than a few: it is no coordinate.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        self._codec = Codec(space)
        self._plain: list[tuple[int, int]] = []
        self._whole: list[tuple[int, int, int]] = []
        self._hot: list[tuple[int, int, int]] = []
        lower: list[float] = []
        upper: list[float] = []
        self._free: list[tuple[int, int]] = []
        moved = [c for c in self._codec.coordinates if not (c.is_categorical and (c.levels or 0) > FEW_CHOICES)]
        for j, coordinate in enumerate(self._codec.coordinates):
            levels, place = coordinate.levels or 0, len(lower)
            if coordinate.is_categorical and levels > FEW_CHOICES and len(moved) > 1:
                self._free.append((j, levels))
            elif coordinate.is_categorical and levels > 1:
                self._hot.append((j, place, levels))
                lower += [-0.5] * levels
                upper += [0.5] * levels
            elif _is_whole(coordinate):
                self._whole.append((j, place, levels))
                lower.append(-(levels // 2) - 0.5)
                upper.append(levels - levels // 2 - 0.5)
            else:
                self._plain.append((j, place))
                lower.append(-0.5)
                upper.append(0.5)
        self.lower, self.upper = np.array(lower), np.array(upper)
        self.widths = self.upper - self.lower
        self.size = len(lower)
        self.whole = [place for _, place, _ in self._whole]
        self.steps = len(self.whole) + sum(levels for *_, levels in self._hot)
        self.free = [levels for _, levels in self._free]
        self._index()

    def _index(self) -> None:
        self._plain_columns = np.array([j for j, _ in self._plain], dtype=np.intp)
        self._plain_places = np.array([place for _, place in self._plain], dtype=np.intp)
        self._whole_columns = np.array([j for j, *_ in self._whole], dtype=np.intp)
        self._whole_places = np.array(self.whole, dtype=np.intp)
        self._levels = np.array([levels for *_, levels in self._whole], dtype=np.float64)
        self._middles = self._levels // 2
        self._linear = self._linear_floats()

    def _linear_floats(self) -> tuple[list[str], Array, Array] | None:
        """Names and bounds where every parameter is a plain number on a linear scale: those are read all at once."""
        parameters = self._space.parameters
        if not all(
            isinstance(p, FloatParameter) and p.scale == "linear" and p.size is None and not p.when for p in parameters
        ):
            return None
        bounds = np.array([(p.min, p.max) for p in parameters if isinstance(p, FloatParameter)])
        return [p.name for p in parameters], bounds[:, 0], bounds[:, 1]

    @property
    def has_choices(self) -> bool:
        """Whether a parameter is categorical."""
        return bool(self._hot or self._free)

    def point(self, x: Array, picks: Sequence[int] = ()) -> Point:
        """The point at (size,) coordinates in the box, with a choice for each `free` parameter."""
        if self._linear is not None:
            names, low, high = self._linear
            return dict(zip(names, np.clip(low + (x + 0.5) * (high - low), low, high).tolist(), strict=True))
        row = np.empty(self._codec.dimensions)
        row[self._plain_columns] = x[self._plain_places] + 0.5
        row[self._whole_columns] = (np.rint(x[self._whole_places]) + self._middles + 0.5) / self._levels
        for j, place, levels in self._hot:
            row[j] = (int(np.argmax(x[place : place + levels])) + 0.5) / levels
        for (j, levels), pick in zip(self._free, picks, strict=True):
            row[j] = (pick + 0.5) / levels
        return self._codec.decode(row)

    def coordinates(self, point: Point) -> Array:
        """(size,) coordinates of a point."""
        row, x = self._codec.encode(point), np.empty(self.size)
        x[self._plain_places] = row[self._plain_columns] - 0.5
        x[self._whole_places] = np.floor(row[self._whole_columns] * self._levels) - self._middles
        for j, place, levels in self._hot:
            x[place : place + levels] = -0.5
            x[place + min(int(row[j] * levels), levels - 1)] = 0.5
        return x

    def picks(self, point: Point) -> list[int | None]:
        """The choice of each `free` parameter; None where it is inactive."""
        row, active = self._codec.encode(point), self._codec.active(point)
        return [min(int(row[j] * levels), levels - 1) if active[j] else None for j, levels in self._free]

    def settled(self, x: Array) -> Array:
        """(…, size) coordinates with whole numbers rounded, as a point at them has."""
        if not self.whole:
            return x
        x = np.array(x)
        x[..., self._whole_places] = np.rint(x[..., self._whole_places])
        return x

    def inactive(self, point: Point) -> NDArray[np.bool_] | None:
        """(size,) which coordinates a point has nothing to do with; None where all matter."""
        if len(point) == len(self._space.parameters):
            return None
        active, mask = self._codec.active(point), np.zeros(self.size, dtype=bool)
        mask[self._plain_places] = ~active[self._plain_columns]
        mask[self._whole_places] = ~active[self._whole_columns]
        for j, place, levels in self._hot:
            mask[place : place + levels] = not active[j]
        return mask


def _is_whole(coordinate: Coordinate) -> bool:
    """Whether it has a few equal cells in order; those of a logarithmic scale are not equal."""
    has_few = coordinate.levels is not None and 1 < coordinate.levels <= FEW_LEVELS
    return has_few and getattr(coordinate.parameter, "scale", "linear") == "linear"

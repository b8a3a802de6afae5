"""Where a direct search looks: polls on a mesh, points of a ball, lines; all in the coordinates of a `Codec`.

Polls follow Abramson, Audet, Dennis, Le Digabel 2009 (OrthoMADS: the columns of a Householder matrix and their opposites, rounded to
the mesh) and Audet, Le Digabel, Tribes 2019 (granular variables: a discrete coordinate never moves by less than one level).
The ball is the covering step of Audet, Bouchet, Bourdin 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec, Coordinate, from_unit, to_unit
from services.domain.parameters import IntParameter

Array = NDArray[np.float64]


class Mesh:
    """The moves that a space allows.

    Args:
        codec: of the space.
    """

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        several = [c.levels is None or c.levels > 1 for c in codec.coordinates]
        categorical = np.array([c.is_categorical for c in codec.coordinates], dtype=bool)
        self._ordered = np.array(several, dtype=bool) & ~categorical
        self._categorical = np.array(several, dtype=bool) & categorical
        self.is_discrete = all(c.levels is not None for c in codec.coordinates)
        cells = [1.0 / c.levels for c, o in zip(codec.coordinates, self._ordered, strict=True) if o and c.levels]
        self.smallest_cell = min(cells, default=1.0)

    def ordered(self, point: Mapping[str, Any]) -> NDArray[np.int_]:
        """Columns that have a direction and belong to a point."""
        return np.flatnonzero(self._ordered & self.codec.active(point))

    def poll(self, point: Mapping[str, Any], frame: float, rng: np.random.Generator, most: int | None = None) -> Array:
        """(2m, d) rows around a point: a random orthogonal basis of its m ordered columns and its opposite.

        Args:
            frame: largest move of a coordinate, in (0, 1]; the mesh size is min(frame, frame²).
            rng: draws the basis.
            most: so many rows only.
        """
        columns, centre = self.ordered(point), self.codec.encode(point)
        if not len(columns):
            return np.empty((0, len(centre)))
        unit = rng.standard_normal(len(columns))
        unit /= np.linalg.norm(unit)
        basis = np.eye(len(columns)) - 2.0 * np.outer(unit, unit)
        directions = np.stack([basis, -basis], axis=1).reshape(-1, len(columns))[:most]
        return np.array([self._moved(centre, columns, direction, frame) for direction in directions])

    def _moved(self, centre: Array, columns: NDArray[np.int_], direction: Array, frame: float) -> Array:
        row, mesh = centre.copy(), min(frame, frame * frame)
        for j, share in zip(columns, direction / np.abs(direction).max(), strict=True):
            coordinate = self.codec.coordinates[j]
            if coordinate.levels is None:
                row[j] += round(frame * share / mesh) * mesh
            else:
                row[j] = self._whole_move(coordinate, centre[j], frame * share, abs(share) >= 0.5)
        return np.clip(row, 0.0, 1.0)

    def _whole_move(self, coordinate: Coordinate, place: float, move: float, must: bool) -> float:
        """The admissible place nearest to a move; at least one level away if it must."""
        parameter = coordinate.parameter
        there = float(to_unit(parameter, from_unit(parameter, np.clip([place + move], 0.0, 1.0))))
        if there != place or not must:
            return there
        if isinstance(parameter, IntParameter) and parameter.scale == "log":
            value = from_unit(parameter, np.array([place])) + (1 if move > 0 else -1)
            return float(to_unit(parameter, min(max(value, parameter.min), parameter.max)))
        cell = 1.0 / (coordinate.levels or 1)
        return float(np.clip(place + (cell if move > 0 else -cell), cell / 2, 1.0 - cell / 2))

    def alternatives(self, point: Mapping[str, Any]) -> Array:
        """(c, d) rows: every other choice of each categorical of a point, one changed at a time."""
        centre, found = self.codec.encode(point), []
        for j in np.flatnonzero(self._categorical & self.codec.active(point)):
            levels = self.codec.coordinates[j].levels or 1
            for place in (np.arange(levels) + 0.5) / levels:
                if abs(place - centre[j]) > 0.25 / levels:
                    row = centre.copy()
                    row[j] = place
                    found.append(row)
        return np.array(found).reshape(len(found), len(centre))

    def in_ball(self, point: Mapping[str, Any], radius: float, rng: np.random.Generator) -> Array:
        """(d,) uniform in a ball around a point; now and then with another choice of one categorical."""
        columns, row = self.ordered(point), self.codec.encode(point)
        if len(columns):
            row[columns] += _direction(len(columns), rng) * radius * rng.random() ** (1.0 / len(columns))
        others = self.alternatives(point)
        if len(others) and (not len(columns) or rng.random() < 0.25):
            changed = others[int(rng.integers(len(others)))]
            choice = np.flatnonzero(self._categorical & (changed != self.codec.encode(point)))
            row[choice] = changed[choice]
        return np.clip(row, 0.0, 1.0)

    def on_line(self, point: Mapping[str, Any], distance: float, rng: np.random.Generator) -> Array:
        """(d,) at a distance from a point, in a random direction."""
        columns, row = self.ordered(point), self.codec.encode(point)
        if len(columns):
            row[columns] += _direction(len(columns), rng) * distance
        return np.clip(row, 0.0, 1.0)


def _direction(size: int, rng: np.random.Generator) -> Array:
    normal = rng.standard_normal(size)
    return np.asarray(normal / np.linalg.norm(normal))

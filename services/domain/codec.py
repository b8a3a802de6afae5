"""Between points and arrays: every numeric, ordered or categorical parameter is one coordinate (a vector: `length` of them).

A point becomes a row in the unit cube. Numbers go through their scale; whole numbers, steps, booleans and ordinals own equal
cells of [0, 1], so that end values get the same share as inner ones; a categorical owns one cell for each choice.
Inactive children stand at the middle. Every row of the cube decodes to a valid point, parameter constraints aside.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from .parameters import (
    BoolParameter,
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    OrdinalParameter,
    Parameter,
    VectorParameter,
    same,
)
from .space import Point, Space

Array = NDArray[np.float64]
ENCODABLE = frozenset({"float", "int", "bool", "ordinal", "categorical", "vector"})
LARGEST_EXPONENT = 709.0  # whose exponential is still a number


@dataclass(frozen=True, slots=True)
class Coordinate:
    """One column of the array.

    Attributes:
        parameter: the parameter it belongs to.
        levels: how many cells it has; None for a continuous one.
        is_categorical: whether its cells have no order.
        item: place in a vector, 0 otherwise.
    """

    parameter: Parameter
    levels: int | None
    is_categorical: bool
    item: int = 0


class Codec:
    """A space as the unit cube.

    Attributes:
        coordinates: the columns; slices: each parameter's columns.

    Args:
        space: all its parameters must be `ENCODABLE`.

    Raises:
        ValueError: a parameter has no numeric code (tokens, permutation, text).
    """

    encodable = ENCODABLE

    def __init__(self, space: Space) -> None:
        self.space = space
        foreign = [p.name for p in space.parameters if p.type not in self.encodable]
        if foreign:
            raise ValueError(f"parameter {foreign[0]!r} has no numeric code")
        blocks = [self._coordinates(p) for p in space.parameters]
        self.coordinates: tuple[Coordinate, ...] = tuple(c for block in blocks for c in block)
        ends = np.cumsum([len(block) for block in blocks]).tolist()
        names = [p.name for p in space.parameters]
        self.slices: dict[str, slice] = {
            name: slice(end - len(block), end) for name, block, end in zip(names, blocks, ends, strict=True)
        }
        plain = [p for p in space.parameters if is_plain(p) and not p.when]
        self._plain = [p.name for p in plain]
        self._plain_columns = np.array([self.slices[name].start for name in self._plain], dtype=np.int64)
        self._low, self._high = np.array([(p.min, p.max) for p in plain]).reshape(-1, 2).T
        self._is_conditional = any(p.when for p in space.parameters)
        self._others = [p for p in space.ordered if p.when or not is_plain(p)]

    @property
    def dimensions(self) -> int:
        """How many coordinates there are."""
        return len(self.coordinates)

    @property
    def groups(self) -> NDArray[np.int64]:
        """(d,) which lengthscale each column shares: its own here."""
        return np.arange(self.dimensions)

    def _coordinates(self, parameter: Parameter) -> list[Coordinate]:
        if isinstance(parameter, VectorParameter):
            return [Coordinate(parameter, None, False, item) for item in range(parameter.length)]
        return [Coordinate(parameter, parameter.size, isinstance(parameter, CategoricalParameter))]

    def _to_unit(self, parameter: Parameter, value: Any) -> Array | float:
        return to_unit(parameter, value)

    def _from_unit(self, parameter: Parameter, unit: Array) -> Any:
        return from_unit(parameter, unit)

    def _snapped(self, parameter: Parameter, columns: Array) -> Array:
        """(n, w) coordinates of the values that a parameter's columns stand for."""
        levels = None if isinstance(parameter, VectorParameter) else parameter.size
        return columns if levels is None else _snapped(parameter, columns, levels)

    def encode(self, point: Mapping[str, Any]) -> Array:
        """A point as (d,) coordinates: the centres of cells for discrete ones, 0.5 for inactive ones."""
        row = np.full(self.dimensions, 0.5)
        if self._plain:
            values = np.array([point.get(name, math.nan) for name in self._plain], dtype=np.float64)
            places = np.clip((values - self._low) / (self._high - self._low), 0.0, 1.0)
            row[self._plain_columns] = np.where(np.isnan(places), 0.5, places)
        for parameter in self._others:
            if parameter.name in point:
                row[self.slices[parameter.name]] = self._to_unit(parameter, point[parameter.name])
        return row

    def encode_many(self, points: Sequence[Mapping[str, Any]]) -> Array:
        """(n, d) coordinates of n points."""
        return np.array([self.encode(p) for p in points]).reshape(len(points), self.dimensions)

    def active(self, point: Mapping[str, Any]) -> NDArray[np.bool_]:
        """(d,) which coordinates belong to active parameters."""
        mask = np.zeros(self.dimensions, dtype=bool)
        for name in point:
            mask[self.slices[name]] = True
        return mask

    def decode(self, row: Array) -> Point:
        """The point at (d,) coordinates; values outside [0, 1] count as the nearest edge. Inactive parameters are left out."""
        unit = np.clip(np.asarray(row, dtype=np.float64), 0.0, 1.0)
        values = self._low + unit[self._plain_columns] * (self._high - self._low)
        found: Point = dict(zip(self._plain, np.clip(values, self._low, self._high).tolist(), strict=True))
        for parameter in self._others:
            if not self._is_conditional or self.space.is_active(parameter, found):
                found[parameter.name] = self._from_unit(parameter, unit[self.slices[parameter.name]])
        return self.space.sorted(found)

    def snap(self, row: Array) -> Array:
        """The coordinates of the admissible point nearest to a row, as `encode(decode(row))`."""
        return self.encode(self.decode(row))

    def snap_many(self, rows: Array) -> Array:
        """(n, d): `snap` of each row."""
        found = np.clip(rows, 0.0, 1.0)
        for parameter in self.space.parameters:
            columns = self.slices[parameter.name]
            found[:, columns] = self._snapped(parameter, found[:, columns])
        active = np.ones(found.shape, dtype=bool)
        for parameter in self.space.ordered:
            columns = self.slices[parameter.name]
            for parent, allowed in (parameter.when or {}).items():
                at = self.slices[parent].start
                wanted = [float(np.ravel(to_unit(self.space.by_name[parent], value))[0]) for value in allowed]
                fits = np.isclose(found[:, at][:, None], wanted, rtol=0.0, atol=1e-12).any(1) & active[:, at]
                active[:, columns] &= fits[:, None]
        found[~active] = 0.5
        return found


def is_plain(parameter: Parameter) -> TypeGuard[FloatParameter]:
    """Whether its values are spread evenly over a range."""
    return isinstance(parameter, FloatParameter) and parameter.scale == "linear" and parameter.size is None


def to_unit(parameter: Parameter, value: Any) -> Array | float:
    """A value's place in [0, 1]; an array of them for a vector."""
    match parameter:
        case VectorParameter():
            width = parameter.max - parameter.min
            values = parameter.numbers(value)
            return np.full(len(values), 0.5) if width == 0 else np.clip((values - parameter.min) / width, 0.0, 1.0)
        case FloatParameter():
            return _float_to_unit(parameter, value)
        case IntParameter():
            return _int_to_unit(parameter, value)
        case BoolParameter():
            return 0.75 if value else 0.25
        case CategoricalParameter() | OrdinalParameter():
            place = next(i for i, choice in enumerate(parameter.choices) if same(choice, value))
            return (place + 0.5) / len(parameter.choices)
    raise ValueError(f"parameter {parameter.name!r} has no numeric code")


def from_unit(parameter: Parameter, unit: Array) -> Any:
    """The value at a place in [0, 1]."""
    match parameter:
        case VectorParameter():
            values = parameter.min + unit * (parameter.max - parameter.min)
            return parameter.written(np.clip(values, parameter.min, parameter.max))
        case FloatParameter():
            return _float_from_unit(parameter, float(unit[0]))
        case IntParameter():
            return _int_from_unit(parameter, float(unit[0]))
        case BoolParameter():
            return bool(unit[0] >= 0.5)
        case CategoricalParameter() | OrdinalParameter():
            return parameter.choices[_cell(float(unit[0]), len(parameter.choices))]
    raise ValueError(f"parameter {parameter.name!r} has no numeric code")


def _snapped(parameter: Parameter, units: Array, levels: int) -> Array:
    """(n,) coordinates of the values that a discrete parameter's coordinates stand for."""
    if isinstance(parameter, IntParameter) and parameter.scale == "log":
        low, high = math.log(parameter.min - 0.5), math.log(parameter.max + 0.5)
        values = np.clip(np.rint(np.exp(low + units * (high - low))), parameter.min, parameter.max)
        return np.asarray((np.log(values) - low) / (high - low))
    return np.asarray((np.minimum(np.floor(units * levels), levels - 1) + 0.5) / levels)


def _cell(unit: float, levels: int) -> int:
    return min(int(unit * levels), levels - 1)


def transformed(parameter: FloatParameter, value: float) -> float:
    """A value on the parameter's scale, along which the unit interval is even."""
    if parameter.scale == "log":
        return math.log(value)
    return math.log(value) - math.log1p(-value) if parameter.scale == "logit" else value


def _float_to_unit(parameter: FloatParameter, value: float) -> float:
    levels = parameter.size
    if levels is not None:
        place = 0 if parameter.step is None else round((value - parameter.min) / parameter.step)
        return (place + 0.5) / levels
    low, high = transformed(parameter, parameter.min), transformed(parameter, parameter.max)
    if high == low:  # so narrow that the scale cannot tell the ends apart
        return 0.5
    return min(max((transformed(parameter, value) - low) / (high - low), 0.0), 1.0)


def _float_from_unit(parameter: FloatParameter, unit: float) -> float:
    levels = parameter.size
    if levels is not None:
        return parameter.level(_cell(unit, levels))
    low, high = transformed(parameter, parameter.min), transformed(parameter, parameter.max)
    place = low + unit * (high - low)
    if parameter.scale == "log":
        place = math.exp(place)
    elif parameter.scale == "logit":
        place = 1.0 / (1.0 + math.exp(min(-place, LARGEST_EXPONENT)))
    return float(min(max(place, parameter.min), parameter.max))


def _int_to_unit(parameter: IntParameter, value: int) -> float:
    if parameter.scale == "log":
        low, high = math.log(parameter.min - 0.5), math.log(parameter.max + 0.5)
        return (math.log(value) - low) / (high - low)
    return ((value - parameter.min) // parameter.step + 0.5) / parameter.size


def _int_from_unit(parameter: IntParameter, unit: float) -> int:
    if parameter.scale == "log":
        low, high = math.log(parameter.min - 0.5), math.log(parameter.max + 0.5)
        value = round(math.exp(low + unit * (high - low)))
        return min(max(value, parameter.min), parameter.max)
    return parameter.level(_cell(unit, parameter.size))

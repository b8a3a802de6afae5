"""Which of many rows of the unit cube keep the parameter constraints, decided for all of them at once.

Only the parameters that a constraint names have a column, and the parents that decide whether those are active. A value is the one
that `from_unit` gives, to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .codec import LARGEST_EXPONENT, from_unit, is_plain, transformed
from .document import LARGEST_EXACT_INTEGER
from .expressions import Expression
from .parameters import BoolParameter, CategoricalParameter, FloatParameter, IntParameter, OrdinalParameter, Parameter
from .parameters import same as is_same
from .space import Point, Space

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


class Columns:
    """The part of a space that its constraints speak of, as a unit cube.

    Attributes:
        parameters: one for each column, parents before children.
        place: the column of each, by name.
    """

    def __init__(self, space: Space) -> None:
        self._space = space
        wanted = {name for expression in space.expressions for name in expression.names}
        for parameter in reversed(space.ordered):
            if parameter.name in wanted:
                wanted |= set(parameter.when or {})
        self.parameters = tuple(p for p in space.ordered if p.name in wanted)
        self.place = {p.name: j for j, p in enumerate(self.parameters)}
        self._others = [j for j, p in enumerate(self.parameters) if not is_plain(p)]
        ends = [(p.min, p.max) if is_plain(p) else (0.0, 1.0) for p in self.parameters]
        self._low, self._high = np.array(ends).reshape(-1, 2, 1).swapaxes(0, 1)
        self._conditions = {
            p.name: {
                parent: [_code(space.by_name[parent], value) for value in values] for parent, values in p.when.items()
            }
            for p in self.parameters
            if p.when
        }

    def keep(self, rows: Array) -> Mask:
        """(n,) whether the points of (n, k) rows keep every constraint, as `not space.broken(point)`."""
        codes = self._codes(rows)
        active = self._active(codes)
        found = np.ones(len(rows), dtype=bool)
        for expression in self._space.expressions:
            holds = expression.holds_many(codes, len(rows))
            applies = _applies(expression, active)
            found &= holds if applies is None else holds | ~applies
        return found

    def excesses(self, rows: Array) -> Array:
        """(n, m) by how much the points of (n, k) rows break each of m constraints; 0 where it is kept or does not apply."""
        codes = self._codes(rows)
        active = self._active(codes)
        found = np.zeros((len(rows), len(self._space.expressions)))
        for column, expression in zip(found.T, self._space.expressions, strict=True):
            is_broken, applies = ~expression.holds_many(codes, len(rows)), _applies(expression, active)
            is_broken = is_broken if applies is None else is_broken & applies
            if is_broken.any():
                excess = np.maximum(expression.excess_many(codes, len(rows)), 1e-300)
                column[is_broken] = excess[is_broken]
        return found

    def point(self, row: Array, value_of: Callable[[Parameter], Any]) -> Point:
        """The point at a (k,) row; `value_of` gives the values of the parameters that have no column."""
        found: Point = {}
        for parameter in self._space.ordered:
            if self._space.is_active(parameter, found):
                place = self.place.get(parameter.name)
                found[parameter.name] = (
                    value_of(parameter) if place is None else from_unit(parameter, row[place : place + 1])
                )
        return self._space.sorted(found)

    def _codes(self, rows: Array) -> dict[str, Array]:
        units = np.ascontiguousarray(rows.T)
        found = np.minimum(np.maximum(self._low + units * (self._high - self._low), self._low), self._high)
        for j in self._others:
            found[j] = codes(self.parameters[j], units[j])
        return dict(zip(self.place, found, strict=True))

    def _active(self, codes: dict[str, Array]) -> dict[str, Mask]:
        """(n,) where each conditional parameter is active; the others always are."""
        found: dict[str, Mask] = {}
        for name, conditions in self._conditions.items():
            fits = [np.isin(codes[parent], allowed) for parent, allowed in conditions.items()]
            fits += [found[parent] for parent in conditions if parent in found]
            found[name] = np.logical_and.reduce(fits)
        return found


def codes(parameter: Parameter, units: Array) -> Array:
    """(n,) numbers at (n,) places in [0, 1]: the values of numeric parameters, the places of choices."""
    match parameter:
        case FloatParameter():
            return _reals(parameter, units) if parameter.size is None else _steps(parameter, units, parameter.size)
        case IntParameter(scale="log"):
            low, high = math.log(parameter.min - 0.5), math.log(parameter.max + 0.5)
            return np.clip(np.rint(_exponentials(low + units * (high - low))), parameter.min, parameter.max)
        case IntParameter() if parameter.max - parameter.min > LARGEST_EXACT_INTEGER:  # floats cannot count there
            return np.array([float(from_unit(parameter, units[i : i + 1])) for i in range(len(units))])
        case IntParameter():
            return parameter.min + _cells(units, parameter.size) * parameter.step
        case BoolParameter():
            return np.where(units >= 0.5, 1.0, 0.0)
        case CategoricalParameter() | OrdinalParameter():
            return _cells(units, len(parameter.choices))
    raise ValueError(f"parameter {parameter.name!r} is no column")


def _reals(parameter: FloatParameter, units: Array) -> Array:
    low, high = (transformed(parameter, end) for end in (parameter.min, parameter.max))
    found = low + units * (high - low)
    if parameter.scale == "log":
        found = _exponentials(found)
    elif parameter.scale == "logit":
        found = 1.0 / (1.0 + _exponentials(np.minimum(-found, LARGEST_EXPONENT)))
    return np.asarray(np.minimum(np.maximum(found, parameter.min), parameter.max))


def _steps(parameter: FloatParameter, units: Array, levels: int) -> Array:
    if parameter.step is None:
        return np.full(len(units), parameter.min)
    return np.asarray(np.minimum(parameter.min + _cells(units, levels) * parameter.step, parameter.max))


def _exponentials(exponents: Array) -> Array:
    """By the C library, number by number: NumPy's differ in the last bit from machine to machine."""
    return np.array(list(map(math.exp, exponents.tolist())), dtype=np.float64)


def _cells(units: Array, levels: int) -> Array:
    return np.asarray(np.minimum(np.floor(units * levels), levels - 1.0))


def _code(parent: Parameter, value: Any) -> float:
    """What stands in the column of a parent that has this value."""
    if isinstance(parent, (CategoricalParameter, OrdinalParameter)):
        return float(next(i for i, choice in enumerate(parent.choices) if is_same(choice, value)))
    return float(value)


def _applies(expression: Expression, active: dict[str, Mask]) -> Mask | None:
    """(n,) whether all the parameters that a constraint names are active; None where they always are."""
    masks = [active[name] for name in expression.names if name in active]
    return np.asarray(np.logical_and.reduce(masks)) if masks else None

"""Drawing points: any parameter type, conditions and constraints kept, finite spaces without repeats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .codec import ENCODABLE, Array, from_unit
from .columns import Columns
from .parameters import Parameter, PermutationParameter, TextParameter, TokensParameter, VectorParameter
from .space import Point, Space, point_key
from .walk import Walk

TRIES = 20_000
FIRST_BLOCK = 64
MOST_NUMBERS = 100_000  # in a block
FIRST_STEPS = 120
STEPS = 24
DRAWS = 200
CONSTRAINED_DRAWS = 60
MOST_LISTED = 200_000


def generator(seed: int, number: int, purpose: str) -> np.random.Generator:
    """A generator derived from (study seed, trial number, purpose); PCG64, stable across numpy versions."""
    digest = hashlib.blake2b(f"{seed}/{number}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def draw(space: Space, rng: np.random.Generator) -> Point | None:
    """A random point that keeps the parameter constraints; None if none was found.

    Uniform in each parameter's own scale among the points that keep them. Where fewer than about one point in `TRIES` keeps them,
    nearly so (`Walk`).
    """
    return next(iter(draw_many(space, rng, 1)), None)


def draw_many(space: Space, rng: np.random.Generator, count: int) -> list[Point]:
    """`count` random points as `draw` finds them; [] if none was found.

    Where there is too little room, each is a few steps from the one before.
    """
    if not space.constraints:
        return [draw_any(space, rng) for _ in range(count)]
    columns = Columns(space)
    found = [columns.point(row, lambda parameter: draw_value(parameter, rng)) for row in _kept(columns, rng, count)]
    if len(found) == count:
        return found
    walk = Walk(space, columns, rng)
    if not walk.settle():
        return found
    walk.move(FIRST_STEPS)
    while len(found) < count:
        walk.move(STEPS)
        found.append(columns.point(walk.row, lambda parameter: draw_value(parameter, rng)))
    return found


def _kept(columns: Columns, rng: np.random.Generator, count: int) -> list[Array]:
    """Up to `count` rows that keep the constraints, by rejection in blocks that grow; fewer where hardly any row keeps them."""
    found: list[Array] = []
    width = len(columns.parameters)
    tried, size = 0, FIRST_BLOCK
    while len(found) < count and tried < TRIES * (len(found) + 1):
        rows = rng.random((size, width))
        found += list(rows[columns.keep(rows)])
        tried += size
        size = min(size * 4, max(FIRST_BLOCK, MOST_NUMBERS // width))
    return found[:count]


def draw_any(space: Space, rng: np.random.Generator) -> Point:
    """A random point, whatever the parameter constraints say."""
    found: Point = {}
    for parameter in space.ordered:
        if space.is_active(parameter, found):
            found[parameter.name] = draw_value(parameter, rng)
    return space.sorted(found)


def draw_value(parameter: Parameter, rng: np.random.Generator) -> Any:
    """A random value: uniform in the parameter's own scale; for texts, one of those it starts from."""
    match parameter:
        case TokensParameter():
            length = int(rng.integers(parameter.min_length, parameter.max_length + 1))
            return [parameter.vocabulary[int(i)] for i in rng.integers(0, len(parameter.vocabulary), length)]
        case PermutationParameter():
            return [parameter.items[int(i)] for i in rng.permutation(len(parameter.items))]
        case TextParameter():
            return (
                parameter.initial[int(rng.integers(len(parameter.initial)))]
                if parameter.initial
                else parameter.centre()
            )
    width = parameter.length if isinstance(parameter, VectorParameter) else 1
    return from_unit(parameter, rng.random(width))


def unused(space: Space, has_point: Callable[[str], bool], rng: np.random.Generator) -> Point | None:
    """A point of a finite space that no trial has yet; None if all have been given.

    Draws first; when draws keep hitting known points, lists the space from a random place on, `MOST_LISTED` places of it at most.
    In a larger space so many known points in a row mean that what the constraints allow has been used up.
    """
    for point in _draws(space, rng):
        if not has_point(point_key(point)):
            return point
    size = space.size or 0
    found = listed(space, int(rng.integers(min(size, 2**62))), MOST_LISTED)
    return next((p for p in found if not has_point(point_key(p))), None)


def _draws(space: Space, rng: np.random.Generator) -> Iterator[Point]:
    first = draw(space, rng)
    if first is not None:
        yield first
        if space.constraints:
            yield from draw_many(space, rng, CONSTRAINED_DRAWS)
        else:
            yield from (draw_any(space, rng) for _ in range(DRAWS))


def listed(space: Space, start: int = 0, most: int | None = None) -> Iterator[Point]:
    """Every point of a finite space that keeps the constraints, from some place on and around; with conditions some come twice.

    Args:
        start: the first place.
        most: places looked at; all if absent.
    """
    size = space.size
    if size is None:
        return
    for i in range(size if most is None else min(size, most)):
        point = at(space, (start + i) % size)
        if not space.broken(point):
            yield point


def at(space: Space, place: int) -> Point:
    """The point of a finite space at a place, 0 to size - 1: the parameters as digits of a mixed-radix number."""
    found: Point = {}
    for parameter in space.ordered:
        size = parameter.size
        assert size is not None
        place, digit = divmod(place, size)
        if space.is_active(parameter, found):
            found[parameter.name] = value_at(parameter, digit)
    return space.sorted(found)


def value_at(parameter: Parameter, place: int) -> Any:
    """The value of a countable parameter at a place, 0 to size - 1."""
    if parameter.type in ENCODABLE:
        size = parameter.size or 1
        width = parameter.length if isinstance(parameter, VectorParameter) else 1
        if hasattr(parameter, "level"):
            return parameter.level(place)
        return from_unit(parameter, np.full(width, (place + 0.5) / size))
    if isinstance(parameter, PermutationParameter):
        return _permutation_at(parameter, place)
    assert isinstance(parameter, TokensParameter)
    return _tokens_at(parameter, place)


def _permutation_at(parameter: PermutationParameter, place: int) -> list[Any]:
    left = list(parameter.items)
    found = []
    for remaining in range(len(left), 0, -1):
        block = math.factorial(remaining - 1)
        index, place = divmod(place, block)
        found.append(left.pop(index))
    return found


def _tokens_at(parameter: TokensParameter, place: int) -> list[str | int]:
    base = len(parameter.vocabulary)
    for length in range(parameter.min_length, parameter.max_length + 1):
        if place < base**length:
            digits = []
            for _ in range(length):
                place, digit = divmod(place, base)
                digits.append(parameter.vocabulary[digit])
            return digits
        place -= base**length
    raise IndexError("beyond the last sequence")

"""Drawing points: any parameter type, conditions and constraints kept, finite spaces without repeats."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .codec import ENCODABLE, from_unit
from .parameters import Parameter, PermutationParameter, TextParameter, TokensParameter, VectorParameter
from .space import Point, Space, point_key

TRIES = 2000
EDGE_TRIES = 4000
MOST_LISTED = 200_000


def generator(seed: int, number: int, purpose: str) -> np.random.Generator:
    """A generator derived from (study seed, trial number, purpose); PCG64, stable across numpy versions."""
    digest = hashlib.blake2b(f"{seed}/{number}/{purpose}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def draw(space: Space, rng: np.random.Generator, tries: int = TRIES) -> Point | None:
    """A random point that keeps the parameter constraints, uniform among those that do; None if none was found.

    Where the constraints leave so little room that plain draws miss it, coordinates are also tried at their ends, where corners of
    feasible regions often lie.
    """
    for attempt in range(tries + (EDGE_TRIES if space.constraints else 0)):
        point = draw_any(space, rng, at_ends=attempt >= tries)
        if not space.constraints or not space.broken(point):
            return point
    return None


def draw_any(space: Space, rng: np.random.Generator, *, at_ends: bool = False) -> Point:
    """A random point, whatever the parameter constraints say."""
    found: Point = {}
    for parameter in space.ordered:
        if space.is_active(parameter, found):
            found[parameter.name] = draw_value(parameter, rng, at_ends=at_ends)
    return space.sorted(found)


def draw_value(parameter: Parameter, rng: np.random.Generator, *, at_ends: bool = False) -> Any:
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
    unit = rng.random(width)
    if at_ends:
        unit = np.where(rng.random(width) < 0.5, np.round(rng.random(width)), unit**3)
    return from_unit(parameter, unit)


def unused(space: Space, has_point: Callable[[str], bool], rng: np.random.Generator) -> Point | None:
    """A point of a finite space that no trial has yet; None if all have been given.

    Draws first; when draws keep hitting known points, lists the whole space in a random order.
    """
    for _ in range(200):
        point = draw(space, rng)
        if point is None:
            return None
        if not has_point(point_key(point)):
            return point
    size = space.size
    if size is None or size > MOST_LISTED:
        return draw(space, rng)
    return next((p for p in listed(space, int(rng.integers(size))) if not has_point(point_key(p))), None)


def listed(space: Space, start: int = 0) -> Iterator[Point]:
    """Every point of a finite space that keeps the constraints, from some place on and around; with conditions some come twice."""
    size = space.size
    if size is None:
        return
    for i in range(size):
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

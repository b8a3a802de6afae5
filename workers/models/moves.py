"""Small changes of a point in its own types: what annealing proposes and what a genetic algorithm mutates.

Polynomial mutation: Deb, Goyal 1996, "A Combined Genetic Adaptive Search (GeneAS) for Engineering Design", in the form that keeps to
bounds. 2-opt reversal: Croes 1958. All functions return new values and leave the given ones alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import from_unit, to_unit
from services.domain.parameters import (
    BoolParameter,
    CategoricalParameter,
    FloatParameter,
    IntParameter,
    Parameter,
    PermutationParameter,
    TokensParameter,
    VectorParameter,
    same,
)
from services.domain.sampling import draw_value, value_at
from services.domain.space import Point, Space

Array = NDArray[np.float64]

ORDER_MOVES = {"reverse": 0.6, "insert": 0.3, "swap": 0.1}
TOKEN_MOVES = {"replace": 0.5, "add": 0.25, "delete": 0.25}
FEW_LEVELS = 64
SHARE = 0.2
"""Standard deviation of a move at full heat, as a share of the range (card evolution 14)."""


def movable(space: Space, point: Mapping[str, Any]) -> list[Parameter]:
    """The active parameters that have more than one value, in the order of the study."""
    return [p for p in space.parameters if p.name in point and p.size != 1]


def settled(space: Space, values: Mapping[str, Any], rng: np.random.Generator) -> Point:
    """A point of these values: what is not active is left out, what is missing is drawn."""
    found: Point = {}
    for parameter in space.ordered:
        if space.is_active(parameter, found):
            name = parameter.name
            found[name] = values[name] if name in values else draw_value(parameter, rng)
    return space.sorted(found)


def units_of(parameter: Parameter, value: Any) -> Array:
    """(length,) places in the unit interval, one for anything but a vector."""
    return np.atleast_1d(np.asarray(to_unit(parameter, value), dtype=np.float64))


# -- orders and token sequences


def reordered(order: Sequence[Any], rng: np.random.Generator, weights: Mapping[str, float] = ORDER_MOVES) -> list[Any]:
    """The order after one reversal of a stretch, one item put elsewhere, or two exchanged; by `weights`, all > 0 in sum."""
    n = len(order)
    if n < 2:
        return list(order)
    i, j = int(rng.integers(n)), int(rng.integers(n - 1))
    j += j >= i
    move, found = _pick(weights, rng), list(order)
    if move == "reverse":
        low, high = min(i, j), max(i, j) + 1
        found[low:high] = found[low:high][::-1]
    elif move == "insert":
        found.insert(j, found.pop(i))
    else:
        found[i], found[j] = found[j], found[i]
    return found


def edited(
    parameter: TokensParameter,
    tokens: Sequence[str | int],
    rng: np.random.Generator,
    weights: Mapping[str, float] = TOKEN_MOVES,
) -> list[str | int]:
    """The sequence after one token is replaced by another, added or deleted, lengths kept to; itself where none is possible."""
    vocabulary, found = parameter.vocabulary, list(tokens)
    possible = {
        "replace": bool(found) and len(vocabulary) > 1,
        "add": len(found) < parameter.max_length,
        "delete": len(found) > parameter.min_length,
    }
    allowed = {move: weights.get(move, 0.0) for move, can in possible.items() if can}
    if not allowed:
        return found
    move = _pick(allowed, rng)
    if move == "add":
        found.insert(int(rng.integers(len(found) + 1)), vocabulary[int(rng.integers(len(vocabulary)))])
        return found
    place = int(rng.integers(len(found)))
    if move == "delete":
        del found[place]
    else:
        found[place] = _other(vocabulary, found[place], rng)
    return found


def _other(choices: Sequence[Any], value: Any, rng: np.random.Generator) -> Any:
    """Another one of at least two choices, evenly."""
    while same(found := choices[int(rng.integers(len(choices)))], value):
        continue
    return found


def _pick(weights: Mapping[str, float], rng: np.random.Generator) -> str:
    """A name by weight; evenly where all weights are 0."""
    names, at = list(weights), float(rng.random())
    total = sum(weights.values())
    if total <= 0:
        return names[int(at * len(names))]
    for name in names:
        at -= weights[name] / total
        if at < 0:
            return name
    return names[-1]


# -- numbers and choices


def reflected(units: Array) -> Array:
    """Places outside the unit interval, mirrored at its ends as often as it takes."""
    folded = np.mod(units, 2.0)
    return np.asarray(np.where(folded > 1.0, 2.0 - folded, folded))


def moved(
    parameter: Parameter,
    value: Any,
    heat: float,
    rng: np.random.Generator,
    weights: Mapping[str, float] | None = None,
    item: int | None = None,
) -> Any:
    """A neighbouring value; the same one where a step is thrown back at the end of the range.

    Steps between numbers, levels and choices are symmetric: as likely back as there.

    Args:
        heat: 0 to 1, temperature over first temperature; numbers move by about 0.2 of their range times its root.
        weights: of the kinds of move (`ORDER_MOVES`, `TOKEN_MOVES`).
        item: the element of a vector that moves; one at random if absent.
    """
    match parameter:
        case PermutationParameter():
            return reordered(value, rng, weights or ORDER_MOVES)
        case TokensParameter():
            return edited(parameter, value, rng, weights or TOKEN_MOVES)
        case BoolParameter():
            return not value
        case CategoricalParameter():
            return _other(parameter.choices, value, rng) if len(parameter.choices) > 1 else value
    units, deviation = units_of(parameter, value), SHARE * float(np.sqrt(heat))
    if is_stepped(parameter):
        levels = parameter.size or 1
        far = int(rng.geometric(min(1.0, 1.0 / max(1.0, deviation * levels))))
        place = (place_of(parameter, value) + (far if rng.random() < 0.5 else -far)) % (2 * levels)
        return value_at(parameter, place if place < levels else 2 * levels - 1 - place)
    at = int(rng.integers(len(units))) if item is None else item
    units[at] = reflected(units[at] + deviation * rng.standard_normal())
    return from_unit(parameter, units)


def is_stepped(parameter: Parameter) -> bool:
    """Whether it has few ordered levels, evenly spaced, so that a move counts them."""
    is_log = isinstance(parameter, IntParameter) and parameter.scale == "log"
    return parameter.size is not None and parameter.size <= FEW_LEVELS and not is_log


def place_of(parameter: Parameter, value: Any) -> int:
    """The place of a value among the levels of an ordered countable parameter, from 0."""
    if isinstance(parameter, IntParameter):
        return int((value - parameter.min) // parameter.step)
    if isinstance(parameter, FloatParameter) and parameter.step is not None:
        steps: float = (value - parameter.min) / parameter.step
        return round(steps)
    return int(float(units_of(parameter, value)[0]) * (parameter.size or 1))


def polynomial(units: Array, eta: float, rng: np.random.Generator) -> Array:
    """Polynomial mutation of places in the unit interval: large `eta`, small steps; what it gives stays inside."""
    u = rng.random(len(units))
    below, above = 1.0 - units, units  # one minus the share of the range towards the lower and the upper end
    power = eta + 1.0
    left = (2 * u + (1 - 2 * u) * below**power) ** (1 / power) - 1
    right = 1 - (2 * (1 - u) + (2 * u - 1) * above**power) ** (1 / power)
    return np.asarray(np.clip(units + np.where(u <= 0.5, left, right), 0.0, 1.0))


def mutated(parameter: Parameter, value: Any, eta: float, rng: np.random.Generator) -> Any:
    """Another value of a parameter that has more than one; of a vector, one element moves."""
    if not isinstance(parameter, (FloatParameter, IntParameter, VectorParameter)) and parameter.type != "ordinal":
        return moved(parameter, value, 1.0, rng)
    units = units_of(parameter, value)
    at = int(rng.integers(len(units)))
    units[at] = polynomial(units[at : at + 1], eta, rng)[0]
    found = from_unit(parameter, units)
    return neighbour(parameter, value, rng) if parameter.size is not None and found == value else found


def neighbour(parameter: Parameter, value: Any, rng: np.random.Generator) -> Any:
    """The level below or above of an ordered countable parameter that has more than one."""
    place, last = place_of(parameter, value), (parameter.size or 1) - 1
    up = place == 0 or (place < last and rng.random() < 0.5)
    return value_at(parameter, place + 1 if up else place - 1)

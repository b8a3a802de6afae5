"""Which trials lie close to a point."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .domain.codec import ENCODABLE, to_unit
from .domain.parameters import Parameter, same
from .domain.study import StudySpec
from .store.finished import Place

ABSENT = object()


def nearest(spec: StudySpec, point: Mapping[str, Any], others: Sequence[Place], most: int) -> list[tuple[Place, float]]:
    """The places closest to a point, closest first: root mean squared difference over all parameters in units of their ranges.

    A parameter that only one of two points has, or an unequal category, counts as 1. None for spaces with texts, tokens or orders.
    """
    if not others or any(p.type not in ENCODABLE for p in spec.parameters):
        return []
    total = sum(getattr(p, "length", 1) for p in spec.parameters)
    squares = np.zeros(len(others))
    for p in spec.parameters:
        squares += _squares(p, point.get(p.name, ABSENT), [o.parameters.get(p.name, ABSENT) for o in others])
    apart = [math.sqrt(square / total) for square in squares]
    closest = heapq.nsmallest(most, range(len(others)), key=lambda i: (apart[i], others[i].number))
    return [(others[i], apart[i]) for i in closest]


def _squares(parameter: Parameter, value: Any, others: list[Any]) -> np.ndarray:
    """(len(others),) squared difference in one parameter, summed over the entries of a vector."""
    if parameter.type == "categorical" or value is ABSENT:
        return np.array([0.0 if other is value or same(other, value) else 1.0 for other in others])
    found = np.ones(len(others))
    has = np.array([other is not ABSENT for other in others])
    if has.any():
        units = np.array([to_unit(parameter, other) for other in others if other is not ABSENT])
        found[has] = ((units.reshape(len(units), -1) - to_unit(parameter, value)) ** 2).sum(1)
    return found

"""Which trials lie close to a point."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .domain.codec import ENCODABLE, to_unit
from .domain.study import StudySpec
from .store.records import TrialRecord


def nearest(
    spec: StudySpec, point: dict[str, Any], others: list[TrialRecord], most: int
) -> list[tuple[TrialRecord, float]]:
    """The finished trials closest to a point: root mean squared difference over all parameters in units of their ranges.

    A parameter that only one of two points has, or an unequal category, counts as 1. None for spaces with texts, tokens or orders.
    """
    if any(p.type not in ENCODABLE for p in spec.parameters):
        return []
    total = sum(getattr(p, "length", 1) for p in spec.parameters)

    def apart(other: TrialRecord) -> float:
        found = 0.0
        for p in spec.parameters:
            a, b = point.get(p.name), other.parameters.get(p.name)
            if a is None or b is None:
                found += 0.0 if a is b else 1.0
            elif p.type == "categorical":
                found += float(a != b)
            else:
                found += float(np.sum((np.asarray(to_unit(p, a)) - np.asarray(to_unit(p, b))) ** 2))
        return math.sqrt(found / total)

    return sorted(((other, apart(other)) for other in others), key=lambda pair: (pair[1], pair[0].number))[:most]

"""Distances between points of mixed spaces."""

from __future__ import annotations

import math
from typing import Any

import pytest

from services.neighbours import nearest
from services.store.finished import Place
from tests.support.builders import study

MIXED = [
    {"name": "lr", "type": "float", "min": 1e-4, "max": 1, "scale": "log"},
    {"name": "kind", "type": "categorical", "choices": ["a", 1, True, None]},
    {"name": "w", "type": "vector", "length": 2, "min": -1, "max": 1},
    {"name": "p", "type": "float", "min": 0, "max": 1, "when": {"kind": ["a"]}},
]


def places(*points: dict[str, Any]) -> list[Place]:
    return [Place(i, point, {}) for i, point in enumerate(points, 1)]


def test_distances_are_shares_of_the_ranges() -> None:
    here = {"lr": 1e-2, "kind": "a", "w": [0.0, 0.0], "p": 0.5}
    found = nearest(
        study(parameters=MIXED),
        here,
        places(
            here,
            here | {"lr": 1e-1},  # a quarter of the log range
            here | {"w": [1.0, -1.0]},
            {"lr": 1e-2, "kind": None, "w": [0.0, 0.0]},  # another kind, and no p
        ),
        5,
    )
    assert [(place.number, distance) for place, distance in found] == [
        (1, 0.0),
        (2, pytest.approx(math.sqrt(0.25**2 / 5))),
        (3, pytest.approx(math.sqrt(2 * 0.5**2 / 5))),
        (4, pytest.approx(math.sqrt(2 / 5))),
    ]


def test_the_kind_none_is_a_value_and_true_is_not_one() -> None:
    spec = study(parameters=MIXED)
    here = {"lr": 1e-2, "kind": None, "w": [0.0, 0.0]}
    found = nearest(spec, here, places(here | {"kind": True}, here, here | {"kind": 1}), 3)
    assert [place.number for place, _ in found] == [2, 1, 3]
    assert found[0][1] == 0.0


def test_no_more_than_asked_for_and_none_where_there_is_no_distance() -> None:
    plane = study(parameters=[{"name": "x", "type": "float", "min": 0, "max": 1}])
    assert len(nearest(plane, {"x": 0.5}, places(*({"x": i / 10} for i in range(10))), 5)) == 5
    assert nearest(plane, {"x": 0.5}, [], 5) == []
    words = study(parameters=[{"name": "order", "type": "permutation", "items": ["a", "b"]}])
    assert nearest(words, {"order": ["a", "b"]}, places({"order": ["b", "a"]}), 5) == []

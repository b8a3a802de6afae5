"""Places in the cube stand for points, and points tell their places back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.suggesters import law
from tests.support.builders import study
from workers.models.positions import ROOM, Places, reflected


def test_places_and_points_agree_and_a_point_tells_its_place_back() -> None:
    space = study(**law.SPACES["mixed"]).space
    places, rng = Places(space), np.random.default_rng(1)
    assert places.size == 1 + 1 + 1 + 4 + 1 + 1 + 1 + 1 + 1
    for _ in range(300):
        point = places.point(rng.random(places.size))
        assert space.point(point) == point
        place = places.place(point, rng)
        again = places.point(place)
        assert {k: v for k, v in again.items() if not isinstance(v, float)} == {
            k: v for k, v in point.items() if not isinstance(v, float)
        }
        for key, value in point.items():
            if isinstance(value, float):
                assert again[key] == pytest.approx(value, rel=1e-9)


def test_real_places_are_exact() -> None:
    places = Places(study(**law.SPACES["vector"]).space)
    assert not places.has_room
    place = np.random.default_rng(2).random(4)
    np.testing.assert_allclose(places.place(places.point(place), np.random.default_rng(3)), place, atol=1e-15)


def test_walls_reflect_however_far_a_place_lies_outside() -> None:
    np.testing.assert_allclose(reflected(np.array([-0.2, 0.3, 1.3, 2.4, -1.1])), [0.2, 0.3, 0.7, 0.4, 0.9])


def test_a_place_is_drawn_in_the_cell_of_its_value_and_anywhere_where_nothing_is_said() -> None:
    parameters = [
        {"name": "n", "type": "int", "min": 0, "max": 3},
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c"]},
        {"name": "child", "type": "float", "min": 0, "max": 1, "when": {"kind": ["b"]}},
    ]
    places, rng = Places(study(parameters=parameters).space), np.random.default_rng(3)
    found = np.array([places.place({"n": 1, "kind": "c"}, rng) for _ in range(2000)])
    assert found[:, 0].min() == pytest.approx(0.375 - ROOM / 8, abs=0.01)
    assert found[:, 0].max() == pytest.approx(0.375 + ROOM / 8, abs=0.01)
    assert (found[:, 1:4].argmax(axis=1) == 2).all()
    assert found[:, 4].min() < 0.01
    assert found[:, 4].max() > 0.99
    assert list(places.is_real) == [False, False, False, False, True]
    assert list(places.groups) == [0, 1, 1, 1, 2]

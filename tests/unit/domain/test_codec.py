"""Spaces as the unit cube: every row is a valid point, every point keeps itself through the cube."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.codec import Codec, from_unit, to_unit
from services.domain.errors import Invalid
from services.domain.sampling import at, draw, draw_any, draw_many, generator, listed, unused
from services.domain.space import Space, point_key
from tests.support.builders import EVERY_TYPE, study

FINITE = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def numeric_parameter(draw_: st.DrawFn, name: str) -> dict[str, Any]:
    """Any encodable parameter."""
    kind = draw_(
        st.sampled_from(["linear", "log", "logit", "step", "int", "logint", "bool", "categorical", "ordinal", "vector"])
    )
    low, high = sorted((draw_(FINITE), draw_(FINITE)))
    match kind:
        case "linear":
            return {"name": name, "type": "float", "min": low, "max": high}
        case "log":
            a, b = sorted((draw_(st.floats(1e-12, 1e12)), draw_(st.floats(1e-12, 1e12))))
            return {"name": name, "type": "float", "min": a, "max": b, "scale": "log"}
        case "logit":
            a, b = sorted((draw_(st.floats(1e-6, 0.999)), draw_(st.floats(1e-6, 0.999))))
            return {"name": name, "type": "float", "min": a, "max": b, "scale": "logit"}
        case "step":
            return {
                "name": name,
                "type": "float",
                "min": low,
                "max": high,
                "step": max(1e-3, (high - low) / draw_(st.integers(1, 50))),
            }
        case "int":
            return {
                "name": name,
                "type": "int",
                "min": int(low),
                "max": int(high) + 1,
                "step": draw_(st.integers(1, 7)),
            }
        case "logint":
            return {
                "name": name,
                "type": "int",
                "min": draw_(st.integers(1, 9)),
                "max": draw_(st.integers(9, 10**6)),
                "scale": "log",
            }
        case "bool":
            return {"name": name, "type": "bool"}
        case "vector":
            return {"name": name, "type": "vector", "length": draw_(st.integers(1, 4)), "min": low, "max": high}
    choices = draw_(st.lists(st.integers(-5, 5) | st.text(max_size=3) | st.none(), min_size=1, max_size=6, unique=True))
    return {"name": name, "type": kind, "choices": choices}


@st.composite
def space(draw_: st.DrawFn) -> Space:
    """A space with conditions."""
    parameters = [draw_(numeric_parameter(f"p{i}")) for i in range(draw_(st.integers(1, 5)))]
    for i, parameter in enumerate(parameters[1:], 1):
        parent = parameters[i - 1]
        if parent["type"] in ("categorical", "ordinal") and draw_(st.booleans()):
            parameter["when"] = {parent["name"]: [parent["choices"][0]]}
    return study(parameters=parameters).space


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(space(), st.integers(0, 2**32))
def test_any_row_decodes_to_a_point_that_the_space_accepts_unchanged(found: Space, seed: int) -> None:
    codec, rng = Codec(found), np.random.default_rng(seed)
    for row in (
        rng.random(codec.dimensions),
        np.zeros(codec.dimensions),
        np.ones(codec.dimensions),
        rng.normal(size=codec.dimensions),
    ):
        point = codec.decode(row)
        assert found.point(point) == point


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(space(), st.integers(0, 2**32))
def test_a_point_keeps_itself_through_the_cube(found: Space, seed: int) -> None:
    codec = Codec(found)
    point = draw_any(found, np.random.default_rng(seed))
    row = codec.encode(point)
    assert np.all((row >= 0) & (row <= 1))
    again = codec.decode(row)
    assert again.keys() == point.keys()
    for name, value in point.items():
        if isinstance(value, float):
            parameter = found.by_name[name]
            assert again[name] == pytest.approx(value, rel=1e-9, abs=1e-9 * (parameter.max - parameter.min))  # type: ignore[union-attr]
        elif isinstance(value, list):
            np.testing.assert_allclose(again[name], value, rtol=1e-9, atol=1e-6)
        else:
            assert again[name] == value
    np.testing.assert_allclose(codec.snap(row), codec.encode(again), atol=1e-9)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(space(), st.integers(0, 2**32))
def test_a_row_is_decoded_and_encoded_value_by_value_to_the_last_bit(found: Space, seed: int) -> None:
    codec, rng = Codec(found), np.random.default_rng(seed)
    row = rng.random(codec.dimensions)
    point = codec.decode(row)
    assert point == {name: from_unit(found.by_name[name], row[codec.slices[name]]) for name in point}
    again = codec.encode(point)
    for name, columns in codec.slices.items():
        expected = to_unit(found.by_name[name], point[name]) if name in point else 0.5
        assert np.array_equal(again[columns], np.full(columns.stop - columns.start, expected))
    first = next(iter(point))
    alone = codec.encode({first: point[first]})
    assert np.array_equal(alone[codec.slices[first]], again[codec.slices[first]])
    assert np.all(np.delete(alone, np.r_[codec.slices[first]]) == 0.5)


def test_end_values_of_integers_get_the_same_share_as_inner_ones() -> None:
    codec = Codec(study(parameters=[{"name": "n", "type": "int", "min": 1, "max": 4}]).space)
    values = [codec.decode(np.array([u]))["n"] for u in np.linspace(0, 1, 4001)[:-1]]
    assert [values.count(n) for n in (1, 2, 3, 4)] == [1000] * 4


def test_what_has_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="no numeric code"):
        Codec(study(parameters=[EVERY_TYPE[-2]]).space)


def test_every_type_can_be_drawn_and_is_accepted() -> None:
    found = study(parameters=EVERY_TYPE).space
    for seed in range(50):
        point = draw(found, np.random.default_rng(seed))
        assert point is not None
        assert found.point(point) == point


def test_a_finite_space_lists_each_of_its_points() -> None:
    parameters = [
        {"name": "n", "type": "int", "min": 0, "max": 2},
        {"name": "t", "type": "tokens", "vocabulary": ["a", "b"], "min_length": 0, "max_length": 2},
        {"name": "o", "type": "permutation", "items": [1, 2, 3]},
        {"name": "s", "type": "float", "min": 0, "max": 1, "step": 0.5},
    ]
    found = study(parameters=parameters).space
    assert found.size == 3 * 7 * 6 * 3
    keys = {point_key(at(found, i)) for i in range(found.size)}
    assert len(keys) == found.size
    for point in listed(found):
        assert found.point(point) == point


def test_draws_keep_narrow_constraints_and_contradictions_are_refused() -> None:
    parameters = [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xyz"]
    narrow = study(parameters=parameters, parameter_constraints=["x + y + z <= 0.1"])
    narrow.check()
    point = draw(narrow.space, generator(1, 1, "test"))
    assert point is not None
    assert sum(point.values()) <= 0.1
    with pytest.raises(Invalid, match="no point"):
        study(parameters=parameters, parameter_constraints=["x > y", "y > x"]).check()


@pytest.mark.parametrize(
    "constraints",
    [["SUM <= 1"], ["SUM >= 15"], [f"x{i} < x{i + 1}" for i in range(9)], ["0.499 * 16 <= SUM <= 0.501 * 16"]],
    ids=["simplex", "corner", "order", "slice"],
)
def test_where_constraints_leave_little_room_points_are_still_found_and_differ(constraints: list[str]) -> None:
    names = [f"x{i}" for i in range(16)]
    texts = [text.replace("SUM", "(" + " + ".join(names) + ")") for text in constraints]
    parameters = [{"name": n, "type": "float", "min": 0, "max": 1} for n in names]
    made = study(parameters=parameters, parameter_constraints=texts)
    made.check()
    points = [draw(made.space, generator(1, n, "test")) for n in range(5)]
    assert points[0] == draw(made.space, generator(1, 0, "test"))
    assert len({point_key(p) for p in points if p is not None}) == 5
    for point in points:
        assert made.space.point(point) == point


def test_the_walk_through_a_narrow_place_forgets_its_start() -> None:
    names = [f"x{i}" for i in range(10)]
    parameters = [{"name": n, "type": "float", "min": 0, "max": 1} for n in names]
    space = study(parameters=parameters, parameter_constraints=[" + ".join(names) + " <= 1"]).space
    sums = [sum(p.values()) for p in draw_many(space, generator(1, 1, "test"), 300)]
    assert np.mean(sums) == pytest.approx(10 / 11, abs=0.02)  # of the uniform distribution on the simplex


def test_drawn_parents_never_call_for_a_constraint_that_does_not_hold() -> None:
    parameters = [
        {"name": "kind", "type": "categorical", "choices": ["a", "b"]},
        {"name": "n", "type": "int", "min": 0, "max": 999},
        {"name": "m", "type": "int", "min": 0, "max": 999, "when": {"kind": ["b"]}},
    ]
    space = study(parameters=parameters, parameter_constraints=["n == 7", "n + m == 900"]).space
    points = draw_many(space, generator(1, 1, "test"), 12)
    assert len(points) == 12
    assert all(space.point(p) == p for p in points)


@pytest.mark.parametrize("most", [99, 999])
def test_a_finite_space_whose_constraints_leave_ten_points_gives_ten(most: int) -> None:
    parameters = [{"name": n, "type": "int", "min": 0, "max": most} for n in "ab"]
    space = study(parameters=parameters, parameter_constraints=["a + b <= 3"]).space
    known: set[str] = set()
    for n in range(10):
        point = unused(space, known.__contains__, generator(1, n, "test"))
        assert point is not None
        known.add(point_key(point))
    assert len(known) == 10
    assert unused(space, known.__contains__, generator(1, 11, "test")) is None

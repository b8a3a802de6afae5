"""Constraints at many points at once: the same answers as point by point, and draws that stay uniform among what is allowed."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from services.domain.codec import Codec, from_unit
from services.domain.columns import Columns, codes
from services.domain.expressions import parse
from services.domain.sampling import draw, draw_any, draw_many, generator
from services.domain.space import Space
from tests.support.builders import study

NAMES = frozenset({"x", "y", "a b"})
NUMBERS = st.sampled_from([0.0, 1.0, -1.0, 2.0, 0.5, 3.0, 1e200, -1e300, 1e-300, 0.1]) | st.floats(-1e3, 1e3)


def term(depth: int) -> st.SearchStrategy[str]:
    """A term of the language, powers, quotients and calls included."""
    leaf = st.sampled_from(["x", "y", "`a b`"]) | st.sampled_from(["0", "1", "2", "0.5", "3", "1e200"])
    if depth == 0:
        return leaf
    part = term(depth - 1)
    return st.one_of(
        leaf,
        st.tuples(part, st.sampled_from(["+", "-", "*", "/", "**"]), part).map(lambda p: f"({p[0]} {p[1]} {p[2]})"),
        part.map(lambda p: f"-({p})"),
        part.map(lambda p: f"abs({p})"),
        st.tuples(st.sampled_from(["min", "max"]), st.lists(part, min_size=2, max_size=3)).map(
            lambda p: f"{p[0]}({', '.join(p[1])})"
        ),
    )


@st.composite
def comparison(draw_: st.DrawFn) -> str:
    """A chain of two or three terms that names a parameter."""
    parts = [draw_(term(3)) for _ in range(draw_(st.integers(2, 3)))]
    text = parts[0]
    for part in parts[1:]:
        text += f" {draw_(st.sampled_from(['<', '<=', '>', '>=', '==', '!=']))} {part}"
    return text if any(name in text for name in "xy`") else f"x + {text}"


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(comparison(), st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=6))
def test_columns_say_what_each_point_says_to_the_last_bit(text: str, rows: list[tuple[float, float, float]]) -> None:
    expression = parse(text, NAMES)
    points = [dict(zip(("x", "y", "a b"), row, strict=True)) for row in rows]
    columns = {name: np.array([p[name] for p in points]) for name in NAMES}
    assert expression.holds_many(columns, len(rows)).tolist() == [expression.holds(p) for p in points]
    assert expression.excess_many(columns, len(rows)).tolist() == [expression.excess(p) for p in points]


def test_where_arithmetic_has_no_value_a_column_is_false_also_for_an_inequality() -> None:
    values = np.array([0.0, -4.0, 4.0, 1e200])
    for text in ("1 / x != 7", "x ** 0.5 != 7", "x ** 2 != 7", "x ** -1 != 7"):
        expression = parse(text, NAMES)
        points = [{"x": value} for value in values.tolist()]
        assert expression.holds_many({"x": values}, 4).tolist() == [expression.holds(p) for p in points]
        assert not all(expression.holds(p) for p in points)


def test_an_expression_survives_the_way_to_another_process() -> None:
    expression = parse("`a b` * 2 <= min(x, y)", NAMES)
    point = {"x": 1.0, "y": 3.0, "a b": 0.4}
    assert expression.holds(point)
    again = pickle.loads(pickle.dumps(expression))  # noqa: S301
    assert (again.text, again.names, again.holds(point)) == (expression.text, expression.names, True)


PARAMETERS: list[dict[str, Any]] = [
    {"name": "real", "type": "float", "min": -0.3, "max": 7.1},
    {"name": "log", "type": "float", "min": 1e-5, "max": 3, "scale": "log"},
    {"name": "share", "type": "float", "min": 0.02, "max": 0.9, "scale": "logit"},
    {"name": "step", "type": "float", "min": -0.1, "max": 1.25, "step": 0.3},
    {"name": "one", "type": "float", "min": 2.5, "max": 2.5},
    {"name": "n", "type": "int", "min": -3, "max": 40, "step": 4},
    {"name": "wide", "type": "int", "min": -(2**53) + 1, "max": 2**53 - 1, "step": 3},
    {"name": "count", "type": "int", "min": 1, "max": 5000, "scale": "log"},
]


RARE = {
    "name": "rare",
    "type": "float",
    "min": 1e-310,
    "max": 0.5,
    "scale": "logit",
}  # odds that are no number upside down


@pytest.mark.parametrize("values", [*PARAMETERS, RARE], ids=lambda p: p["name"])
def test_a_column_has_the_value_that_the_point_gets(values: dict[str, Any]) -> None:
    parameter = study(parameters=[values]).space.parameters[0]
    units = np.concatenate([[0.0, 1.0, 0.5], np.random.default_rng(0).random(500)])
    assert codes(parameter, units).tolist() == [float(from_unit(parameter, u)) for u in units[:, None]]


CONDITIONAL: list[dict[str, Any]] = [
    {"name": "kind", "type": "categorical", "choices": ["a", None, 3]},
    {"name": "on", "type": "bool", "when": {"kind": ["a", None]}},
    {"name": "level", "type": "ordinal", "choices": ["low", "high"]},
    {"name": "x", "type": "float", "min": 0, "max": 1, "when": {"on": [True], "level": ["high"]}},
    {"name": "k", "type": "int", "min": 1, "max": 4},
    {"name": "y", "type": "float", "min": 0, "max": 1, "when": {"k": [2, 3]}},
    {"name": "z", "type": "float", "min": 1e-3, "max": 1, "scale": "log"},
    {"name": "order", "type": "permutation", "items": [1, 2, 3], "when": {"on": [False]}},
]


def test_rows_are_kept_where_their_points_break_nothing() -> None:
    space = study(parameters=CONDITIONAL, parameter_constraints=["x < y", "y ** 2 + z < 0.7", "k * z <= 1"]).space
    columns, rng = Columns(space), np.random.default_rng(1)
    assert {p.name for p in columns.parameters} == {"kind", "on", "level", "x", "k", "y", "z"}
    rows = rng.random((2000, 7))
    points = [columns.point(row, lambda parameter: [2, 1, 3]) for row in rows]
    assert all(space.point(p) == p for p in points if not space.broken(p))
    broken = np.array([bool(space.broken(p)) for p in points])
    assert 0.1 < broken.mean() < 0.9
    np.testing.assert_array_equal(columns.keep(rows), ~broken)
    np.testing.assert_array_equal(columns.excesses(rows).any(axis=1), broken)


def plain(count: int, *constraints: str) -> Space:
    """A cube of as many dimensions."""
    parameters = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(count)]
    return study(parameters=parameters, parameter_constraints=list(constraints)).space


@pytest.mark.parametrize("seed", range(3))
def test_draws_are_uniform_among_what_a_narrow_constraint_allows(seed: int) -> None:
    """The sum of a uniform point of a corner simplex of side s: (sum / s) ^ d is uniform; each coordinate is Beta."""
    space = plain(5, "x0 + x1 + x2 + x3 + x4 <= 0.6")  # one point in 1543 keeps it
    points = np.array([list(p.values()) for p in draw_many(space, generator(seed, 0, "test"), 300)])
    single = np.array([list(draw(space, generator(seed, n, "test")).values()) for n in range(1, 101)])
    for drawn in (points, single):
        assert stats.kstest((drawn.sum(axis=1) / 0.6) ** 5, "uniform").pvalue > 1e-3
        assert stats.kstest(drawn[:, seed] / 0.6, stats.beta(1, 5).cdf).pvalue > 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_draws_have_the_shares_of_a_filtered_plain_draw_with_conditions(seed: int) -> None:
    space = study(parameters=CONDITIONAL, parameter_constraints=["x < y", "y ** 2 + z < 0.7", "k * z <= 0.01"]).space
    free = Space(space.parameters)
    rng = np.random.default_rng(seed)
    expected = [p for p in (draw_any(free, rng) for _ in range(9_000)) if not space.broken(p)]
    found = draw_many(space, generator(seed, 1, "test"), len(expected))
    table = [[sum(_kind(p) == kind for p in points) for kind in range(6)] for points in (expected, found)]
    assert min(table[0]) > 10
    assert stats.chi2_contingency(table).pvalue > 1e-3


def _kind(point: dict[str, Any]) -> int:
    """Which of the conditional parameters are there."""
    return 2 * (("on" in point) + ("order" in point)) + ("y" in point)


@pytest.mark.parametrize("seed", range(3))
def test_plain_draws_are_uniform_in_the_scale_of_each_parameter(seed: int) -> None:
    space = study(parameters=[p for p in PARAMETERS if p["name"] not in ("one", "wide")]).space
    codec = Codec(space)
    rows = codec.encode_many([draw_any(space, generator(seed, n, "test")) for n in range(600)])
    for name, column in codec.slices.items():
        if name in ("real", "log", "share"):
            assert stats.kstest(rows[:, column.start], "uniform").pvalue > 1e-4
        elif name != "count":
            levels, counts = np.unique(rows[:, column], return_counts=True)
            assert len(levels) == space.by_name[name].size
            assert stats.chisquare(counts).pvalue > 1e-4


def test_a_space_with_little_room_costs_blocks_of_arithmetic_not_points() -> None:
    """What made draws slow: a point and a tree walked for each candidate. Now hardly any is made that is not returned."""
    space, made = plain(6, "x0 + x1 + x2 + x3 + x4 + x5 <= 1"), 0
    original = Columns.point

    def counted(self: Columns, *arguments: Any) -> Any:
        nonlocal made
        made += 1
        return original(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Columns, "point", counted)
        assert len(draw_many(space, generator(1, 1, "test"), 50)) == 50
    assert made == 50  # of 36 000 candidates

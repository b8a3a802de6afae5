"""How much room a constraint has left, and how much it is broken by."""

from __future__ import annotations

import pytest

from services.domain.expressions import MOST_EXCESS, parse

NAMES = frozenset({"x", "y"})


@pytest.mark.parametrize(
    ("text", "margin"),
    [
        ("x + y <= 1", -0.4),
        ("x + y <= 0.5", 0.1),
        ("y > x", -0.2),
        ("x >= y", 0.2),
        ("0 <= x <= 0.3", -0.1),  # the nearer side
        ("0.3 <= x <= 0.9", 0.1),
        ("x != y", 0.0),
        ("x * 2 == y", 0.0),
        ("x == y", 0.2),
        ("1 / (x - 0.2) < 3", MOST_EXCESS),
    ],
)
def test_a_margin_is_negative_where_there_is_room(text: str, margin: float) -> None:
    expression = parse(text, NAMES)
    values = {"x": 0.2, "y": 0.4}
    assert expression.margin(values) == pytest.approx(margin)
    assert expression.holds(values) == (expression.margin(values) <= 0)
    assert expression.excess(values) == pytest.approx(max(0.0, margin))

"""What a point is, and which expressions may constrain one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.document import canonical
from services.domain.errors import Invalid
from services.domain.expressions import parse
from services.domain.patching import patched
from services.domain.space import point_key
from services.domain.study import Study, StudySpec
from tests.support.builders import EVERY_TYPE, EVERY_VALUE, study, study_document

SPACE = study(parameters=EVERY_TYPE).space


def flaws(point: Any) -> set[str]:
    """The pointers of what is wrong with a point."""
    with pytest.raises(Invalid) as error:
        SPACE.point(point)
    return {e.pointer for e in error.value.errors}


def test_a_point_of_every_type_is_taken_and_keeps_its_order() -> None:
    shuffled = dict(reversed(EVERY_VALUE.items()))
    assert list(SPACE.point(shuffled)) == [p["name"] for p in EVERY_TYPE]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lr", 1.0), ("lr", "0.01"), ("lr", True), ("lr", float("nan")), ("quarter", 0.3), ("layers", 2.5), ("layers", 9),
        ("bias", 1), ("optimizer", "rmsprop"), ("optimizer", 1), ("size", "xl"), ("weights", [0, 0]), ("weights", [0, 0, 2]),
        ("weights", [0, 0, None]), ("words", []), ("words", ["d"]), ("words", "abc"), ("order", ["x", "y"]),
        ("order", ["x", "x", "y"]), ("order", [["x"], "y", "z"]), ("prompt", "no placeholder"), ("prompt", "{q}" * 100),
        ("prompt", 5), ("momentum", 2),
    ],
)  # fmt: skip
def test_each_wrong_value_is_named(name: str, value: Any) -> None:
    assert f"/parameters/{name}" in flaws(EVERY_VALUE | {name: value})


@pytest.mark.parametrize(
    ("fields", "flaw"),
    [
        ({"initial": ["ok {x}", "lost"], "placeholders": ["{x}"]}, "/parameters/0/initial/1: lost its placeholder {x}"),
        (
            {"initial": ["fine", "too long"], "max_length": 5},
            "/parameters/0/initial/1: has 8 characters, at most 5 are allowed",
        ),
        (
            {"placeholders": ["{abc}", "{d}"], "max_length": 8},
            "/parameters/0/max_length: leaves no room for the placeholders",
        ),
    ],
)
def test_what_is_wrong_with_a_text_parameter_is_named(fields: dict[str, Any], flaw: str) -> None:
    with pytest.raises(Invalid) as error:
        study(parameters=[{"name": "p", "type": "text", **fields}]).check()
    assert str(error.value) == flaw
    assert [f"{e.pointer}: {e.message}" for e in error.value.errors] == [flaw]


def test_every_wrong_starting_text_is_named() -> None:
    with pytest.raises(Invalid) as error:
        study(parameters=[{"name": "p", "type": "text", "initial": ["a", "{x}", "b"], "placeholders": ["{x}"]}])
    assert [e.pointer for e in error.value.errors] == ["/parameters/0/initial/0", "/parameters/0/initial/2"]


@pytest.mark.parametrize(
    "examples", [None, {"train": ["a", "b", "c"]}, {"train": ["a"], "validation": ["b", "c", "d"]}]
)
def test_a_limit_on_examples_needs_examples_and_room_for_all_that_decide(examples: dict[str, list[str]] | None) -> None:
    limits = {"max_example_evaluations": 2}
    study(limits=limits, examples={"train": ["a", "b", "c"], "validation": ["d", "e"]}).check()
    with pytest.raises(Invalid) as error:
        study(limits=limits, examples=examples).check()
    assert [e.pointer for e in error.value.errors] == ["/limits/max_example_evaluations"]


def test_missing_unknown_and_inactive_values_are_named() -> None:
    without = {k: v for k, v in EVERY_VALUE.items() if k != "lr"}
    assert flaws(without | {"bogus": 1}) == {"/parameters/lr", "/parameters/bogus"}
    assert flaws(EVERY_VALUE | {"optimizer": "adam"}) == {"/parameters/momentum"}
    assert flaws([]) == {"/parameters"}


def test_equal_points_have_equal_keys_and_one_is_not_true() -> None:
    whole = SPACE.point(EVERY_VALUE | {"layers": 3.0, "weights": [0.5, -0.5, 0]})
    assert point_key(whole) == point_key(SPACE.point(EVERY_VALUE))
    assert point_key(
        SPACE.point({k: v for k, v in EVERY_VALUE.items() if k != "momentum"} | {"optimizer": True})
    ) != point_key(whole)
    with pytest.raises(Invalid):
        SPACE.point(EVERY_VALUE | {"optimizer": 1})


def test_conditions_may_not_run_in_a_circle() -> None:
    parameters = [
        {"name": "a", "type": "bool", "when": {"b": [True]}},
        {"name": "b", "type": "bool", "when": {"a": [True]}},
    ]
    with pytest.raises(Invalid, match="circle"):
        study(parameters=parameters).check()
        _ = study(parameters=parameters).space


NAMES = frozenset({"x", "y", "learning-rate"})


@pytest.mark.parametrize(
    ("text", "values", "holds"),
    [
        ("x * y <= 0.2", {"x": 1, "y": 0.1}, True),
        ("x * y <= 0.2", {"x": 3, "y": 0.1}, False),
        ("0 < x < y", {"x": 1, "y": 2}, True),
        ("0 < x < y", {"x": 2, "y": 2}, False),
        ("max(x, y, 3) - min(x, y) == abs(-3)", {"x": 0, "y": 1}, True),
        ("x ** 2 + -y >= 1", {"x": 2, "y": 3}, True),
        ("`learning-rate` * 2 < 1", {"learning-rate": 0.4}, True),
        ("1 / x > 0", {"x": 0}, False),
        ("x ** 1000 > 0", {"x": 1e300}, False),
        ("(0 - x) ** 0.5 >= 0", {"x": 1}, False),
    ],
)
def test_expressions_mean_what_they_say(text: str, values: dict[str, float], holds: bool) -> None:
    assert parse(text, NAMES).holds(values) is holds


@pytest.mark.parametrize(
    "text",
    [
        "x", "x +", "1 < 2", "z < 1", "x < 'a'", "x is y", "x in y", "x < y and y < x", "not x < y", "f(x) < 1", "x.y < 1",
        "x[0] < 1", "min(x) < 1", "abs(x, y) < 1", "min(x, y, key=1) < 1", "lambda: x < 1", "x if x < 1 else y", "True < x",
        "`x < 1", "x < 1e999", "1j < x", "x // y < 1", "x < 1" + " + x" * 500, "(" * 500 + "x" + ")" * 500 + " < 1", "",
        "x < 1" + "0" * 400,
    ],
)  # fmt: skip
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text, NAMES)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        parse(text, NAMES).holds({"x": 1.0, "y": 2.0, "learning-rate": 0.1})
    except ValueError:
        return


def test_a_study_survives_its_own_document() -> None:
    made = study(parameters=EVERY_TYPE, constraints=[{"metric": "c", "max": 1}], examples={"train": ["a"]})
    assert StudySpec.read(made.model_dump_json()) == made
    assert StudySpec.read(canonical(made.model_dump(mode="json"))) == made


def test_a_merge_patch_changes_what_may_change_and_nothing_else() -> None:
    made = study(labels={"a": "1", "b": "2"}, limits={"max_trials": 5})
    changed = patched(made, {"labels": {"a": None, "c": "3"}, "limits": {"max_trials": None, "max_running": 2}})
    assert changed.labels == {"b": "2", "c": "3"}
    assert (changed.limits.max_trials, changed.limits.max_running, changed.seed) == (None, 2, 7)
    for patch in ({"parameters": []}, {"name": "other"}, {"bogus": 1}, {"seed": 3}, {"limits": {"bogus": 1}}):
        with pytest.raises(Invalid):
            patched(made, patch)
    assert set(study_document()) <= set(Study.model_fields)

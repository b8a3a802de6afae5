"""What makes a proposed text valid, for every method in one place."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.domain.parameters import TextParameter
from tests.support.builders import study
from workers.models.texts import Fault, TextRules, candidate_key, starting_candidates, tally, text_key


def rules(
    *initial: str, placeholders: tuple[str, ...] = (), max_length: int = 100, default: str | None = None
) -> TextRules:
    found = {
        "name": "p",
        "type": "text",
        "initial": list(initial),
        "placeholders": list(placeholders),
        "max_length": max_length,
    }
    (parameter,) = study(parameters=[found | ({} if default is None else {"default": default})]).parameters
    assert isinstance(parameter, TextParameter)
    return TextRules(parameter)


RULES = rules("Say {q} and {q}, {name}", placeholders=("{q}",))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("{q} then {q}", None),
        ("{q} then {q} for {name}", None),
        ("", "empty"),
        ("\u200b\u2060 \ufeff", "empty"),
        ("{q} {q} " + "x" * 100, "too_long"),
        ("only {q}", "placeholder"),
        ("{q} {q} {q}", "placeholder"),
        ("{Q} {Q}", "placeholder"),
        ("{q} {q} {invented}", "placeholder"),
        ("{q} {q} { spaced } {0} {}", None),
        ("{q} {q} </text>", "unparsable"),
        ("{q} {q} <DATA of='x'>", "unparsable"),
        ("{q} {q} <candidate 3>", "unparsable"),
        ("{q} {q} a < b > c <b>bold</b>", None),
    ],
)
def test_a_text_is_valid_or_has_one_fault(text: str, fault: Fault | None) -> None:
    assert RULES.fault(text) == fault


def test_without_a_starting_text_a_declared_placeholder_stands_once() -> None:
    found = rules(placeholders=("{q}",))
    assert (found.fault("{q}"), found.fault("{q} {q}"), found.fault("none")) == (None, "placeholder", "placeholder")


def test_a_placeholder_that_only_a_starting_text_has_may_stand_and_need_not() -> None:
    found = rules("Hello {name}", "Hi {other}")
    assert [found.fault(t) for t in ("{name}", "{other} {name}", "neither", "{third}")] == [
        None,
        None,
        None,
        "placeholder",
    ]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("  a b \n", "a b"),
        ("```\na\nb\n```", "a\nb"),
        ("```markdown\na\n```", "a"),
        ("use ```code``` here", "use ```code``` here"),
        ("a\r\nb\rc\td", "a\nb\nc\td"),
        ("a\x00b\x07c\x1b[31m", "abc[31m"),
        ("e\u0301", "é"),
        ("e\x00\u0301", "é"),
        ("a\ud800b", "ab"),
        ("日本語 🙂 \u200d", "日本語 🙂 \u200d"),
    ],
)
def test_texts_are_cleaned(raw: str, clean: str) -> None:
    assert RULES.clean(raw) == clean


@settings(max_examples=300, deadline=None)
@given(st.text(st.characters(codec=None), max_size=80))
def test_a_cleaned_text_can_be_stored_and_stays_as_it_is(raw: str) -> None:
    text = RULES.clean(raw)
    text.encode()
    assert unicodedata.is_normalized("NFC", text) and text == text.strip() and "\0" not in text and "\r" not in text
    if not text.startswith("```"):
        assert RULES.clean(text) == text


@given(st.text(st.sampled_from("aB é\n\tß"), max_size=30), st.integers(0, 5))
def test_texts_that_differ_in_case_and_white_space_only_are_the_same(text: str, spaces: int) -> None:
    other = (" " * (spaces + 1)).join(text.upper().split()) + "\n" * spaces
    assert text_key(other) == text_key(text)


def test_a_candidate_is_the_same_by_all_its_components() -> None:
    assert candidate_key({"b": "X  y", "a": "Z"}) == candidate_key({"a": "z", "b": "x Y"})
    assert candidate_key({"a": "x", "b": "y"}) != candidate_key({"a": "y", "b": "x"})


def test_candidates_to_start_with_pair_the_components_in_order_without_repeats() -> None:
    space = study(
        parameters=[
            {"name": "a", "type": "text", "initial": ["one", "two", "ONE "]},
            {"name": "b", "type": "text", "initial": ["x"], "default": "x"},
            {"name": "n", "type": "int", "min": 0, "max": 3},
        ]
    ).space
    assert starting_candidates(space) == [{"a": "one", "b": "x"}, {"a": "two", "b": "x"}]


def test_rejections_are_counted_by_reason() -> None:
    assert tally(["empty", "duplicate", "empty"]) == {"duplicate": 1, "empty": 2}

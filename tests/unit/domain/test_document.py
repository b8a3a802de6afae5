"""How the one door for documents names what is wrong."""

from __future__ import annotations

import pytest

from services.domain.document import Document
from services.domain.errors import Invalid
from services.domain.trial import NewTrial, Outcome, TellMany


def found(model: type[Document], body: str) -> dict[str, str]:
    with pytest.raises(Invalid) as refused:
        model.read(body)
    assert refused.value.detail.startswith(refused.value.errors[0].pointer or "body")
    return {error.pointer: error.message for error in refused.value.errors}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("quote", ["", '"'], ids=["as some programs write JSON", "as gRPC's doubles come"])
def test_a_number_that_is_not_finite_is_named_with_what_to_do(number: str, quote: str) -> None:
    body = f'{{"metrics": {{"a.b": 1, "loss": {quote}{number}{quote}}}, "residual": [0, {quote}{number}{quote}]}}'
    message = f"is {number}, must be a finite number"
    hint = "; where nothing could be measured, tell the state infeasible or failed"
    assert found(Outcome, body) == {"/metrics/loss": message + hint, "/residual/1": message}


def test_places_with_odd_names_are_named() -> None:
    assert set(found(NewTrial, '{"parameters": {"w": [1, [Infinity]]}, "metadata": NaN}')) == {
        "/parameters/w/1/0",
        "/metadata",
    }


@pytest.mark.parametrize(("body", "message"), [("{", "EOF"), ('{"a": NaN', "expected value"), ("[" * 9999, "deeply")])
def test_what_is_no_json_at_all_is_said_so(body: str, message: str) -> None:
    with pytest.raises(Invalid, match=f"the body is not JSON: .*{message}"):
        Outcome.read(body)


def test_a_value_that_fits_none_of_several_forms_is_one_place() -> None:
    class Either(Document):
        value: float | tuple[float, ...] | dict[str, int]

    assert found(Either, '{"value": "x"}') == {
        "/value": "Input should be a valid number, or: Input should be a valid array, or: Input should be an object"
    }
    assert set(found(Either, '{"value": [1, "x"]}')) == {"/value/1"}
    assert set(found(Either, '{"value": {"k": "x"}}')) == {"/value/k"}
    assert set(found(Either, "{}")) == {"/value"}


def test_lengths_are_said_in_the_words_of_json() -> None:
    assert found(TellMany, '{"outcomes": []}') == {"/outcomes": "should have at least 1 item, not 0"}

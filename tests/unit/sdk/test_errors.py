"""Answers become errors by their kind."""

from __future__ import annotations

from typing import Any

import pytest

import asktell
from asktell.errors import BY_KIND, from_problem
from services.answers import STATUS
from services.domain import errors as domain


def _all(kind: type[Any]) -> list[type[Any]]:
    return [kind, *(found for child in kind.__subclasses__() for found in _all(child))]


KINDS = [kind for kind in _all(domain.AsktellError)[1:] if kind.__module__ == domain.__name__]


@pytest.mark.parametrize("ours", KINDS, ids=lambda kind: kind.__name__)
def test_every_kind_of_the_service_has_its_error(ours: type[domain.AsktellError]) -> None:
    found = from_problem({"type": f"https://asktell.dev/problems/{ours.kind}", "status": STATUS[ours.kind]})
    assert type(found).__name__ == ours.__name__
    assert type(found).__bases__[0].__name__ == ours.__bases__[0].__name__
    assert found.status == STATUS[ours.kind]


def test_an_unknown_kind_is_known_by_its_status() -> None:
    assert type(from_problem({"type": "about:blank", "status": 404})) is asktell.NotFound
    assert type(from_problem({}, 502)) is asktell.Unavailable
    assert type(from_problem({}, 418)) is asktell.AsktellError


def test_places_and_sentences_are_kept() -> None:
    problem = {"status": 422, "detail": "/seed: no", "errors": [{"pointer": "/seed", "message": "no"}]}
    found = from_problem(problem)
    assert str(found) == "/seed: no"
    assert found.errors == (asktell.FieldError("/seed", "no"),)


def test_an_error_is_never_mute() -> None:
    assert all(str(kind()) for kind in BY_KIND.values())

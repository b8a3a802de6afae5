"""A scripted service and clients of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.scripted import Answer, Scripted


@pytest.fixture
def script() -> Iterator[Callable[..., Scripted]]:
    """Makes services that give the answers of a test."""
    made: list[Scripted] = []

    def make(*answers: Answer) -> Scripted:
        made.append(Scripted(*answers))
        return made[-1]

    yield make
    for service in made:
        service.stop()

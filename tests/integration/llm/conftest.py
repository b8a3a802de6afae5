"""A scripted language model server and a database file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.openai_server import OpenAiServer


@pytest.fixture
def server() -> Iterator[OpenAiServer]:
    """A language model, over HTTP."""
    with OpenAiServer() as found:
        yield found


@pytest.fixture
def address(tmp_path: Path) -> str:
    """Of a database that is made when it is opened."""
    return f"sqlite:///{tmp_path}/asktell.db"

"""A service whose operator has a scripted language model."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.databases import fresh
from tests.support.openai_scripts import Call
from tests.support.openai_server import OpenAiServer
from tests.support.servers import Server


def adds_the_named_rules(call: Call) -> str:
    """Reads the present text and the feedback, and answers the text with every rule that was named."""
    present = re.search(r"```\n(.*?)\n```", call.shown, re.DOTALL)
    assert present is not None
    rules = dict.fromkeys(re.findall(r"needs the rule: (\w+)", call.shown))
    return "```\n" + " ".join([present.group(1), *(rule for rule in rules if rule not in present.group(1))]) + "\n```"


@pytest.fixture(scope="package")
def optimiser() -> Iterator[OpenAiServer]:
    """The language model that proposes."""
    with OpenAiServer(adds_the_named_rules) as found:
        yield found


@pytest.fixture(scope="package")
def service(optimiser: OpenAiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that knows it as its default profile."""
    folder = tmp_path_factory.mktemp("service")
    found = Server(fresh(folder), "--processes", "1", **optimiser.profile()).start()
    yield found
    found.stop()


@pytest.fixture
def asked(optimiser: OpenAiServer) -> Iterator[OpenAiServer]:
    """The language model, with no calls of earlier tests."""
    optimiser.calls.clear()
    yield optimiser

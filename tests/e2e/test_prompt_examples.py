"""The prompt examples run as they stand, against a scripted model instead of the local one."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.databases import fresh
from tests.support.openai_scripts import Answer, Call
from tests.support.openai_server import OpenAiServer
from tests.support.servers import Server

FOLDER = Path(__file__).parents[2] / "examples" / "prompts"
TRIALS, EXAMPLES = 6, 6


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REVIEWS, TASK_MODEL = load("reviews"), load("task_model")
LABELS = dict(REVIEWS.SEARCH + REVIEWS.HELD_OUT)


def margin(instruction: str) -> float:
    """How sure of the right word the scripted model is: by the words of the instruction, some of which confuse it."""
    words = re.findall(r"\w+", instruction.casefold())
    return sum(hashlib.sha256(word.encode()).digest()[0] / 128 - 0.9 for word in words) / max(1, len(words)) + 0.2


class ScriptedModel(OpenAiServer):
    """Completes prompts of the example with log-probabilities, and answers chats as the optimiser of `opro`."""

    def _answer(self, call: Call) -> Answer:
        if not call.path.endswith("/v1/completions"):
            return super()._answer(call)
        instruction, review = re.fullmatch(r"(.*)\n\nReview: (.*)\nSentiment:", call.body["prompt"], re.DOTALL).groups()  # type: ignore[union-attr]
        right = (1 if LABELS[review] else -1) * margin(instruction)
        top = {" positive": -1.0 + right / 2, " negative": -1.0 - right / 2, " the": -3.0}
        return Answer(document={"choices": [{"text": " the", "logprobs": {"top_logprobs": [top]}}]})

    @property
    def prompts(self) -> list[str]:
        return [call.body["prompt"] for call in self.calls if call.path.endswith("/v1/completions")]


@pytest.fixture(scope="module")
def shared_model() -> Iterator[ScriptedModel]:
    with ScriptedModel() as found:
        yield found


@pytest.fixture
def model(shared_model: ScriptedModel) -> ScriptedModel:
    shared_model.calls.clear()
    return shared_model


@pytest.fixture(scope="module")
def service(shared_model: ScriptedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("service")
    found = Server(fresh(folder), "--processes", "1", **shared_model.profile()).start()
    yield found
    found.stop()


def run(model: ScriptedModel, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(FOLDER / "sentiment.py"), "--model", model.url, *arguments]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ASKTELL_")}
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=150)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["plum", "zopo", "opro"])
def test_a_method_searches_a_prompt_for_the_scripted_model(model: ScriptedModel, service: Server, method: str) -> None:
    arguments = ("--method", method, "--trials", str(TRIALS), "--examples", str(EXAMPLES), "--url", service.url)
    found = run(model, *arguments)
    assert found.returncode == 0, found.stderr
    start, best = re.search(r"cross-entropy (\S+) -> (\S+) on 6 reviews", found.stdout).groups()  # type: ignore[union-attr]
    assert float(start) == pytest.approx(TASK_MODEL.loss(margin(REVIEWS.SEED)), abs=5e-4)
    searched = {text for text, _ in REVIEWS.SEARCH[:EXAMPLES]}
    asked = {p.split("\n\nReview: ")[0] for p in model.prompts if p.split("Review: ")[1].split("\n")[0] in searched}
    assert len(asked) == TRIALS, "each trial has an instruction of its own"
    assert float(best) == pytest.approx(TASK_MODEL.loss(max(map(margin, asked))), abs=5e-4)
    assert REVIEWS.SEED in asked
    assert len(set(model.prompts)) == len(model.prompts), "nothing is asked twice"
    assert all(
        call.body["max_tokens"] == 1 and call.body["logprobs"] > 1 for call in model.calls if "prompt" in call.body
    )
    assert bool(model.chats) == (method == "opro"), "only opro asks a language model for texts"
    assert found.stdout.count("\n") == 1 + 1 + 5 + 1


@pytest.mark.slow
def test_the_example_starts_and_stops_a_service_of_its_own(model: ScriptedModel) -> None:
    found = run(model, "--method", "plum", "--trials", "3", "--examples", "2")
    assert found.returncode == 0, found.stderr
    assert "plum: 3 trials, cross-entropy" in found.stdout


def test_opro_without_a_language_model_says_what_to_set(model: ScriptedModel) -> None:
    found = run(model, "--method", "opro")
    assert found.returncode == 2
    assert "ASKTELL_LLM__DEFAULT__BASE_URL" in found.stderr


def test_log_probabilities_are_read_from_both_kinds_of_servers() -> None:
    read = TASK_MODEL.log_probabilities
    listed = [{"token": " positive", "logprob": -0.5}, {"token": " negative", "logprob": -1.5}]
    assert read({"content": [{"top_logprobs": listed}]}) == {" positive": -0.5, " negative": -1.5}
    assert read({"top_logprobs": [{" positive": -0.5}]}) == {" positive": -0.5}


def test_the_reviews_are_balanced_and_none_stands_in_both_sets() -> None:
    assert len(LABELS) == len(REVIEWS.SEARCH) + len(REVIEWS.HELD_OUT)
    for reviews in (REVIEWS.SEARCH, REVIEWS.HELD_OUT, REVIEWS.SEARCH[:EXAMPLES]):
        assert sum(label for _, label in reviews) * 2 == len(reviews)

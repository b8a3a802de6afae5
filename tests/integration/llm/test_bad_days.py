"""Methods of the catalogue on bad days, over a real server: texts stay valid, trials say where they come from, calls are bounded."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.domain.trial import Trial
from services.profiles import read_profiles
from services.store.events import EventRecord
from tests.integration.llm.support import usage
from tests.support import openai_scripts as scripts
from tests.support.builders import ADMIN, outcome, study
from tests.support.openai_scripts import Call, Given, in_turn
from tests.support.openai_server import OpenAiServer
from tests.support.stage import Stage, staged
from tests.support.thread_pool import ThreadPool
from workers.models.texts import TextRules, text_key
from workers.suggesters.registry import specs

SEEDS = ["Is the review {review} good or bad?", "Judge {review}.", "What does {review} say?", "Good or bad: {review}"]
PROMPT = {"name": "prompt", "type": "text", "initial": SEEDS, "placeholders": ["{review}"], "max_length": 300}
METHODS = ["opro", "evoprompt", "directional"]


@asynccontextmanager
async def served(tmp_path: Path, server: OpenAiServer, **fields: Any) -> Any:
    """A stage with the whole catalogue and a dispatcher."""
    profiles = read_profiles(server.profile(**({"timeout_seconds": 2, "max_retries": 1} | fields)))
    async with staged(f"sqlite:///{tmp_path}/asktell.db", specs(), profiles) as stage:
        await stage.dispatcher(ThreadPool())
        yield stage


async def tuned(
    stage: Stage, method: str, trials: int, llm: dict[str, Any] | None = None, **options: Any
) -> list[Trial]:
    """A study of some trials, the longer texts the better."""
    fields: dict[str, Any] = {} if llm is None else {"llm": llm}
    spec = study(parameters=[PROMPT], suggester={"name": method, "options": options}, **fields)
    made = (await stage.services.studies.create(ADMIN, spec)).value.id
    found = []
    for _ in range(trials):
        trial = await stage.one(made)
        found.append(trial)
        told = outcome(1.0 / len(trial.parameters["prompt"]), feedback="say what you mean")
        await stage.services.tells.tell(ADMIN, made, trial.number, told)
    return found


def varied(call: Call) -> str:
    words = " ".join(scripts.WORDS[(call.index * 7 + k * 3) % 16] for k in range(5))
    return f"<text>Judge {{review}}: {words} {call.index}</text>"


def valid_share(trials: list[Trial]) -> float:
    """Of texts that keep every rule and are no repeat."""
    (parameter,) = study(parameters=[PROMPT]).parameters
    rules = TextRules(parameter)  # type: ignore[arg-type]
    texts = [trial.parameters["prompt"] for trial in trials]
    good = [text for text in texts if rules.clean(text) == text and rules.fault(text) is None]
    assert len({text_key(text) for text in texts}) == len(texts)
    assert all(trial.suggested_by.reason and trial.suggested_by.suggester for trial in trials)
    return len(good) / len(texts)


async def failures(stage: Stage, trials: list[Trial]) -> Counter[str]:
    found: list[EventRecord] = await stage.events(await _id(stage, trials), "llm.failed")
    return Counter(event.data["failure"] for event in found)


async def _id(stage: Stage, trials: list[Trial]) -> str:
    return (await stage.services.studies.get(ADMIN, trials[0].study)).id


def half_broken(call: Call) -> Given:
    """Every second call meets a fault, each kind in turn; a hang among them."""
    faults = (*scripts.FAULTS, scripts.hang)
    return faults[call.index // 2 % len(faults)]() if call.index % 2 else varied(call)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
async def test_with_half_of_the_replies_broken(tmp_path: Path, server: OpenAiServer, method: str) -> None:
    server.script = half_broken
    async with served(tmp_path, server) as stage:
        trials = await tuned(stage, method, 16)
        assert valid_share(trials) >= 0.9
        assert len(server.calls) <= 20 * len(trials)
        found = await usage(stage, await _id(stage, trials))
        assert found.calls > 0 and found.failed_calls > 0
        async with asyncio.timeout(30):  # the service thinks ahead: a call may fail between the two readings
            while True:
                told, counted = await failures(stage, trials), await usage(stage, await _id(stage, trials))
                if told.total() == counted.failed_calls:
                    break
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("method", METHODS)
async def test_the_same_reply_again_and_again(tmp_path: Path, server: OpenAiServer, method: str) -> None:
    server.script = lambda call: "<text>Always the same about {review}</text>"
    async with served(tmp_path, server) as stage:
        trials = await tuned(stage, method, 10)
        assert valid_share(trials) == 1
        assert sum(t.parameters["prompt"] == "Always the same about {review}" for t in trials) == 1
        assert len(server.calls) <= 20 * len(trials)


@pytest.mark.parametrize("method", METHODS)
async def test_replies_in_another_language_without_any_marks(tmp_path: Path, server: OpenAiServer, method: str) -> None:
    server.script = lambda call: (
        f"当然！这里有一些建议 {call.index}。\n请仔细阅读评论，\n然后判断其情感。\nΑυτό είναι το {call.index}."
    )
    async with served(tmp_path, server) as stage:
        trials = await tuned(stage, method, 8)
        assert valid_share(trials) == 1
        assert len(server.calls) <= 20 * len(trials)


async def test_texts_in_another_language_are_texts(tmp_path: Path, server: OpenAiServer) -> None:
    server.script = lambda call: f"<text>请判断 {{review}} 的情感，第 {call.index} 次 🙂</text>"
    async with served(tmp_path, server) as stage:
        trials = await tuned(stage, "opro", 8, per_step=4)
        assert valid_share(trials) == 1
        assert sum("请判断" in t.parameters["prompt"] for t in trials) == 4


@pytest.mark.parametrize("method", METHODS)
async def test_a_budget_that_ends_in_the_middle_of_a_step(tmp_path: Path, server: OpenAiServer, method: str) -> None:
    server.script = varied
    async with served(tmp_path, server) as stage:
        trials = await tuned(stage, method, 12, llm={"max_calls": 3})
        assert valid_share(trials) == 1
        assert len(server.calls) == 3
        (event,) = await stage.events(await _id(stage, trials), "llm.budget_reached")
        assert event.data["reason"] == "llm.max_calls of 3 is reached"
        assert any("budget" in trial.suggested_by.reason for trial in trials)


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("opro", scripts.server_error),
        ("opro", scripts.too_long),
        ("evoprompt", scripts.forbidden),
        ("directional", scripts.bad_request),
    ],
)
async def test_a_model_that_never_answers(
    tmp_path: Path, server: OpenAiServer, method: str, fault: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.llm.gateway.FIRST_REST_SECONDS", 0.01)
    monkeypatch.setattr("workers.llm.gateway.LONGEST_REST_SECONDS", 0.05)
    server.script = in_turn(fault())
    async with served(tmp_path, server) as stage:
        trials = await tuned(stage, method, 8)
        assert valid_share(trials) == 1
        assert len(server.calls) <= 60 * len(
            trials
        )  # retries, shorter histories, and every slot of a step anew for each ask
        assert (await failures(stage, trials)).total() > 0

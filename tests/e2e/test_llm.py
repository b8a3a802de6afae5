"""Prompt search over HTTP with a language model that misbehaves: asks are answered in time, and what happened can be read."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.support import openai_scripts as scripts
from tests.support.databases import fresh
from tests.support.openai_scripts import Answer, Call, Given
from tests.support.openai_server import OpenAiServer
from tests.support.servers import Server, wait_for

SEED = "Say whether the review {review} is positive or negative."
PROMPT = {"name": "prompt", "type": "text", "initial": [SEED], "placeholders": ["{review}"], "max_length": 500}
KEY = "sk-very-secret-0123456789"


def varied(call: Call) -> str:
    """Every call another text, as a model at temperature 1."""
    words = " ".join(scripts.WORDS[(call.index * 7 + k * 3) % 16] for k in range(5))
    return f"<text>Judge {{review}}: {words} {call.index}</text>"


PROFILES = ("default", "hanging", "ahead", "broken")


@pytest.fixture(scope="module")
def models() -> Iterator[dict[str, OpenAiServer]]:
    """A language model for each profile: what one test does to its model is nothing to the others."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(OpenAiServer(varied)) for name in PROFILES}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, models: dict[str, OpenAiServer]) -> Iterator[httpx.Client]:
    """A service that knows them."""
    fields: dict[str, Any] = {
        "api_key_env": "HOUSE_KEY",
        "timeout_seconds": 30,
        "max_retries": 2,
        "price_in": 1.0,
        "price_out": 2.0,
    }
    environment: dict[str, Any] = {"HOUSE_KEY": KEY}
    for name, model in models.items():
        environment |= model.profile(name, **fields)
    server = Server(fresh(tmp_path_factory.mktemp("service")), "--processes", "1", **environment)
    server.start()
    try:
        with httpx.Client(base_url=server.url + "/v1", timeout=60) as client:
            yield client
    finally:
        server.stop()


def create(api: httpx.Client, name: str, **fields: Any) -> dict[str, Any]:
    body = {
        "name": name, "parameters": [PROMPT], "objectives": [{"metric": "accuracy", "goal": "maximize"}],
        "suggester": {"name": "opro", "options": {"per_step": 4}}, "seed": 3,
    }  # fmt: skip
    response = api.post("/studies", json=body | fields)
    assert response.status_code == 201, response.text
    return dict(response.json())


def ask(api: httpx.Client, study: str, wait_seconds: float) -> tuple[httpx.Response, float]:
    started = time.monotonic()
    response = api.post(f"/studies/{study}/trials:ask", json={"wait_seconds": wait_seconds, "worker": "w"})
    return response, time.monotonic() - started


def tell(api: httpx.Client, study: str, number: int, accuracy: float) -> None:
    body = {"metrics": {"accuracy": accuracy}}
    assert api.post(f"/studies/{study}/trials/{number}:tell", json=body).status_code == 200


def one(api: httpx.Client, study: str) -> dict[str, Any]:
    """A trial that must come."""
    response, _ = ask(api, study, 60)
    assert response.status_code == 200, response.text
    (trial,) = response.json()["trials"]
    return dict(trial)


def events(api: httpx.Client, study: str, until: str) -> list[dict[str, Any]]:
    """The study's events up to the first one of a type."""
    found = []
    with api.stream("GET", f"/studies/{study}/events", headers={"Last-Event-ID": "0"}) as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
                if found[-1]["type"] == until:
                    break
    return found


@pytest.mark.slow
def test_while_the_model_hangs_asks_are_answered_in_time_and_others_go_on(
    api: httpx.Client, models: dict[str, OpenAiServer]
) -> None:
    model = models["hanging"]
    model.script = lambda call: scripts.hang()
    create(api, "prompts", llm={"profile": "hanging"})
    first = one(api, "prompts")
    assert first["parameters"] == {"prompt": SEED} and not model.calls  # the starting text needs no model
    tell(api, "prompts", first["number"], 0.5)
    wait_for(lambda: len(model.calls) == 4, 60, "the next step's calls, which nobody asked for yet")
    numbers = {"parameters": [{"name": "x", "type": "float", "min": 0, "max": 1}], "suggester": {"name": "gp"}}
    create(api, "numbers", objectives=[{"metric": "accuracy"}], **numbers)
    operations = []
    for wait_seconds in (0.0, 0.5, 1.5):
        response, seconds = ask(api, "prompts", wait_seconds)
        assert (response.status_code, response.json()["trials"]) == (202, [])
        assert seconds < wait_seconds + 20  # a call hangs for thirty
        operations.append(response.json()["operation"]["id"])
        trial = one(api, "numbers")
        assert not trial["suggested_by"].get("fallback")
        tell(api, "numbers", trial["number"], trial["parameters"]["x"])
    assert len(model.calls) == 4
    model.script = varied
    model.release()
    operation = api.get(f"/operations/{operations[0]}", params={"wait_seconds": 30}).json()
    (trial,) = operation["trials"] if "trials" in operation else operation["response"]["trials"]
    assert trial["parameters"]["prompt"].startswith("Judge {review}: ")
    assert trial["suggested_by"]["reason"].startswith("written from 1 outcome, sample ")


@pytest.mark.slow
def test_the_next_step_is_written_ahead_and_a_ready_one_is_given_at_once(
    api: httpx.Client, models: dict[str, OpenAiServer]
) -> None:
    model = models["ahead"]
    create(api, "ahead", llm={"profile": "ahead"})
    tell(api, "ahead", one(api, "ahead")["number"], 0.5)
    wait_for(lambda: ledger_calls(api, "ahead") == 4, 60, "the step's replies")
    model.script = lambda call: scripts.hang()  # whoever needs a call from now on gets nothing
    for place in range(4):
        trial = one(api, "ahead")
        assert trial["parameters"]["prompt"].startswith("Judge {review}: ")
        tell(api, "ahead", trial["number"], 0.5 + place / 10)
        assert len(model.calls) == 4 or place == 3
    model.script = varied
    model.release()


def ledger_calls(api: httpx.Client, study: str) -> int:
    return int((api.get(f"/studies/{study}").json().get("llm_usage") or {}).get("calls", 0))


@pytest.mark.slow
def test_usage_and_events_tell_what_happened_and_no_secret(api: httpx.Client, models: dict[str, OpenAiServer]) -> None:
    model = models["default"]
    echo = {"error": {"message": f"bad key {KEY} at {model.url}"}}
    model.script = lambda call: Answer(status=400, document=echo) if call.index == 1 else varied(call)
    create(api, "told", llm={"max_calls": 6})
    trials = []
    for place in range(9):
        trials.append(one(api, "told"))
        tell(api, "told", trials[-1]["number"], place / 10)
    study = api.get("/studies/told").json()
    assert study["llm"]["profile"] == "default"
    assert (study["llm_usage"]["calls"], study["llm_usage"]["failed_calls"]) == (6, 1)
    paid = [call for call in model.calls if call.status == 200]
    tokens = [sum(len(call.shown.split()) for call in paid), sum(len(varied(call).split()) for call in paid)]
    assert [study["llm_usage"]["prompt_tokens"], study["llm_usage"]["completion_tokens"]] == tokens
    assert study["llm_usage"]["cost"] == pytest.approx((tokens[0] + 2 * tokens[1]) / 1e6)
    found = events(api, "told", "llm.budget_reached")
    kinds = Counter(event["type"] for event in found)
    assert (kinds["llm.replied"], kinds["llm.failed"], kinds["llm.budget_reached"]) == (5, 1, 1)
    reasons = Counter(trial["suggested_by"]["reason"].split(":")[0] for trial in trials)
    assert reasons["a starting text"] == 1 and sum("written from" in reason for reason in reasons) >= 1
    edited = [t for t in trials if "budget" in t["suggested_by"]["reason"]]
    assert edited and all(t["parameters"]["prompt"].count("{review}") == 1 for t in trials)
    receipts = [api.get(f"/studies/told/trials/{t['number']}:receipt").text for t in trials]
    everything = json.dumps([study, found, trials, receipts])
    assert KEY not in everything and str(model.port) not in everything
    assert {call.headers["authorization"] for call in model.calls} == {f"Bearer {KEY}"}


def half_broken() -> scripts.Script:
    """Half of the calls, by their number, get a fault each kind in turn."""

    def script(call: Call) -> Given:
        return scripts.FAULTS[call.index // 2 % len(scripts.FAULTS)]() if call.index % 2 else varied(call)

    return script


@pytest.mark.slow
def test_with_half_of_the_replies_broken_nine_of_ten_texts_are_valid_and_say_where_they_come_from(
    api: httpx.Client, models: dict[str, OpenAiServer]
) -> None:
    model = models["broken"]
    model.script = half_broken()
    create(api, "broken", llm={"profile": "broken"})
    trials = []
    for place in range(24):
        trials.append(one(api, "broken"))
        tell(api, "broken", trials[-1]["number"], (place % 7) / 10)
    texts = [t["parameters"]["prompt"] for t in trials]
    valid = [t for t in texts if t.count("{review}") == 1 and 0 < len(t) <= 500 and "<" not in t]
    assert len(valid) >= 0.9 * len(texts) and len({t.casefold() for t in texts}) == len(texts)
    assert all(t["suggested_by"]["reason"] for t in trials)
    written = [t for t in trials if t["suggested_by"]["reason"].startswith("written from")]
    assert len(written) >= 0.6 * len(trials)
    failures = Counter(
        e["data"]["failure"] for e in events(api, "broken", "trial.completed") if e["type"] == "llm.failed"
    )
    assert failures.keys() <= {"rate_limited", "server", "empty", "unreachable", "timeout"}
    assert len(model.calls) <= 24 * 9  # three attempts of three tries for each at the very most

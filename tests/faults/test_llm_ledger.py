"""kill -9 of a service between a language model's replies and the proposals made of them: what is recorded is not paid for again."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from tests.support import openai_scripts as scripts
from tests.support.openai_scripts import Call, Given
from tests.support.openai_server import OpenAiServer
from tests.support.servers import Server, wait_for

PROMPT = {"name": "prompt", "type": "text", "initial": ["Is it good?"], "max_length": 500}
SLOTS = 4


def three_of_four(call: Call) -> Given:
    """The last of a step's calls hangs, the others bring texts of their own."""
    return scripts.hang() if call.index % SLOTS == SLOTS - 1 else f"<text>Is it good, number {call.index}?</text>"


def usage(client: httpx.Client) -> dict[str, Any]:
    return dict(client.get("/studies/killed").json().get("llm_usage") or {"calls": 0})


def events(client: httpx.Client, until: str) -> list[str]:
    """Types of events up to the first one of a type."""
    found: list[str] = []
    with client.stream("GET", "/studies/killed/events", headers={"Last-Event-ID": "0"}) as response:
        for line in response.iter_lines():
            if line.startswith("event: "):
                found.append(line.removeprefix("event: "))
                if found[-1] == until:
                    break
    return found


@pytest.mark.slow
def test_killed_between_reply_and_commit_the_same_step_is_not_called_again(database: str) -> None:
    with OpenAiServer(three_of_four) as model:
        environment: dict[str, Any] = model.profile(timeout_seconds=120, max_retries=0)
        server = Server(database, "--processes", "1", **environment)
        server.start()
        try:
            with httpx.Client(base_url=server.url + "/v1", timeout=90) as client:
                body = {
                    "name": "killed", "parameters": [PROMPT], "objectives": [{"metric": "accuracy", "goal": "maximize"}],
                    "suggester": {"name": "opro", "options": {"per_step": SLOTS}},
                }  # fmt: skip
                assert client.post("/studies", json=body).status_code == 201
                (first,) = client.post("/studies/killed/trials:ask", json={"wait_seconds": 60}).json()["trials"]
                outcome = {"metrics": {"accuracy": 0.5}}
                assert client.post(f"/studies/killed/trials/{first['number']}:tell", json=outcome).status_code == 200
                wait_for(lambda: usage(client)["calls"] == SLOTS - 1, 60, "three recorded replies")
                assert len(model.calls) == SLOTS
                server.kill()
                model.release()
                model.script = lambda call: f"<text>After the death, {call.index}</text>"
                server.start()
                texts = []
                for _ in range(SLOTS):
                    started = time.monotonic()
                    (trial,) = client.post("/studies/killed/trials:ask", json={"wait_seconds": 60}).json()["trials"]
                    assert time.monotonic() - started < 45  # the dead one's claim has to run out
                    texts.append(trial["parameters"]["prompt"])
                assert len(model.calls) == SLOTS + 1, "only the call that was not answered is made again"
                recorded = {f"Is it good, number {index}?" for index in range(SLOTS - 1)}
                assert set(texts) == recorded | {f"After the death, {SLOTS}"}
                told = events(client, "llm.lost")
                assert told.count("llm.replied") == SLOTS - 1
                found = usage(client)
                assert (found["calls"], found["failed_calls"], found["estimated"]) == (SLOTS + 1, 1, True)
        finally:
            server.stop()

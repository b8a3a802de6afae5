"""`zopo` and `instinct` over HTTP with a pool that a model writes and vectors from an endpoint: paid for once, restart included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import openai_scripts as scripts
from tests.support.databases import fresh
from tests.support.openai_scripts import Call
from tests.support.openai_server import OpenAiServer
from tests.support.servers import Server

PROMPT = {"name": "prompt", "type": "text", "initial": ["Say whether {review} is good."], "placeholders": ["{review}"]}
EXEMPLARS = [{"input": f"film {i}", "output": "good" if i % 2 else "bad"} for i in range(8)]


def written(call: Call) -> str:
    """Another instruction in each call."""
    words = " ".join(scripts.WORDS[(call.index * 7 + k * 3 + call.index // 16) % 16] for k in range(6))
    return f"<text>Judge {{review}}: {words} {call.index}</text>"


def trials(api: httpx.Client, study: str, count: int) -> list[dict[str, Any]]:
    """Trials asked and told, one after the other."""
    found = []
    for _ in range(count):
        response = api.post(f"/studies/{study}/trials:ask", json={"wait_seconds": 60, "worker": "w"})
        assert response.status_code == 200, response.text
        (trial,) = response.json()["trials"]
        found.append(trial)
        body = {"metrics": {"accuracy": len(set(trial["parameters"]["prompt"].split()))}}
        assert api.post(f"/studies/{study}/trials/{trial['number']}:tell", json=body).status_code == 200
    return found


@pytest.mark.slow
def test_a_written_pool_with_an_endpoints_vectors_is_paid_for_once(tmp_path: Path) -> None:
    with OpenAiServer(written) as model:
        environment: dict[str, Any] = model.profile("house") | model.profile("mini")
        server = Server(fresh(tmp_path), "--processes", "1", **environment)
        options: dict[str, Any] = {"exemplars": EXEMPLARS, "subsets": 10, "samples": 4, "n_init": 6}
        llm = {"profile": "house", "encoder": "mini", "share_examples": True}
        seen: dict[str, list[str]] = {}
        for is_again in (False, True):
            server.start()
            try:
                with httpx.Client(base_url=server.url + "/v1", timeout=90) as api:
                    for method in ("zopo", "instinct"):
                        if not is_again:
                            body = {
                                "name": method, "parameters": [PROMPT], "seed": 3, "llm": llm,
                                "objectives": [{"metric": "accuracy", "goal": "maximize"}],
                                "suggester": {"name": method, "options": options},
                            }  # fmt: skip
                            response = api.post("/studies", json=body)
                            assert response.status_code == 201, response.text
                        found = trials(api, method, 6)
                        texts = [t["parameters"]["prompt"] for t in found]
                        seen[method] = seen.get(method, []) + texts
                        assert all("vectors by" not in t["suggested_by"]["reason"] for t in found)
                        if not is_again:
                            chats, embedded = len(model.chats), len(model.calls) - len(model.chats)
                            assert chats >= 10
                            assert embedded >= 1
                            before = len(model.calls)
                            assert api.get(f"/studies/{method}").json()["llm_usage"]["failed_calls"] == 0
            finally:
                server.stop()
        assert len(model.calls) == before
        for texts in seen.values():
            assert len(set(texts)) == 12
            assert sum(text.startswith("Judge {review}:") for text in texts) >= 10

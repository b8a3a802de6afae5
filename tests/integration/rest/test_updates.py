"""The update log in binary form is the one in JSON."""

from __future__ import annotations

import httpx
import pytest

from asktell.updates import decode_updates
from tests.support.builders import study_document
from tests.support.servers import Server, wait_for

THETA = {"name": "theta", "type": "vector", "encoding": "seed", "shape": [9]}
BINARY = "application/octet-stream"


@pytest.mark.parametrize("rule", ["adam", "snes"])
def test_updates_come_as_json_or_as_bytes(server: Server, rule: str) -> None:
    document = study_document(parameters=[THETA], suggester={"name": "es", "options": {"pairs": 1, "rule": rule}})
    with httpx.Client(base_url=f"{server.url}/v1", timeout=60) as client:
        client.post("/studies", json=document).raise_for_status()
        url = f"/studies/{document['name']}"
        for loss in (1.0, 2.0, 4.0, 3.0):
            (trial,) = client.post(f"{url}/trials:ask", json={"wait_seconds": 60}).json()["trials"]
            client.post(f"{url}/trials/{trial['number']}:tell", json={"metrics": {"loss": loss}}).raise_for_status()
        wait_for(lambda: client.get(f"{url}/updates").json()["latest"] == 2)
        found = client.get(f"{url}/updates").json()["updates"]
        assert [update["theta_version"] for update in found] == [0, 1]
        for accept in (BINARY, f"{BINARY}, */*;q=0.1"):
            answer = client.get(f"{url}/updates", headers={"Accept": accept})
            assert (answer.headers["content-type"], answer.headers["asktell-latest"]) == (BINARY, "2")
            assert [update.wire() for update in decode_updates(answer.content)] == found
        assert client.get(f"{url}/updates?from=2", headers={"Accept": BINARY}).content == b""

"""The OpenAPI document is true: every example works as it stands, and no request it allows (or not) breaks the server."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import hypothesis
import pytest

from api.rest.application import operations_of_all
from tests.support.servers import Server


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    """The document as a stranger's tool reads it."""
    import schemathesis  # here, for it takes two seconds of every process that only collects this file

    return schemathesis.openapi.from_url(server.url + "/openapi.json")


@pytest.mark.parametrize("operation", operations_of_all(), ids=lambda o: o.name)
def test_no_request_breaks_the_server(server: Server, schema: Any, operation: Any) -> None:
    if operation.name == "stream_events":
        return  # it does not end by itself; its own tests follow it
    from schemathesis.checks import not_a_server_error

    found = schema["/v1" + operation.path][operation.method]

    @hypothesis.given(case=found.as_strategy())
    @hypothesis.settings(
        max_examples=15,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(hypothesis.HealthCheck),
        database=None,
    )
    def run(case: Any) -> None:
        if "wait_seconds" in (case.query or {}):
            case.query["wait_seconds"] = 0
        if operation.name == "ask_trials" and isinstance(case.body, dict):
            case.body["wait_seconds"] = 0
        answer = case.call(base_url=server.url, timeout=30)
        case.validate_response(answer, checks=[not_a_server_error])

    run()


def test_every_example_of_the_document_works(server: Server) -> None:
    document = httpx.get(server.url + "/openapi.json").json()
    examples = {
        operation["operationId"]: next(iter(operation["requestBody"]["content"].values())).get("example")
        for path in document["paths"].values()
        for operation in path.values()
        if "requestBody" in operation
    }
    name = f"example-{uuid.uuid4().hex[:8]}"
    with httpx.Client(base_url=server.url + "/v1", timeout=60) as client:
        assert client.post("/studies", json=examples["create_study"] | {"name": name}).status_code == 201
        assert client.patch(f"/studies/{name}", json=examples["update_study"]).status_code == 200
        assert client.post(f"/studies/{name}/trials", json=examples["create_trial"]).status_code == 201
        asked = client.post(f"/studies/{name}/trials:ask", json=examples["ask_trials"])
        assert asked.status_code == 200
        number = asked.json()["trials"][0]["number"]
        assert client.post(f"/studies/{name}/trials/{number}:report", json=examples["report_trial"]).status_code == 200
        assert client.post(f"/studies/{name}/trials/{number}:tell", json=examples["tell_trial"]).status_code == 200
        many = client.post(f"/studies/{name}/trials:tell", json=examples["tell_trials"])
        assert many.status_code == 200
        assert len(many.json()["results"]) == 2


def test_the_document_names_every_path_of_the_contract(server: Server) -> None:
    paths = httpx.get(server.url + "/openapi.json").json()["paths"]
    study, trial = "/v1/studies/{study}", "/v1/studies/{study}/trials/{number}"
    promised = {
        "/v1/studies", study, *(f"{study}:{verb}" for verb in ("pause", "resume", "complete", "diagnose")), f"{study}/trials",
        f"{study}/trials:ask", f"{study}/trials:tell", f"{study}/best", f"{study}/events", f"{study}/export", trial,
        *(f"{trial}:{verb}" for verb in ("tell", "report", "receipt", "heartbeat", "cancel", "release")),
        "/v1/operations/{id}", "/v1/suggesters", "/v1/suggesters/{name}",
    }  # fmt: skip
    assert promised <= set(paths)

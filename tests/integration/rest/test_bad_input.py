"""Bad input is answered by name and stores nothing."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.builders import study_document
from tests.support.servers import Server


@pytest.fixture(scope="module")
def client(server: Server) -> Any:
    """HTTP to the server."""
    with httpx.Client(base_url=server.url + "/v1", timeout=30) as found:
        yield found


def pointers(answer: httpx.Response) -> set[str]:
    """Where the server says that something is wrong."""
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["type"].startswith("https://")
    return {error["pointer"] for error in document["errors"]}


FLOAT32 = {"name": "w", "type": "vector", "length": 2, "encoding": "float32"}
BAD_STUDIES: list[tuple[dict[str, Any], str]] = [
    ({"name": "a/b"}, "/name"),
    ({"name": "smile😀"}, "/name"),
    ({"name": ""}, "/name"),
    ({"name": "n" * 300}, "/name"),
    ({"bogus": 1}, "/bogus"),
    ({"parameters": []}, "/parameters"),
    ({"parameters": [{"name": "x", "type": "float", "min": 2, "max": 1}]}, "/parameters/0"),
    ({"parameters": [{"name": "x", "type": "float", "min": 0, "max": 1, "scale": "log"}]}, "/parameters/0"),
    ({"parameters": [{"name": "x", "type": "wat"}]}, "/parameters/0"),
    ({"parameters": [{"name": "x", "type": "float", "min": "0", "max": 1}]}, "/parameters/0/min"),
    ({"parameters": [{"name": "x", "type": "bool"}, {"name": "x", "type": "bool"}]}, "/parameters/1/name"),
    ({"parameters": [{"name": "x", "type": "bool", "when": {"y": [1]}}]}, "/parameters/0/when/y"),
    ({"parameters": [{"name": "x", "type": "categorical", "choices": ["a", "a"]}]}, "/parameters/0/choices"),
    ({"parameters": [{"name": "x", "type": "float", "min": 0, "max": 0, "step": 0, "default": 0}]}, "/parameters/0"),
    (
        {"parameters": [{"name": "x", "type": "float", "min": 0, "max": 1, "step": 5e-324, "default": 1}]},
        "/parameters/0",
    ),
    ({"parameters": [{**FLOAT32, "min": -1e39, "max": 0}]}, "/parameters/0"),
    ({"parameters": [{**FLOAT32, "encoding": "packed"}]}, "/parameters/0"),
    ({"parameters": [{**FLOAT32, "encoding": ["seed"]}]}, "/parameters/0"),
    ({"parameters": [{**FLOAT32, "min": 1e-50, "max": 2e-50}]}, "/parameters/0"),
    ({"parameters": [{**FLOAT32, "min": 1, "max": 1.00000001}]}, "/parameters/0"),
    ({"metadata": {"k": [1, 10**30]}}, "/metadata/k/1"),
    ({"suggester": {"name": "random", "options": {"wat": 2**64}}}, "/suggester/options/wat"),
    ({"objectives": []}, "/objectives"),
    ({"objectives": [{"metric": "loss", "goal": "down"}]}, "/objectives/0/goal"),
    ({"constraints": [{"metric": "c"}]}, "/constraints/0"),
    ({"parameter_constraints": ["x ** x"]}, "/parameter_constraints/0"),
    ({"parameter_constraints": ["__import__('os') < 1"]}, "/parameter_constraints/0"),
    ({"parameter_constraints": ["x < 0 - 1"]}, "/parameter_constraints"),
    ({"suggester": {"name": "wat"}}, "/suggester/name"),
    ({"suggester": {"name": "random", "options": {"wat": 1}}}, "/suggester/options/wat"),
    ({"limits": {"max_trials": 0}}, "/limits/max_trials"),
    ({"early_stopping": {"rule": "threshold"}}, "/early_stopping"),
    ({"seed": -1}, "/seed"),
]


@pytest.mark.parametrize(("fields", "pointer"), BAD_STUDIES, ids=lambda value: str(value)[:40])
def test_each_flaw_of_a_study_is_named(client: httpx.Client, fields: dict[str, Any], pointer: str) -> None:
    document = study_document(**fields)
    answer = client.post("/studies", json=document)
    assert answer.status_code == 422
    assert pointer in pointers(answer)
    if pointer != "/name":
        assert client.get(f"/studies/{document['name']}").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b'{"name": NaN}',
        b'{"name": Infinity}',
        b"\xff\xfe",
        b'{"a":' * 5000,
        b"[" * 100_000,
    ],
    ids=["cut", "array", "null", "text", "nan", "infinity", "bytes", "deep", "deeper"],
)
def test_what_is_no_document_is_refused(client: httpx.Client, body: bytes) -> None:
    answer = client.post("/studies", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    pointers(answer)


def test_nul_and_deep_metadata_are_refused(client: httpx.Client) -> None:
    deep: Any = 1
    for _ in range(60):
        deep = {"d": deep}
    for bad in ({"a": "\x00"}, {"\x00": 1}, deep):
        answer = client.post("/studies", json=study_document(metadata=bad))
        assert answer.status_code == 422
        assert all(p.startswith("/metadata") for p in pointers(answer))


def test_whole_numbers_beyond_64_bits_are_refused_wherever_they_stand(client: httpx.Client) -> None:
    packed = {**FLOAT32, "min": -1, "max": 1}
    name = client.post("/studies", json=study_document(parameters=[packed])).json()["name"]
    for field, value in (("parameters", {"w": [0, 10**400]}), ("metadata", {"k": -(2**63) - 1})):
        document = {"parameters": {"w": [0, 0]}, field: value}
        answer = client.post(f"/studies/{name}/trials", json=document)
        assert answer.status_code == 422
        assert all(p.startswith(f"/{field}/") for p in pointers(answer))
    kept = {"least": -(2**63), "most": 2**64 - 1}
    answer = client.post(f"/studies/{name}/trials", json={"parameters": {"w": [0, 0]}, "metadata": kept})
    assert answer.json()["metadata"] == client.get(f"/studies/{name}/trials/1").json()["metadata"] == kept


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: httpx.Client, server: Server) -> None:
    answer = client.post("/studies", content=b"x" * (64 << 20))
    assert answer.status_code == 413
    pointers(answer)
    assert "over the limit of 8388608 bytes: send less in one request" in answer.json()["detail"]

    def endless() -> Any:
        for _ in range(64):
            yield b"x" * (1 << 20)

    try:
        assert client.post("/studies", content=endless()).status_code == 413
    except (httpx.WriteError, httpx.ReadError):
        assert httpx.get(server.url + "/healthz").status_code == 200  # it hung up in the middle, which says no as well


def test_bad_outcomes_change_nothing(client: httpx.Client) -> None:
    name = client.post("/studies", json=study_document(constraints=[{"metric": "c", "max": 1}])).json()["name"]
    client.post(f"/studies/{name}/trials:ask", json={"wait_seconds": 0}).raise_for_status()
    url = f"/studies/{name}/trials/1:tell"
    cases: list[tuple[Any, str]] = [
        ({"metrics": {"loss": 1}}, "/metrics/c"),
        ({}, "/metrics/loss"),
        ({"metrics": {"loss": "1", "c": 0}}, "/metrics/loss"),
        ({"metrics": {"loss": 1, "c": 0}, "state": "waiting"}, "/state"),
        ({"metrics": {"loss": 1, "c": 0}, "std": {"loss": -1}}, "/std/loss"),
        ({"metrics": {"loss": 1, "c": 0}, "bogus": 1}, "/bogus"),
        ({"metrics": {"loss": True, "c": 0}}, "/metrics/loss"),
        ({"metrics": {"loss": 1, "c": 0}, "examples": [{"id": "x", "score": 1}]}, "/examples"),
    ]
    for body, pointer in cases:
        answer = client.post(url, json=body)
        assert (answer.status_code, pointer in pointers(answer)) == (422, True), body
    for raw in (b'{"metrics": {"loss": 1e999, "c": 0}}', b'{"metrics": {"loss": NaN, "c": 0}}'):
        assert client.post(url, content=raw).status_code == 422
    trial = client.get(f"/studies/{name}/trials/1").json()
    assert (trial["state"], trial["metrics"]) == ("running", {})


def test_what_is_not_finite_costs_its_own_outcome_and_not_the_batch(client: httpx.Client) -> None:
    name = client.post("/studies", json=study_document()).json()["name"]
    client.post(f"/studies/{name}/trials:ask", json={"count": 3, "wait_seconds": 0}).raise_for_status()
    body = (
        b'{"outcomes": [{"number": 1, "metrics": {"loss": 1}}, {"number": 2, "metrics": {"loss": NaN}},'
        b' {"number": 3, "metrics": {"loss": 1}, "feedback": NaN}, {"number": 9, "metrics": {"loss": -Infinity}}]}'
    )
    headers = {"idempotency-key": "once"}
    answer = client.post(f"/studies/{name}/trials:tell", content=body, headers=headers)
    results = answer.json()["results"]
    assert [(r["number"], r["status"]) for r in results] == [(1, 200), (2, 422), (3, 422), (9, 422)]
    assert [e["pointer"] for r in results[1:] for e in r["error"]["errors"]] == [
        "/metrics/loss", "/feedback", "/metrics/loss",
    ]  # fmt: skip
    assert results[1]["error"]["detail"] == (
        "/metrics/loss: is NaN, must be a finite number; where nothing could be measured, tell the state infeasible or failed"
    )
    trials = client.get(f"/studies/{name}/trials").json()["trials"]
    assert [t["state"] for t in trials] == ["completed", "running", "running"]
    again = client.post(f"/studies/{name}/trials:tell", content=body, headers=headers)
    assert (again.headers["idempotent-replayed"], again.json()) == ("true", answer.json())


def test_wrong_paths_queries_and_methods_are_problems_too(client: httpx.Client) -> None:
    for path in (
        "/nope",
        "/studies/none",
        "/studies/none/trials/1",
        "/studies/a%00b",
        "/operations/none",
        "/suggesters/none",
    ):
        answer = client.get(path)
        assert answer.status_code == 404, path
        pointers(answer)
    assert client.put("/studies", json={}).status_code == 405
    for query in ("page_size=0", "page_size=x", "page_token=@@", "state=wat", "order_by=wat", "label=x", "bogus=1"):
        answer = client.get(f"/studies?{query}")
        assert answer.status_code == 422, query
    assert client.get("/studies", headers={"authorization": "Bearer wrong"}).status_code == 401


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(
    field=st.sampled_from([*sorted(study_document()), "limits", "constraints", "early_stopping", "labels"]),
    value=json_values,
)
def test_any_value_in_any_field_gets_an_answer(server: Server, field: str, value: Any) -> None:
    answer = httpx.post(server.url + "/v1/studies", json=study_document() | {field: value}, timeout=30)
    assert answer.status_code in (201, 409, 422), answer.text
    if answer.status_code == 201:
        httpx.delete(server.url + f"/v1/studies/{answer.json()['id']}").raise_for_status()


def test_rubbish_on_the_socket_does_not_stop_the_server(server: Server) -> None:
    for rubbish in (
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/studies HTTP/1.1\r\nContent-Length: 99999\r\n\r\n{",
    ):
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(rubbish)
    assert httpx.get(server.url + "/healthz", timeout=30).status_code == 200

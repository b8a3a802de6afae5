"""Requests that no message can hold are refused in REST's words, before anything is sent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseError

from asktell.bodies import encode
from asktell.flows import Request
from asktell.rpc import message_of
from asktell.rpc_errors import refused

STUDY, TRIALS = "/v1/studies", "/v1/studies/s/trials"


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        (f"{TRIALS}:ask", {"count": 2**40}, "/count"),
        (f"{TRIALS}:ask", {"count": 1.5}, "/count"),
        (f"{TRIALS}:ask", {"wat": 1}, "/wat"),
        (f"{TRIALS}:tell", {"outcomes": [{"number": 1}, {"number": "x"}]}, "/outcomes/number"),
        (f"{TRIALS}/1:tell", {"metrics": {"val.loss": "x"}}, "/metrics/val.loss"),
        (f"{TRIALS}/1:tell", {"metrics": 5}, "/metrics"),
        (f"{TRIALS}/1:tell", {"residual": [1, "a"]}, "/residual/1"),
        (f"{TRIALS}/1:tell", {"state": "done"}, "/state"),
        (STUDY, {"name": 3}, "/name"),
        (STUDY, {"parameters": [{"name": "x", "min": "a"}]}, "/parameters/0/min"),
        (STUDY, {"limits": {"max_trials": "x"}}, "/limits/max_trials"),
        (STUDY, {"limits": 5}, "/limits"),
        (TRIALS, {"parameters": 5}, "/parameters"),
    ],
)
def test_the_place_is_named(path: str, body: dict[str, Any], pointer: str) -> None:
    with pytest.raises(ParseError) as error:
        message_of(Request("POST", path, encode(body)))
    problem = json.loads(refused(error.value).body)
    assert (problem["status"], [e["pointer"] for e in problem["errors"]]) == (422, [pointer])
    assert problem["detail"] == f"{pointer}: {problem['errors'][0]['message']}"
    assert "Failed to parse" not in problem["detail"]

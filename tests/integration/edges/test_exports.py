"""What a table of trials holds: all that a trial says."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from services.caller import Caller, Role
from services.domain.trial import Trial

OWNER = Caller("default", Role.ADMIN)
STUDY = {
    "name": "s",
    "parameters": [
        {"name": "x", "type": "float", "min": 0, "max": 1},
        {"name": "w", "type": "vector", "length": 2, "min": 0, "max": 1, "encoding": "float32"},
    ],
    "objectives": [{"metric": "loss"}],
    "examples": {"train": ["a"], "validation": ["v"]},
    "suggester": {"name": "random"},
    "seed": 7,
}
TOLD = {
    "metrics": {"loss": 0.5, "size": 3},
    "std": {"loss": 0.25, "size": 1},
    "residual": [0.5, -1, 2],
    "examples": [{"id": "v", "score": 0.5, "feedback": "fine"}],
    "cost": 2,
    "feedback": 'a,b\n"c"',
}
COLUMNS_OF = {
    "parameters": ("parameters.x", "parameters.w"),
    "metrics": ("metrics.loss", "other_metrics"),
    "std": ("std.loss", "other_std"),
    "suggested_by": ("suggester", "reason", "fallback", "seen_seq"),
}


@pytest.fixture
async def world(worlds: Any) -> Any:
    rest = worlds[0]
    for path, body in (
        ("/studies", STUDY),
        ("/studies/s/trials:ask", {"count": 2, "worker": "w", "wait_seconds": 0}),
        ("/studies/s/trials/1:report", {"step": 3, "metrics": {"loss": 1}}),
        ("/studies/s/trials/1:tell", TOLD),
    ):
        answer = await rest.edge.call("POST", path, body)
        assert not answer.kind, answer
    return rest


async def exported(world: Any, format_: str) -> bytes:
    return b"".join([piece async for piece in await world.services.exports.open(OWNER, "s", format_)])


async def test_a_table_has_every_field_of_a_trial(world: Any) -> None:
    names = set(next(csv.reader(io.StringIO((await exported(world, "csv")).decode()))))
    names_of_file = set(parquet.read_schema(io.BytesIO(await exported(world, "parquet"))).names)
    wanted = {column for name in Trial.model_fields for column in COLUMNS_OF.get(name, (name,))}
    assert names == names_of_file == wanted - {"study"}  # which the whole file is of


async def test_csv_has_arrays_as_json(world: Any) -> None:
    told, open_ = csv.DictReader(io.StringIO((await exported(world, "csv")).decode()))
    assert json.loads(told["residual"]) == [0.5, -1.0, 2.0]
    assert json.loads(told["examples"])[0]["score"] == 0.5
    assert json.loads(told["evaluate_on"]) == {"split": "validation", "ids": ["v"]}
    assert [m["step"] for m in json.loads(told["measurements"])] == [3]
    assert list(json.loads(told["parameters.w"])) == ["float32"]
    assert (told["std.loss"], json.loads(told["other_std"])) == ("0.25", {"size": 1.0})
    assert (told["metrics.loss"], json.loads(told["other_metrics"])) == ("0.5", {"size": 3.0})
    assert (told["fallback"], told["feedback"]) == ("false", TOLD["feedback"])
    assert int(told["seq"]) > int(told["seen_seq"])
    assert (open_["residual"], open_["std.loss"], open_["examples"]) == ("", "", "")
    assert told["lease_expires_at"] == "" != open_["lease_expires_at"]


async def test_parquet_has_residuals_as_lists(world: Any) -> None:
    table = parquet.read_table(io.BytesIO(await exported(world, "parquet")))
    assert table.schema.field("residual").type == pyarrow.list_(pyarrow.float64())
    told, open_ = table.to_pylist()
    assert (told["residual"], open_["residual"]) == ([0.5, -1.0, 2.0], None)
    assert (told["std.loss"], open_["std.loss"]) == (0.25, None)
    assert json.loads(told["examples"])[0]["id"] == "v"
    assert (told["fallback"], told["seq"] > told["seen_seq"]) == (False, True)

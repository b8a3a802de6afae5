"""Vectors as bytes on their way out."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import asktell
from asktell.flows import Request
from asktell.packed import packed, unpacked
from asktell.rpc import message_of
from tests.support.scripted import Answer, Scripted

VECTORS = {
    "id": "s1",
    "name": "s",
    "state": "active",
    "parameters": [
        {"name": "w", "type": "vector", "length": 4, "min": -9, "max": 9, "encoding": "float32"},
        {"name": "v", "type": "vector", "length": 2, "min": -9, "max": 9},
    ],
}
MADE = {"study": "s1", "number": 1, "state": "waiting", "parameters": {}}
NUMBERS = [0.5, -1.25, 0.1, 3]


def torch_tensor(numbers: Any) -> Any:
    import torch

    return torch.tensor(numbers, requires_grad=True)


@pytest.mark.parametrize("encoding", ["float32", "float64"])
@pytest.mark.parametrize("form", [list, tuple, np.array, lambda n: np.array(n).reshape(2, 2), torch_tensor])
def test_arrays_of_any_kind_and_shape_are_packed(form: Callable[[Any], Any], encoding: str) -> None:
    dtype = "<f4" if encoding == "float32" else "<f8"
    wanted = np.array(form(NUMBERS).tolist() if hasattr(form(NUMBERS), "tolist") else NUMBERS, dtype).reshape(-1)
    found = packed(form(NUMBERS), encoding, "/w")
    assert found == {encoding: base64.b64encode(wanted.tobytes()).decode()}
    assert np.array_equal(unpacked(found), wanted)


@pytest.mark.parametrize(
    "value", [None, "text", 3, {"float32": "AAAAAA=="}, ["a"], [[1, 2], 3], [10**400], {"x": 1, "y": 2}]
)
def test_what_is_no_array_of_numbers_is_left_to_the_service(value: Any) -> None:
    assert packed(value, "float32", "/w") is value


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_not_finite_is_named(number: float) -> None:
    with pytest.raises(asktell.Invalid) as refused:
        packed(np.array([[1.0, 2.0], [number, 4.0]]), "float32", "/parameters/w")
    assert [error.pointer for error in refused.value.errors] == ["/parameters/w/2"]


def test_a_sum_that_overflows_is_not_a_number_that_does() -> None:
    assert np.array_equal(unpacked(packed([1e308, 1e308], "float64", "/w")), [1e308, 1e308])


def test_points_of_ones_own_go_out_packed(script: Callable[..., Scripted]) -> None:
    service = script(Answer(201, MADE), Answer(201, MADE), Answer(201, {"trials": [MADE, MADE]}))
    study = asktell.Study(asktell.Client(service.url), dict(VECTORS))
    point = {"w": np.float32(NUMBERS), "v": np.array([1.0, 2.0])}
    study.enqueue(point)
    study.import_trial(point, {"loss": 1}, residual=np.array([1.0, -1.0]))
    study.import_trials([{"parameters": point}, {"parameters": {"v": [1, 2]}}])
    sent = {"w": {"float32": base64.b64encode(np.float32(NUMBERS).tobytes()).decode()}, "v": [1.0, 2.0]}
    bodies = [seen.body for seen in service.seen]
    assert bodies[0] == {"parameters": sent}
    assert bodies[1]["parameters"] == sent
    assert bodies[1]["residual"] == [1.0, -1.0]
    assert bodies[2] == {"trials": [{"parameters": sent}, {"parameters": {"v": [1, 2]}}]}


async def test_asyncio_packs_alike(script: Callable[..., Scripted]) -> None:
    service = script(Answer(201, MADE), Answer(201, {"trials": [MADE]}))
    async with asktell.AsyncClient(service.url) as client:
        study = asktell.AsyncStudy(client, dict(VECTORS))
        await study.enqueue({"w": NUMBERS})
        await study.import_trials([{"parameters": {"w": NUMBERS}}])
    first, second = (seen.body for seen in service.seen)
    assert first["parameters"] == second["trials"][0]["parameters"] == {"w": packed(NUMBERS, "float32", "")}


@pytest.mark.parametrize("many", [False, True])
def test_over_grpc_they_are_bytes(many: bool) -> None:
    trial = {"parameters": {"w": packed(NUMBERS, "float32", ""), "v": [1, 2]}}
    body = asktell.bodies.encode({"trials": [trial]} if many else trial)
    _, message = message_of(Request("POST", "/v1/studies/s/trials", body))
    found = message.trials[0] if many else message.trial  # type: ignore[attr-defined]
    assert found.packed["w"].float32 == np.float32(NUMBERS).tobytes()
    assert set(found.parameters) == {"v"}

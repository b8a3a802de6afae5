"""Messages that are too large for one side: said clearly, or sent in pieces."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc.aio
import numpy as np
import pytest

import asktell
from api.rpc.server import GrpcServer
from asktell.v1 import study_pb2, trial_pb2
from tests.support.grpc_client import Client

W = {"name": "w", "type": "vector", "length": 200_000, "min": -1, "max": 1, "encoding": "float64"}


async def test_large_answers_come_in_pieces_that_a_client_takes(client: Client) -> None:
    name = await client.create(parameters=[{**W, "encoding": "float32"}])
    stream = client.trials.Evaluate()
    await stream.write(trial_pb2.EvaluateRequest(study=name, running=12))  # 10 MB, and a client takes 4 MiB at once
    found: list[trial_pb2.Trial] = []
    results: list[trial_pb2.TellResult] = []
    while len(results) < 12:
        answer: Any = await asyncio.wait_for(stream.read(), 20)
        found += answer.trials
        results += answer.results
        if len(found) == 12 and answer.trials:
            outcomes = [trial_pb2.NumberedOutcome(number=t.number, metrics={"loss": 1}) for t in found]
            await stream.write(trial_pb2.EvaluateRequest(running=0, outcomes=outcomes))
    assert [trial.number for trial in found] == list(range(1, 13))
    assert {len(trial.packed["w"].float32) for trial in found} == {800_000}
    assert [(result.number, result.status) for result in results] == [(n, 200) for n in range(1, 13)]


async def test_the_sdk_says_what_to_do_about_a_request_that_is_too_large(
    client: Client, edge: tuple[GrpcServer, str]
) -> None:
    name = await client.create(parameters=[W])
    async with asktell.AsyncClient(edge[1], transport="grpc") as sdk:
        study = await sdk.study(name)
        with pytest.raises(asktell.Invalid, match="over the limit of 1048576 bytes: send less in one request"):
            await asyncio.wait_for(study.enqueue({"w": np.zeros(200_000)}), 5)  # at once: no repetition helps


async def test_an_answer_that_a_client_refuses_can_be_had_again(client: Client, edge: tuple[GrpcServer, str]) -> None:
    name = await client.create(parameters=[W])
    wish = trial_pb2.AskTrialsRequest(study=name, count=3, worker="w", wait_seconds=0, request_id="once")
    with pytest.raises(grpc.aio.AioRpcError, match="larger than max"):
        await client.trials.AskTrials(wish)
    async with grpc.aio.insecure_channel(edge[1], options=[("grpc.max_receive_message_length", -1)]) as channel:
        found = (await Client(channel).trials.AskTrials(wish)).trials
    assert [trial.number for trial in found] == [1, 2, 3]
    counts = (await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))).trial_counts
    assert counts.running == 3

"""Suggesters that are computed by workers, seen through gRPC: operations, and streams that wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from api.rpc.server import build_server
from asktell.v1 import operation_pb2, study_pb2, trial_pb2
from services.container import Services
from services.domain.suggester import Honours, Spec, Suggestion
from services.store.engine import Database
from services.wakeups import LocalWakeups
from tests.support.grpc_client import Client, refused
from workers.suggesters.registry import specs

TEXT = [{"name": "prompt", "type": "text", "initial": ["Say it."]}]


def _no_suggester(*_: object) -> None:
    raise AssertionError("nothing computes here: the test plays the worker")


WRITER = Spec(
    name="writer",
    summary="Texts, in their time.",
    reference="none",
    honours=Honours(types=frozenset({"text"})),
    create=_no_suggester,  # type: ignore[arg-type]
)


@pytest.fixture
async def services(database: str) -> AsyncIterator[Services]:
    """The use cases with a slow suggester of texts, which nothing can stand in for."""
    found = Services(Database(database), LocalWakeups(), {**specs(), "writer": WRITER})
    await found.start()
    yield found
    await found.close()


@pytest.fixture
async def client(services: Services) -> AsyncIterator[Client]:
    """A client of a server over them."""
    server = build_server(services, access_log=False)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Client(channel)
    await server.stop(0)


async def work(services: Services, texts: list[str]) -> None:
    """What a worker does: claim the study that wants suggestions, commit some."""
    async with asyncio.timeout(60):
        while not (due := await services.suggesting.due()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    claim = await services.suggesting.claim(due[0], "the test")
    assert claim is not None
    found = [Suggestion(parameters={"prompt": text}, reason="thought about it") for text in texts]
    assert await services.suggesting.commit(claim, found, None, 0.1)


async def test_an_ask_that_takes_longer_becomes_an_operation(client: Client, services: Services) -> None:
    name = await client.create(parameters=TEXT, suggester={"name": "writer"})
    wish = trial_pb2.AskTrialsRequest(study=name, wait_seconds=0)
    answer = await client.trials.AskTrials(wish)
    assert not answer.trials
    assert (answer.operation.study, answer.operation.done) == (name, False)
    follow = operation_pb2.GetOperationRequest(id=answer.operation.id)
    assert not (await client.operations.GetOperation(follow)).done
    follow.wait_seconds = 20
    waiting = asyncio.ensure_future(client.operations.GetOperation(follow))
    await work(services, ["Tell it."])
    done = await waiting
    assert done.done
    assert [t.parameters["prompt"].string_value for t in done.trials] == ["Tell it."]


async def test_an_operation_whose_study_is_paused_says_why_there_are_no_trials(client: Client) -> None:
    name = await client.create(parameters=TEXT, suggester={"name": "writer"})
    operation = (await client.trials.AskTrials(trial_pb2.AskTrialsRequest(study=name, wait_seconds=0))).operation
    await client.studies.PauseStudy(study_pb2.PauseStudyRequest(study=name))
    found = await client.operations.GetOperation(operation_pb2.GetOperationRequest(id=operation.id))
    assert found.done
    assert (found.error.status, found.error.type) == (409, "https://asktell.dev/problems/not-active")


async def test_an_ask_waits_for_a_suggestion_that_comes_in_time(client: Client, services: Services) -> None:
    name = await client.create(parameters=TEXT, suggester={"name": "writer"})
    asking = asyncio.ensure_future(client.trials.AskTrials(trial_pb2.AskTrialsRequest(study=name, wait_seconds=20)))
    await work(services, ["Ask it."])
    assert [t.parameters["prompt"].string_value for t in (await asking).trials] == ["Ask it."]


async def test_a_stream_waits_for_suggestions_and_outlasts_operations(
    client: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.rpc.evaluation.ASK_SECONDS", 0.2)
    name = await client.create(parameters=TEXT, suggester={"name": "writer"})
    stream = client.trials.Evaluate()
    await stream.write(trial_pb2.EvaluateRequest(study=name, running=1))
    await asyncio.sleep(0.6)
    await work(services, ["Stream it."])
    answer = await asyncio.wait_for(stream.read(), 60)
    assert isinstance(answer, trial_pb2.EvaluateResponse)
    assert [t.parameters["prompt"].string_value for t in answer.trials] == ["Stream it."]
    stream.cancel()


async def test_a_client_that_hangs_up_while_it_waits_takes_no_trial_with_it(client: Client, services: Services) -> None:
    name = await client.create(parameters=TEXT, suggester={"name": "writer"})
    asking = client.trials.AskTrials(trial_pb2.AskTrialsRequest(study=name, wait_seconds=60))
    waiting = asyncio.ensure_future(asking.wait_for_connection())
    await asyncio.sleep(0.3)
    waiting.cancel()
    asking.cancel()
    await asyncio.sleep(0.3)
    again = asyncio.ensure_future(client.trials.AskTrials(trial_pb2.AskTrialsRequest(study=name, wait_seconds=20)))
    await work(services, ["Once."])
    assert [t.number for t in (await again).trials] == [1]
    study = await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
    assert study.trial_counts.running == 1


async def test_what_a_suggester_does_not_serve_is_refused_by_name(client: Client) -> None:
    with refused() as why:
        await client.create(suggester={"name": "writer"})
    assert (why.code, why.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["parameters[0].type"])

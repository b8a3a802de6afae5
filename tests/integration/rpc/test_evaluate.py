"""The two-way stream: a client is kept supplied with trials and tells what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from api.rpc import evaluation
from api.rpc.server import GrpcServer
from asktell.v1 import study_pb2, trial_pb2
from services.container import Services
from services.domain.errors import Unavailable
from tests.support.grpc_client import Client, refused

LEASE = 4
"""Seconds; a sign of life comes each third of it, which a machine with much to do must still manage."""
Stream = grpc.aio.StreamStreamCall[trial_pb2.EvaluateRequest, trial_pb2.EvaluateResponse]


def outcome(number: int, loss: float = 0.5) -> trial_pb2.NumberedOutcome:
    return trial_pb2.NumberedOutcome(number=number, metrics={"loss": loss})


async def opened(client: Client, study: str, running: int = 1, **fields: object) -> Stream:
    stream = client.trials.Evaluate()
    await stream.write(trial_pb2.EvaluateRequest(study=study, worker="w", running=running, **fields))  # type: ignore[arg-type]
    return stream


async def heard(stream: Stream) -> trial_pb2.EvaluateResponse:
    answer = await asyncio.wait_for(stream.read(), 60)
    assert isinstance(answer, trial_pb2.EvaluateResponse)
    return answer


async def trials(stream: Stream, count: int) -> list[trial_pb2.Trial]:
    found: list[trial_pb2.Trial] = []
    while len(found) < count:
        found += (await heard(stream)).trials
    return found


async def until(client: Client, study: str, holds: Callable[[study_pb2.TrialCounts], bool]) -> study_pb2.TrialCounts:
    for _ in range(1200):
        counts = (await client.studies.GetStudy(study_pb2.GetStudyRequest(study=study))).trial_counts
        if holds(counts):
            break
        await asyncio.sleep(0.05)
    return counts


async def test_a_study_is_evaluated_to_its_end(client: Client) -> None:
    name = await client.create(limits={"max_trials": 50})
    stream = await opened(client, name, running=8)
    told, done = dict[int, int](), ""
    in_flight = most = 0
    while (answer := await asyncio.wait_for(stream.read(), 60)) is not grpc.aio.EOF:
        told |= {result.number: result.status for result in answer.results}
        in_flight += len(answer.trials) - len(answer.results)
        most = max(most, in_flight)
        done = done or answer.done.reason
        if answer.trials:
            outcomes = [outcome(t.number, t.parameters["x"].number_value) for t in answer.trials]
            await stream.write(trial_pb2.EvaluateRequest(outcomes=outcomes))
    assert told == dict.fromkeys(range(1, 51), 200)
    assert most <= 8
    assert "max_trials" in done
    study = await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
    assert (study.state, study.trial_counts.completed) == (study_pb2.STUDY_STATE_COMPLETED, 50)


async def test_as_many_trials_run_as_the_client_wants_just_now(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name, running=2)
    first = await trials(stream, 2)
    await stream.write(trial_pb2.EvaluateRequest(running=5))
    await trials(stream, 3)
    await stream.write(trial_pb2.EvaluateRequest(running=0, outcomes=[outcome(t.number) for t in first]))
    assert [r.status for r in (await heard(stream)).results] == [200, 200]
    assert (await until(client, name, lambda c: c.completed == 2)).running == 3
    await stream.done_writing()
    assert await asyncio.wait_for(stream.read(), 60) is grpc.aio.EOF


async def test_a_wrong_outcome_is_answered_and_may_be_told_again(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name)
    (trial,) = await trials(stream, 1)
    wrong = trial_pb2.NumberedOutcome(number=trial.number, metrics={"other": 1.0})
    await stream.write(trial_pb2.EvaluateRequest(outcomes=[wrong, outcome(99)]))
    results = (await heard(stream)).results
    assert [(r.number, r.status) for r in results] == [(trial.number, 422), (99, 404)]
    assert results[0].error.errors[0].pointer == "/metrics/loss"
    await stream.write(trial_pb2.EvaluateRequest(outcomes=[outcome(trial.number)]))
    assert (await heard(stream)).results[0].trial.state == trial_pb2.TRIAL_STATE_COMPLETED
    stream.cancel()


async def test_an_outcome_refused_for_drift_may_be_told_again(client: Client) -> None:
    theta = {"name": "theta", "type": "vector", "encoding": "seed", "shape": [4]}
    name = await client.create(parameters=[theta], suggester={"name": "es"})
    value = {"theta_version": 0, "generation": 0, "pair": 0, "sign": 1, "seed": [1, 2], "sigma": 0.1}
    for _ in range(2):
        new = trial_pb2.NewTrial()
        new.parameters["theta"].struct_value.update(value)
        await client.trials.CreateTrial(trial_pb2.CreateTrialRequest(study=name, trial=new))
    other = (await client.trials.AskTrials(trial_pb2.AskTrialsRequest(study=name, worker="other"))).trials[0]
    right = trial_pb2.TellTrialRequest(study=name, number=other.number, metrics={"loss": 1.0}, fingerprint="0" * 16)
    await client.trials.TellTrial(right)
    stream = await opened(client, name)
    (trial,) = await trials(stream, 1)
    await client.studies.CompleteStudy(study_pb2.CompleteStudyRequest(study=name))
    told = trial_pb2.NumberedOutcome(number=trial.number, metrics={"loss": 1.0}, fingerprint="1" * 16)
    await stream.write(trial_pb2.EvaluateRequest(outcomes=[told]))
    assert [r.status for r in (await heard(stream)).results] == [409]
    told.fingerprint = "0" * 16  # rebuilt; the stream was kept for it
    await stream.write(trial_pb2.EvaluateRequest(outcomes=[told]))
    assert [r.status for r in (await heard(stream)).results] == [200]
    assert (await heard(stream)).done.reason
    assert await asyncio.wait_for(stream.read(), 60) is grpc.aio.EOF


async def test_a_broken_stream_hands_its_trials_back(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name, running=4)
    await trials(stream, 4)
    stream.cancel()
    counts = await until(client, name, lambda c: c.waiting == 4)
    assert (counts.waiting, counts.running) == (4, 0)


async def test_so_does_one_that_the_client_closes(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name, running=2)
    first, _ = await trials(stream, 2)
    await stream.write(trial_pb2.EvaluateRequest(running=0, outcomes=[outcome(first.number)]))
    await stream.done_writing()
    assert (await heard(stream)).results[0].status == 200
    assert await asyncio.wait_for(stream.read(), 60) is grpc.aio.EOF
    counts = await until(client, name, lambda c: c.waiting == 1)
    assert (counts.waiting, counts.running, counts.completed) == (1, 0, 1)


async def test_trials_that_are_kept_come_back_to_their_worker(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name, running=3, keep_on_disconnect=True)
    numbers = {t.number for t in await trials(stream, 3)}
    stream.cancel()
    await asyncio.sleep(0.3)
    assert (await until(client, name, lambda c: c.running == 3)).running == 3
    again = await opened(client, name, running=3, resume=True)
    assert {t.number for t in await trials(again, 3)} == numbers
    again.cancel()


async def test_leases_last_as_long_as_the_stream(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name, lease_seconds=LEASE)
    (trial,) = await trials(stream, 1)
    now = trial
    async with asyncio.timeout(60):  # longer than the lease: without signs of life the trial would go back
        while now.lease_expires_at.ToMilliseconds() < trial.lease_expires_at.ToMilliseconds() + 1000 * LEASE:
            await asyncio.sleep(0.1)
            now = await client.trials.GetTrial(trial_pb2.GetTrialRequest(study=name, number=trial.number))
    assert (now.state, now.attempt) == (trial_pb2.TRIAL_STATE_RUNNING, 1)
    stream.cancel()


async def test_a_trial_that_is_cancelled_elsewhere_makes_room_for_another(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name, lease_seconds=LEASE)
    (trial,) = await trials(stream, 1)
    await client.trials.CancelTrial(trial_pb2.CancelTrialRequest(study=name, number=trial.number))
    assert [t.number for t in await trials(stream, 1)] == [trial.number + 1]
    stream.cancel()


async def test_a_limit_that_holds_for_now_is_waited_for(client: Client) -> None:
    name = await client.create(limits={"max_running": 1})
    (other,) = await client.ask(name)
    stream = await opened(client, name)
    await asyncio.sleep(0.2)
    await client.tell(name, other.number)
    assert [t.number for t in await trials(stream, 1)] == [2]
    stream.cancel()


async def test_a_paused_study_says_so_and_takes_what_is_out(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name)
    (trial,) = await trials(stream, 1)
    await client.studies.PauseStudy(study_pb2.PauseStudyRequest(study=name))
    await stream.write(trial_pb2.EvaluateRequest(outcomes=[outcome(trial.number)]))
    assert (await heard(stream)).results[0].status == 200
    assert "paused" in (await heard(stream)).done.reason
    assert await asyncio.wait_for(stream.read(), 60) is grpc.aio.EOF


async def test_a_finished_study_does_not_wait_for_a_trial_that_is_gone(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name, running=2, lease_seconds=LEASE)
    first, second = await trials(stream, 2)
    await client.studies.CompleteStudy(study_pb2.CompleteStudyRequest(study=name))
    await stream.write(trial_pb2.EvaluateRequest(outcomes=[outcome(first.number)]))
    await client.trials.CancelTrial(trial_pb2.CancelTrialRequest(study=name, number=second.number))
    async with asyncio.timeout(60):
        while await stream.read() is not grpc.aio.EOF:
            pass
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_stream_outlives_a_database_that_is_away(
    client: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await client.create()
    monkeypatch.setattr(evaluation, "RETRY_SECONDS", 0.05)
    write, away = services.transactions.on_study, [3, 3]

    async def on_study(*arguments: Any) -> Any:
        if away[0]:
            away[0] -= 1
            raise Unavailable
        return await write(*arguments)

    monkeypatch.setattr(services.transactions, "on_study", on_study)
    stream = await opened(client, name)
    (trial,) = await trials(stream, 1)
    assert away.pop(0) == 0
    await stream.write(trial_pb2.EvaluateRequest(running=0, outcomes=[outcome(trial.number)]))
    assert (await heard(stream)).results[0].status == 200
    assert away == [0]
    stream.cancel()


@pytest.mark.parametrize(
    ("first", "then", "field"),
    [
        ({}, None, "study"),
        ({"running": -1}, None, "running"),
        ({"lease_seconds": float("nan")}, None, "lease_seconds"),
        ({"running": 0}, {"running": 10_001}, "running"),
        ({"running": 0}, {"worker": "another"}, "worker"),
    ],
)
async def test_a_message_that_makes_no_sense_ends_the_stream(
    client: Client, first: dict[str, float], then: dict[str, object] | None, field: str
) -> None:
    name = await client.create()
    stream = client.trials.Evaluate()
    with refused() as why:
        opening = {"study": name, **first} if first else {"worker": "w"}
        await stream.write(trial_pb2.EvaluateRequest(**opening))  # type: ignore[arg-type]
        if then is not None:
            await stream.write(trial_pb2.EvaluateRequest(**then))  # type: ignore[arg-type]
        while True:
            await heard(stream)
    assert (why.code, why.fields) == (grpc.StatusCode.INVALID_ARGUMENT, [field])


async def test_a_study_that_is_deleted_ends_the_stream(client: Client) -> None:
    name = await client.create()
    stream = await opened(client, name)
    (trial,) = await trials(stream, 1)
    await client.studies.DeleteStudy(study_pb2.DeleteStudyRequest(study=name))
    await stream.write(trial_pb2.EvaluateRequest(outcomes=[outcome(trial.number)]))
    with refused() as why:
        while True:
            await heard(stream)
    assert why.code is grpc.StatusCode.NOT_FOUND


async def test_a_server_that_stops_hands_the_trials_of_its_streams_back(
    client: Client, edge: tuple[GrpcServer, str], services: Services
) -> None:
    from tests.support.builders import ADMIN

    name = await client.create()
    stream = await opened(client, name, running=3)
    await trials(stream, 3)
    await edge[0].stop(0)
    counts = (await services.studies.get(ADMIN, name)).trial_counts
    assert (counts.waiting, counts.running) == (3, 0)
    stream.cancel()


async def test_many_outcomes_share_a_transaction(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    # What a client sends in single messages is told in batches, for the teller takes all that has gathered.
    sizes: list[int] = []
    tell = evaluation.Evaluation._tell

    async def counted(self: evaluation.Evaluation, outcomes: object) -> None:
        sizes.append(len(outcomes.outcomes))  # type: ignore[attr-defined]
        await tell(self, outcomes)  # type: ignore[arg-type]

    monkeypatch.setattr(evaluation.Evaluation, "_tell", counted)
    name = await client.create()
    stream = await opened(client, name, running=200)
    for trial in await trials(stream, 200):
        await stream.write(trial_pb2.EvaluateRequest(outcomes=[outcome(trial.number)], running=0))
    await until(client, name, lambda c: c.completed == 200)
    assert sum(sizes) == 200
    assert len(sizes) < 150
    stream.cancel()

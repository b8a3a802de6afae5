"""What a client does over gRPC, call by call."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from pyarrow import parquet

from api.rpc.filling import write
from api.rpc.messages import take
from asktell.v1 import operation_pb2, study_pb2, suggester_pb2, trial_pb2
from services.container import Services
from tests.support.builders import EVERY_VALUE, study_document
from tests.support.grpc_client import Client, refused

EXAMPLES = {"train": ["a", "b"], "validation": ["v", "w"]}


def patch(**fields: object) -> Struct:
    found = Struct()
    found.update(fields)
    return found


async def test_from_a_study_to_its_best_trial(client: Client) -> None:
    name = await client.create()
    for loss in (0.5, 0.1, 0.9):
        (trial,) = await client.ask(name)
        assert trial.state == trial_pb2.TRIAL_STATE_RUNNING
        assert 0 <= trial.parameters["x"].number_value <= 1
        told = await client.tell(name, trial.number, loss)
        assert (told.state, dict(told.metrics)) == (trial_pb2.TRIAL_STATE_COMPLETED, {"loss": loss})
    best = await client.studies.GetBest(study_pb2.GetBestRequest(study=name))
    assert ([t.number for t in best.trials], best.feasible) == ([2], True)
    study = await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
    assert study.trial_counts.completed == 3


async def test_a_study_is_answered_as_it_was_created(client: Client) -> None:
    document = study_document(labels={"team": "vision"}, metadata={"a": [1, None]}, limits={"max_trials": 7})
    request = study_pb2.CreateStudyRequest(study=write(study_pb2.Study, document))
    made = await client.studies.CreateStudy(request)
    answered = take(made)
    assert {name: answered[name] for name in ("name", "labels", "metadata", "seed")} == {
        name: document[name] for name in ("name", "labels", "metadata", "seed")
    }
    assert answered["limits"] == {"max_trials": 7, "max_attempts": 3}
    assert answered["state"] == "active"
    assert take(await client.studies.GetStudy(study_pb2.GetStudyRequest(study=made.id))) == answered


async def test_a_name_taken_is_refused(client: Client) -> None:
    name = await client.create()
    with refused() as why:
        await client.create(name=name)
    assert (why.code, why.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CONFLICT")


async def test_every_place_that_is_wrong_is_named(client: Client) -> None:
    with refused() as why:
        await client.create(
            parameters=[{"name": "x", "type": "float", "min": 0}, {"name": "n", "type": "int", "min": 0.5, "max": 2}]
        )
    assert why.code is grpc.StatusCode.INVALID_ARGUMENT
    assert {"parameters[0].max", "parameters[1].min"} <= set(why.fields)


async def test_a_study_is_patched_only_as_it_was_read(client: Client) -> None:
    name = await client.create(limits={"max_trials": 5, "max_running": 2})
    etag = (await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))).etag
    change = study_pb2.UpdateStudyRequest(
        study=name, etag=etag, patch=patch(limits={"max_trials": None, "max_running": 3})
    )
    changed = await client.studies.UpdateStudy(change)
    assert (changed.limits.HasField("max_trials"), changed.limits.max_running) == (False, 3)
    with refused() as why:
        await client.studies.UpdateStudy(change)
    assert (why.code, why.reason) == (grpc.StatusCode.ABORTED, "STALE")
    with refused() as why:
        await client.studies.UpdateStudy(study_pb2.UpdateStudyRequest(study=name, patch=patch(seed=3)))
    assert (why.code, why.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["seed"])


async def test_states_of_a_study(client: Client) -> None:
    name = await client.create()
    assert (
        await client.studies.PauseStudy(study_pb2.PauseStudyRequest(study=name))
    ).state == study_pb2.STUDY_STATE_PAUSED
    with refused() as why:
        await client.ask(name)
    assert (why.code, why.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_ACTIVE")
    resumed = await client.studies.ResumeStudy(study_pb2.ResumeStudyRequest(study=name))
    assert resumed.state == study_pb2.STUDY_STATE_ACTIVE
    done = await client.studies.CompleteStudy(study_pb2.CompleteStudyRequest(study=name))
    assert done.state == study_pb2.STUDY_STATE_COMPLETED
    await client.studies.DeleteStudy(study_pb2.DeleteStudyRequest(study=name))
    with refused() as why:
        await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
    assert (why.code, why.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_lists_come_in_pages(client: Client) -> None:
    name = await client.create(labels={"team": "a"})
    await client.create()
    await client.ask(name, 3)
    found = await client.studies.ListStudies(study_pb2.ListStudiesRequest(label=["team:a"]))
    assert [s.name for s in found.studies] == [name]
    numbers, token = [], ""
    for _ in range(2):
        wanted = trial_pb2.ListTrialsRequest(study=name, page_size=2, page_token=token, order_by="-number")
        page = await client.trials.ListTrials(wanted)
        numbers += [t.number for t in page.trials]
        token = page.next_page_token
    assert (numbers, token) == ([3, 2, 1], "")
    running = trial_pb2.ListTrialsRequest(study=name, state=trial_pb2.TRIAL_STATE_COMPLETED)
    assert not (await client.trials.ListTrials(running)).trials
    with refused() as why:
        await client.trials.ListTrials(trial_pb2.ListTrialsRequest(study=name, page_size=1001))
    assert why.fields == ["page_size"]


async def test_many_outcomes_are_judged_one_by_one(client: Client) -> None:
    name = await client.create()
    await client.ask(name, 2)
    outcomes = [
        trial_pb2.NumberedOutcome(number=1, metrics={"loss": 1}),
        trial_pb2.NumberedOutcome(number=2, metrics={"loss": float("nan")}),
        trial_pb2.NumberedOutcome(number=9, metrics={"loss": 1}),
    ]
    answer = await client.trials.TellTrials(trial_pb2.TellTrialsRequest(study=name, outcomes=outcomes))
    assert [(r.number, r.status) for r in answer.results] == [(1, 200), (2, 422), (9, 404)]
    assert answer.results[1].error.errors[0].pointer == "/metrics/loss"
    assert answer.results[0].trial.state == trial_pb2.TRIAL_STATE_COMPLETED


async def test_another_outcome_changes_nothing(client: Client) -> None:
    name = await client.create()
    await client.ask(name)
    told = await client.tell(name, 1, 0.5)
    assert await client.tell(name, 1, 0.5) == told
    with refused() as why:
        await client.tell(name, 1, 0.6)
    assert (why.code, why.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT")


async def test_points_of_every_type_are_enqueued_imported_and_come_back(client: Client) -> None:
    from tests.support.builders import EVERY_TYPE

    types = [p for p in EVERY_TYPE if p["type"] != "text"]
    values = {name: value for name, value in EVERY_VALUE.items() if name != "prompt"}
    name = await client.create(parameters=types)
    new = write(trial_pb2.NewTrial, {"parameters": values, "labels": {"by": "hand"}})
    made = await client.trials.CreateTrial(trial_pb2.CreateTrialRequest(study=name, trial=new))
    assert (made.state, take(made)["parameters"]) == (trial_pb2.TRIAL_STATE_WAITING, values)
    (asked,) = await client.ask(name)
    assert (asked.number, take(asked)["parameters"], dict(asked.labels)) == (1, values, {"by": "hand"})
    finished = write(trial_pb2.NewTrial, {"parameters": values, "metrics": {"loss": 3}})
    many = trial_pb2.CreateTrialsRequest(study=name, trials=[finished, finished])
    assert [t.state for t in (await client.trials.CreateTrials(many)).trials] == [trial_pb2.TRIAL_STATE_COMPLETED] * 2
    with refused() as why:
        await client.trials.CreateTrials(
            trial_pb2.CreateTrialsRequest(study=name, trials=[finished, trial_pb2.NewTrial()])
        )
    assert why.code is grpc.StatusCode.INVALID_ARGUMENT
    assert all(place.startswith("trials[1]") for place in why.fields)


async def test_a_lease_is_extended_given_back_and_given_up(client: Client) -> None:
    name = await client.create()
    await client.ask(name, lease_seconds=60)
    beat = trial_pb2.HeartbeatTrialRequest(study=name, number=1, lease_seconds=7200)
    first = (await client.trials.GetTrial(trial_pb2.GetTrialRequest(study=name, number=1))).lease_expires_at
    extended = (await client.trials.HeartbeatTrial(beat)).lease_expires_at
    assert extended.seconds - first.seconds > 7000
    released = await client.trials.ReleaseTrial(trial_pb2.ReleaseTrialRequest(study=name, number=1))
    assert released.state == trial_pb2.TRIAL_STATE_WAITING
    cancelled = await client.trials.CancelTrial(trial_pb2.CancelTrialRequest(study=name, number=1))
    assert cancelled.state == trial_pb2.TRIAL_STATE_CANCELLED
    with refused() as why:
        await client.trials.HeartbeatTrial(beat)
    assert why.code is grpc.StatusCode.FAILED_PRECONDITION


async def test_reports_are_judged(client: Client) -> None:
    name = await client.create(early_stopping={"rule": "threshold", "max": 1})
    await client.ask(name)
    good = trial_pb2.ReportTrialRequest(study=name, number=1, step=0, metrics={"loss": 0.5})
    assert not (await client.trials.ReportTrial(good)).should_stop
    bad = trial_pb2.ReportTrialRequest(study=name, number=1, step=1, metrics={"loss": 2})
    answer = await client.trials.ReportTrial(bad)
    assert answer.should_stop
    assert answer.reason
    trial = await client.trials.GetTrial(trial_pb2.GetTrialRequest(study=name, number=1))
    assert [(m.step, dict(m.metrics)) for m in trial.measurements] == [(0, {"loss": 0.5}), (1, {"loss": 2.0})]


async def test_notes_on_a_trial_are_merged(client: Client) -> None:
    name = await client.create()
    await client.ask(name)
    await client.tell(name, 1)
    for labels, metadata in (({"a": "1", "b": "2"}, {"k": {"x": 1}}), ({"a": None}, {"k": {"y": [2]}})):
        change = trial_pb2.TrialPatch(labels=patch(**labels), metadata=patch(**metadata))
        trial = await client.trials.UpdateTrial(trial_pb2.UpdateTrialRequest(study=name, number=1, patch=change))
    assert dict(trial.labels) == {"b": "2"}
    assert take(trial)["metadata"] == {"k": {"x": 1, "y": [2]}}


async def test_a_receipt_says_who_proposed_a_trial(client: Client) -> None:
    name = await client.create()
    (trial,) = await client.ask(name)
    receipt = await client.trials.GetReceipt(trial_pb2.GetReceiptRequest(study=name, number=1))
    assert (receipt.study, receipt.number, receipt.suggester) == (name, 1, trial.suggested_by.suggester)


async def test_a_retry_replays_the_first_answer(client: Client) -> None:
    name = await client.create()
    wish = trial_pb2.AskTrialsRequest(study=name, wait_seconds=0, request_id="once")
    first = await client.trials.AskTrials(wish)
    call = client.trials.AskTrials(wish)
    assert await call == first
    assert dict(await call.trailing_metadata())["idempotent-replayed"] == "true"
    wish.worker = "somebody else"
    with refused() as why:
        await client.trials.AskTrials(wish)
    assert (why.code, why.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT")
    wish.request_id = "x" * 256
    with refused() as why:
        await client.trials.AskTrials(wish)
    assert why.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_examples_are_told_one_by_one(client: Client) -> None:
    name = await client.create(examples=EXAMPLES)
    (trial,) = await client.ask(name)
    assert (trial.evaluate_on.split, list(trial.evaluate_on.ids)) == ("validation", ["v", "w"])
    results = [trial_pb2.ExampleResult(id=i, score=0.0, output="o") for i in trial.evaluate_on.ids]
    told = await client.tell(name, 1, examples=results)
    assert list(told.examples) == results
    (second,) = await client.ask(name)
    with refused() as why:
        await client.tell(name, second.number, examples=[trial_pb2.ExampleResult(id="stranger", score=1)])
    assert "examples[0].id" in why.fields


async def test_events_follow_a_study_from_any_place(client: Client) -> None:
    name = await client.create()
    await client.ask(name)
    stream = client.studies.StreamEvents(study_pb2.StreamEventsRequest(study=name))
    events = [await asyncio.wait_for(stream.read(), 10) for _ in range(3)]
    assert [e.seq for e in events] == sorted(e.seq for e in events)
    assert events[0].type == "study.created"
    await client.tell(name, 1)
    while events[-1].type != "trial.completed":
        events.append(await asyncio.wait_for(stream.read(), 10))
    stream.cancel()
    later = client.studies.StreamEvents(study_pb2.StreamEventsRequest(study=name, after=events[-2].seq))
    assert await asyncio.wait_for(later.read(), 10) == events[-1]
    later.cancel()


async def test_an_event_stream_ends_with_its_study(client: Client) -> None:
    name = await client.create()
    stream = client.studies.StreamEvents(study_pb2.StreamEventsRequest(study=name))
    await asyncio.wait_for(stream.read(), 10)
    await client.studies.DeleteStudy(study_pb2.DeleteStudyRequest(study=name))
    assert await asyncio.wait_for(stream.read(), 10) is grpc.aio.EOF


@pytest.mark.parametrize("format_", ["", "json", "csv", "parquet"])
async def test_every_trial_is_exported(client: Client, format_: str) -> None:
    name = await client.create()
    await client.ask(name, 3)
    pieces = [p async for p in client.studies.ExportTrials(study_pb2.ExportTrialsRequest(study=name, format=format_))]
    data = b"".join(p.data for p in pieces)
    assert pieces[0].content_type
    rows = {
        "": lambda: len(json.loads(data)),
        "json": lambda: len(json.loads(data)),
        "csv": lambda: len(data.decode().splitlines()) - 1,
        "parquet": lambda: parquet.read_table(io.BytesIO(data)).num_rows,
    }
    assert rows[format_]() == 3


async def test_an_unknown_format_is_refused(client: Client) -> None:
    name = await client.create()
    with refused() as why:
        async for _ in client.studies.ExportTrials(study_pb2.ExportTrialsRequest(study=name, format="xml")):
            pass
    assert (why.code, why.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["format"])


async def test_an_operation_that_is_not_there(client: Client) -> None:
    with refused() as why:
        await client.operations.GetOperation(operation_pb2.GetOperationRequest(id="op_none"))
    assert why.code is grpc.StatusCode.NOT_FOUND
    with refused() as why:
        await client.operations.GetOperation(operation_pb2.GetOperationRequest(id="op_none", wait_seconds=float("inf")))
    assert (why.code, why.fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["wait_seconds"])


async def test_the_catalogue_says_what_each_suggester_honours(client: Client) -> None:
    listed = await client.suggesters.ListSuggesters(suggester_pb2.ListSuggestersRequest())
    names = [entry.name for entry in listed.suggesters]
    assert {"random", "sobol"} <= set(names)
    entry = await client.suggesters.GetSuggester(suggester_pb2.GetSuggesterRequest(name="random"))
    assert "float" in entry.honours.types
    assert take(entry)["options"]["type"] == "object"
    with refused() as why:
        await client.suggesters.GetSuggester(suggester_pb2.GetSuggesterRequest(name="none"))
    assert why.code is grpc.StatusCode.NOT_FOUND


async def test_a_client_that_hangs_up_leaves_no_trial_behind(
    client: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, ask, sent = await client.create(limits={"max_running": 1}), services.asks.ask, 0

    async def counted(*given: Any) -> Any:
        nonlocal sent
        found = await ask(*given)
        sent += len(found.value.trials)  # the client may hang up while they are on their way: then the lease helps
        return found

    monkeypatch.setattr(services.asks, "ask", counted)

    async def running() -> int:
        study = await client.studies.GetStudy(study_pb2.GetStudyRequest(study=name))
        return study.trial_counts.running

    calls = [client.trials.AskTrials(trial_pb2.AskTrialsRequest(study=name, wait_seconds=5)) for _ in range(20)]
    for call in calls:
        await asyncio.sleep(0.001)
        call.cancel()
    done = await asyncio.gather(*calls, return_exceptions=True)
    kept = sum(len(answer.trials) for answer in done if isinstance(answer, trial_pb2.AskTrialsResponse))
    async with asyncio.timeout(60):
        while await running() != sent:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert kept <= sent <= 1

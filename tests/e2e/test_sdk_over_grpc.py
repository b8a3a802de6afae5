"""The same clients over gRPC: the same words, the same errors."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import asktell
from tests.support.servers import Server, free_port

SPACE: dict[str, asktell.Parameter] = {
    "x": asktell.Float(1e-3, 5, scale="log"),
    "n": asktell.Int(1, 9),
    "kind": asktell.Categorical(["a", 1, None, True]),
    "p": asktell.Float(0, 1, when={"kind": "a"}),
}


@pytest.fixture
def client(server: Server) -> Iterator[asktell.Client]:
    with asktell.Client(server.grpc_target, transport="grpc") as found:
        yield found


def create(client: asktell.Client, **more: Any) -> asktell.Study:
    return client.create_study(f"rpc-{uuid.uuid4().hex[:12]}", SPACE, minimize="loss", **{"suggester": "sobol"} | more)


def test_a_study_reads_the_same_over_both(client: asktell.Client, server: Server) -> None:
    study = create(client, max_trials=9, labels={"team": "a"}, metadata={"n": 3, "deep": {"list": [1, 2.5, None]}})
    trial = study.ask()[0]
    trial.report(1, loss=2.0)
    trial.tell(loss=1.0, std={"loss": 0.5})
    with asktell.Client(server.url) as rest:
        other = rest.study(study.name)
        assert client.study(study.name).data == other.data
        assert study.trial(1).data == other.trial(1).data
        assert [found.data for found in study.list_trials(state="completed")] == [t.data for t in other.list_trials()]
        assert study.best.data == other.best.data
        assert study.trial(1).receipt() == other.trial(1).receipt()
        assert client.suggesters() == rest.suggesters()


def test_a_model_is_diagnosed_the_same_over_both(client: asktell.Client, server: Server) -> None:
    study = create(client, suggester="gp", max_trials=13, seed=3)
    points = [{"x": 0.1 * i, "n": 1 + i % 9, "kind": 1} for i in range(1, 11)]
    study.import_trials([{"parameters": p, "metrics": {"loss": p["x"] + p["n"]}} for p in points])
    for _ in range(3):
        (trial,) = study.ask(wait_seconds=30)
        trial.tell(loss=trial.parameters["x"] + trial.parameters["n"])
    with asktell.Client(server.url) as rest:
        found, receipt = rest.study(study.name).diagnose(), rest.study(study.name).trial(13).receipt()
        assert study.diagnose() == found
        assert study.trial(13).receipt() == receipt
        assert (study.infeasible_suspected, rest.study(study.name).infeasible_suspected) == (None, None)
    (calibration,) = found["calibration"]
    assert (calibration["metric"], calibration["count"], calibration["verdict"]) == ("loss", 3, "too few")
    assert [p["number"] for p in calibration["predictions"]] == [11, 12, 13]
    assert set(found["model"]["importances"]) == set(found["model"]["lengthscales"]) == set(SPACE)
    assert sum(found["model"]["importances"].values()) == pytest.approx(1.0)
    assert "budget" in {limit["kind"] for limit in found["limits"]}
    last = calibration["predictions"][-1]
    assert receipt["residual"]["loss"] == pytest.approx(last["value"] - last["mean"])
    assert receipt["z"]["loss"] == pytest.approx(last["z"])
    assert len(receipt["nearest"]) == 5
    distances = [near["distance"] for near in receipt["nearest"]]
    assert distances == sorted(distances)
    assert set(receipt["nearest"][0]["metrics"]) == {"loss"}


def test_the_loop_runs(client: asktell.Client) -> None:
    study = create(client, max_trials=8)
    study.optimize(lambda p: p["x"] * p["n"], parallel=3, progress=False)
    assert study.state == "completed"
    assert all(type(trial.parameters["n"]) is int for trial in study.list_trials())
    assert study.trial_counts["completed"] == 8


def test_errors_are_the_same(client: asktell.Client, server: Server) -> None:
    bad = {"x": asktell.Float(5, -5), "y/z": asktell.Int(3, 1)}
    found = []
    with asktell.Client(server.url) as rest:
        for one in (client, rest):
            with pytest.raises(asktell.Invalid) as caught:
                one.create_study("bad", bad, minimize="loss")
            found.append((caught.value.detail, caught.value.errors, caught.value.status))
    assert found[0] == found[1]
    study = create(client)
    with pytest.raises(asktell.Conflict):
        client.create_study(study.name, SPACE, minimize="loss")
    with pytest.raises(asktell.NotFound):
        client.study("nobody")
    with pytest.raises(asktell.Stale):
        other = client.study(study.name)
        study.patch(labels={"a": "b"})
        other.patch(if_unchanged=True, labels={"a": "c"})
    study.pause()
    with pytest.raises(asktell.NotActive):
        study.ask(wait_seconds=0)
    with pytest.raises(asktell.Invalid, match="nonsense"):
        study.patch(nonsense=1)


def test_events_and_exports_are_streamed(client: asktell.Client) -> None:
    study = create(client)
    study.enqueue({"x": 1.0, "n": 3, "kind": "a", "p": 0.5})
    events = study.events()
    assert [next(events).type for _ in range(2)] == ["study.created", "trial.created"]
    events.close()  # type: ignore[attr-defined]
    assert next(study.events(after=1)).seq == 2
    assert study.export("csv").startswith(b"number,")
    study.delete()
    with pytest.raises(asktell.NotFound):
        study.export()


def test_many_trials_come_in_one_call_all_or_none(client: asktell.Client) -> None:
    study = create(client)
    point = {"x": 1.0, "n": 3, "kind": 1}
    found = study.import_trials([{"parameters": point, "metrics": {"loss": 4.0}}, {"parameters": point | {"n": 4}}])
    assert [(trial.number, trial.state) for trial in found] == [(1, "completed"), (2, "waiting")]
    with pytest.raises(asktell.Invalid):
        study.import_trials([{"parameters": point | {"n": 5}}, {"parameters": point | {"n": 99}}])
    assert [trial.number for trial in study.list_trials()] == [1, 2]


def test_many_outcomes_and_annotations(client: asktell.Client) -> None:
    study = create(client)
    study.ask(2)
    results = study.tell_many([{"number": 1, "metrics": {"loss": 1}}, {"number": 9, "metrics": {"loss": 1}}])
    assert [result["status"] for result in results] == [200, 404]
    assert study.trial(1).annotate({"file": "a"}, {"kept": "yes"}).labels == {"kept": "yes"}


def test_a_service_that_is_away_is_said_to_be_away() -> None:
    with (
        asktell.Client(f"127.0.0.1:{free_port()}", transport="grpc", retries=1) as client,
        pytest.raises(asktell.Unavailable, match="no answer"),
    ):
        client.study("s")


async def test_asyncio_speaks_grpc_too(server: Server) -> None:
    async with asktell.AsyncClient(server.grpc_target, transport="grpc") as client:
        name = f"rpc-{uuid.uuid4().hex[:12]}"
        study = await client.create_study(name, SPACE, minimize="loss", suggester="sobol", max_trials=5)

        async def evaluate(p: dict[str, Any], trial: asktell.AsyncTrial) -> float:
            await trial.report(1, loss=1.0)
            return float(p["x"])

        await study.optimize(evaluate, parallel=2, progress=False)
        assert study.state == "completed"
        async for event in study.events(after=1):
            assert event.seq == 2
            break
        with pytest.raises(asktell.NotActive):
            await study.ask()

"""A stranger's journeys with the Python client, through HTTP, to a service in a process of its own."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import asktell
from tests.support.databases import fresh
from tests.support.servers import Server, wait_for

SPACE: dict[str, asktell.Parameter] = {"x": asktell.Float(-5, 5)}
LEASE = 5.0
"""Seconds; a sign of life comes each third of it, which a machine with much to do must still manage."""


@pytest.fixture
def client(server: Server) -> Iterator[asktell.Client]:
    with asktell.Client(server.url) as found:
        yield found


def create(client: asktell.Client, **more: Any) -> asktell.Study:
    return client.create_study(f"sdk-{uuid.uuid4().hex[:12]}", SPACE, minimize="loss", **{"suggester": "sobol"} | more)


def test_the_readme_story(client: asktell.Client) -> None:
    study = create(client, seed=7)
    study.optimize(lambda p: {"loss": p["x"] ** 2}, trials=12, parallel=4, progress=False)
    assert study.trial_counts["completed"] == 12
    for trial in study.trials(3):
        with trial:
            trial.tell(loss=trial.parameters["x"] ** 2)
    told = [trial.metrics["loss"] for trial in study.list_trials(page_size=4)]
    assert len(told) == 15
    assert study.best.metrics["loss"] == min(told)


def test_a_number_is_enough_and_a_second_parameter_gets_the_trial(client: asktell.Client) -> None:
    study = create(client)

    def evaluate(p: dict[str, float], trial: asktell.Trial) -> float:
        assert trial.report(1, loss=9.0) is False
        return p["x"]

    study.optimize(evaluate, trials=2, progress=False)
    assert [m["step"] for trial in study.list_trials() for m in trial.measurements] == [1, 1]


def test_what_breaks_is_told_with_its_reason(client: asktell.Client) -> None:
    study = create(client)
    outcomes = iter([ZeroDivisionError("by zero"), asktell.Pruned("dull"), asktell.Infeasible("no such thing")])

    def evaluate(p: dict[str, float]) -> float:
        raise next(outcomes)

    study.optimize(evaluate, trials=3, progress=False)
    found = [(trial.state, trial.feedback) for trial in study.list_trials()]
    assert found == [("failed", "ZeroDivisionError: by zero"), ("pruned", "dull"), ("infeasible", "no such thing")]


def test_an_exception_that_is_not_caught_ends_the_loop(client: asktell.Client) -> None:
    study = create(client)

    def evaluate(p: dict[str, float]) -> float:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        study.optimize(evaluate, trials=9, parallel=2, catch=(ValueError,), progress=False)
    counts = study.refresh().trial_counts
    assert counts["failed"] >= 1
    assert counts["running"] == 0


def test_optimize_stops_when_the_study_hands_out_no_more(client: asktell.Client) -> None:
    study = create(client, max_trials=5, max_running=2)
    study.optimize(lambda p: p["x"], parallel=4, progress=False)
    assert study.state == "completed"
    assert study.trial_counts["completed"] == 5


def test_a_trial_that_is_taken_away_does_not_end_the_loop(client: asktell.Client) -> None:
    study = create(client)

    def evaluate(p: dict[str, float], trial: asktell.Trial) -> float:
        if trial.number == 1:
            study.trial(1).cancel()
            trial.report(1, loss=1.0)
        return p["x"]

    study.optimize(evaluate, trials=3, progress=False)
    assert (study.trial_counts["cancelled"], study.trial_counts["completed"]) == (1, 2)


def test_a_service_that_is_killed_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    service = Server(fresh(tmp_path), "--processes", "1").start()
    try:
        with asktell.Client(service.url, retries=12) as client:
            study, killed = create(client, max_trials=30), threading.Event()

            def evaluate(p: dict[str, float], trial: asktell.Trial) -> float:
                if trial.number == 8 and not killed.is_set():
                    killed.set()
                    service.kill()
                    service.start()
                return p["x"]

            study.optimize(evaluate, parallel=3, progress=False)
            assert killed.is_set()
            assert study.trial_counts["completed"] == 30
            assert [trial.number for trial in study.list_trials()] == list(range(1, 31))
            assert all(trial.attempt == 1 for trial in study.list_trials())
    finally:
        service.stop()


def test_an_interrupt_hands_running_trials_back(client: asktell.Client) -> None:
    study, started, over = create(client), threading.Event(), threading.Event()

    def evaluate(p: dict[str, float], trial: asktell.Trial) -> float:
        if trial.number == 1:
            started.set()
            over.wait(30)
            return 0.0
        started.wait(30)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.optimize(evaluate, parallel=2, progress=False)
    assert study.refresh().trial_counts["waiting"] == 2
    over.set()


def test_a_block_that_is_left_tells_or_hands_back(client: asktell.Client) -> None:
    study = create(client)
    with study.ask()[0]:
        pass
    assert study.trial(1).state == "waiting"
    with pytest.raises(ValueError, match="bad"), study.ask()[0]:
        raise ValueError("bad")
    assert study.trial(1).state == "failed"
    assert study.trial(1).feedback == "ValueError: bad"
    with study.ask()[0]:
        raise asktell.Pruned("enough")
    assert study.trial(2).state == "pruned"
    with pytest.raises(KeyboardInterrupt), study.ask()[0]:
        raise KeyboardInterrupt
    assert study.trial(3).state == "waiting"


def test_the_client_keeps_a_lease_longer_than_it_lasts(client: asktell.Client) -> None:
    study = create(client)
    trial = study.ask(lease_seconds=LEASE)[0]
    first = trial.lease_expires_at
    assert first is not None
    later = first + timedelta(seconds=LEASE)  # without signs of life the trial would have gone back by then
    wait_for(lambda: (study.trial(1).lease_expires_at or first) > later, what="signs of life")
    assert study.trial(1).state == "running"
    assert trial.tell(loss=1.0).attempt == 1


def test_a_trial_taken_away_is_known_to_be_lost(client: asktell.Client) -> None:
    study = create(client)
    trial = study.ask(lease_seconds=1)[0]
    study.trial(1).cancel()
    wait_for(lambda: trial.is_lost, what="the news")
    with pytest.raises(asktell.Conflict):
        trial.tell(loss=1.0)


def test_early_stopping_says_when(client: asktell.Client) -> None:
    study = create(client, early_stopping={"rule": "threshold", "max": 10.0})
    trial = study.ask()[0]
    assert trial.report(1, loss=1.0) is False
    assert trial.report(2, loss=99.0) is True
    assert trial.should_stop
    assert trial.prune().state == "pruned"


def test_points_of_ones_own_come_next_and_finished_ones_count(client: asktell.Client) -> None:
    study = create(client)
    study.import_trial({"x": 2.0}, {"loss": 4.0}, labels={"by": "hand"})
    study.enqueue({"x": 1.0}, metadata={"why": "a hunch"})
    trial = study.ask()[0]
    assert trial.parameters == {"x": 1.0}
    assert trial.suggested_by["suggester"] == "user"
    trial.tell({"loss": 1.0}, std={"loss": 0.1}, cost=2.5)
    trial.annotate({"file": "a.bin"}, {"kept": "yes"})
    found = study.trial(trial.number)
    assert found.std == {"loss": 0.1}
    assert found.cost == 2.5
    assert found.elapsed_seconds is not None
    assert found.metadata == {"why": "a hunch", "file": "a.bin"}
    assert found.labels == {"kept": "yes"}
    assert found.receipt()["suggester"] == "user"


def test_many_trials_come_in_one_call_all_or_none(client: asktell.Client) -> None:
    study = create(client)
    found = study.import_trials([{"parameters": {"x": 2.0}, "metrics": {"loss": 4.0}}, {"parameters": {"x": 1.0}}])
    assert [(trial.number, trial.state) for trial in found] == [(1, "completed"), (2, "waiting")]
    with pytest.raises(asktell.Invalid) as caught:
        study.import_trials([{"parameters": {"x": 0.0}}, {"parameters": {"x": 99.0}}])
    assert caught.value.errors[0].pointer.startswith("/trials/1/parameters")
    assert [trial.number for trial in study.list_trials()] == [1, 2]


def test_many_outcomes_are_judged_each_on_its_own(client: asktell.Client) -> None:
    study = create(client)
    study.ask(2)
    results = study.tell_many([{"number": 1, "metrics": {"loss": 1}}, {"number": 9, "metrics": {"loss": 1}}])
    assert [result["status"] for result in results] == [200, 404]


def test_telling_the_same_twice_is_fine_another_outcome_is_not(client: asktell.Client) -> None:
    study = create(client)
    trial = study.ask()[0]
    trial.tell(loss=1.0)
    assert study.tell(1, loss=1.0).metrics == {"loss": 1.0}
    with pytest.raises(asktell.Conflict):
        study.tell(1, loss=2.0)


def test_a_worker_takes_its_trials_up_again(client: asktell.Client) -> None:
    study = create(client)
    before = study.ask(worker="gpu-1")[0]
    assert [trial.number for trial in study.ask(worker="gpu-1", resume=True)] == [before.number]


def test_errors_name_the_place(client: asktell.Client) -> None:
    with pytest.raises(asktell.Invalid) as caught:
        client.create_study("bad", {"x": asktell.Float(5, -5)}, minimize="loss")
    assert caught.value.errors[0].pointer == "/parameters/0"
    study = create(client)
    with pytest.raises(asktell.Invalid, match="loss"):
        study.ask()[0].tell(accuracy=1.0)
    with pytest.raises(asktell.NotFound):
        client.study("nobody")


def test_exist_ok_takes_the_same_study_and_refuses_another(client: asktell.Client) -> None:
    study = create(client)
    again = client.create_study(study.name, SPACE, minimize="loss", exist_ok=True)
    assert again.id == study.id
    with pytest.raises(asktell.Conflict):
        client.create_study(study.name, SPACE, minimize="loss")
    with pytest.raises(asktell.Conflict, match="other parameters"):
        client.create_study(study.name, {"x": asktell.Float(-5, 6)}, minimize="loss", exist_ok=True)


def test_a_study_pauses_changes_completes_and_goes(client: asktell.Client) -> None:
    study = create(client, max_trials=3, labels={"team": "a"})
    study.pause()
    with pytest.raises(asktell.NotActive):
        study.ask(wait_seconds=0)
    assert study.resume().state == "active"
    other = client.study(study.name)
    assert study.patch(limits={"max_trials": 4}, labels={"team": None, "stage": "b"}).limits["max_trials"] == 4
    assert study.labels == {"stage": "b"}
    with pytest.raises(asktell.Stale):
        other.patch(if_unchanged=True, labels={"late": "yes"})
    assert [found.name for found in client.studies(q=study.name, labels={"stage": "b"})] == [study.name]
    assert study.complete().state == "completed"
    study.delete()
    with pytest.raises(asktell.NotFound):
        study.refresh()


def test_several_objectives_have_a_front(client: asktell.Client) -> None:
    name = f"sdk-{uuid.uuid4().hex[:12]}"
    study = client.create_study(name, SPACE, minimize=["a", "b"], suggester="random")
    for x in (-3.0, 0.0, 0.5, 1.0, 3.0):
        study.import_trial({"x": x}, {"a": x**2, "b": (x - 1) ** 2})
    assert sorted(trial.parameters["x"] for trial in study.pareto) == [0.0, 0.5, 1.0]
    with pytest.raises(asktell.Invalid, match="pareto"):
        study.best  # noqa: B018


def test_the_best_of_nothing_is_said_to_be_missing(client: asktell.Client) -> None:
    with pytest.raises(asktell.NotFound, match="no trial"):
        create(client).best  # noqa: B018


def test_events_are_followed_from_any_place(client: asktell.Client) -> None:
    study = create(client)
    study.ask()[0].tell(loss=1.0)
    events = study.events()
    first = [next(events) for _ in range(4)]
    events.close()  # type: ignore[attr-defined]
    assert [event.seq for event in first] == [1, 2, 3, 4]
    assert first[0].type == "study.created"
    later = study.events(after=2)
    assert next(later).seq == 3
    study.delete()
    assert [event.seq for event in later][:1] == [4]


def test_export_and_catalogue(client: asktell.Client, tmp_path: Any) -> None:
    study = create(client)
    study.import_trial({"x": 1.0}, {"loss": 1.0})
    assert study.export("csv").startswith(b"number,")
    assert study.export_to(tmp_path / "trials.parquet").read_bytes()[:4] == b"PAR1"
    assert {"auto", "sobol", "random"} <= {entry["name"] for entry in client.suggesters()}


async def test_the_same_with_asyncio(server: Server) -> None:
    async with asktell.AsyncClient(server.url) as client:
        study = await client.create_study(f"sdk-{uuid.uuid4().hex[:12]}", SPACE, minimize="loss", suggester="sobol")

        async def evaluate(p: dict[str, float], trial: asktell.AsyncTrial) -> float:
            await trial.report(1, loss=p["x"])
            if trial.number == 2:
                raise asktell.Pruned
            if trial.number == 3:
                raise ValueError("three")
            return p["x"] ** 2

        await study.optimize(evaluate, trials=8, parallel=4, progress=False)
        await study.optimize(lambda p: p["x"] ** 2, trials=2, progress=False)
        async for trial in study.trials(2):
            async with trial:
                await trial.tell(loss=1.0)
        assert study.trial_counts["completed"] == 8
        counts = (await study.refresh()).trial_counts
        assert (counts["completed"], counts["pruned"], counts["failed"]) == (10, 1, 1)
        told = [t.metrics["loss"] async for t in study.list_trials(state="completed")]
        assert (await study.best).metrics["loss"] == min(told)
        found = await study.diagnose()
        assert (found["trials"], found["model"]) == (12, None)
        with asktell.Client(server.url) as other:
            assert other.study(study.name).diagnose() == found


async def test_a_cancelled_loop_hands_its_trials_back(server: Server) -> None:
    async with asktell.AsyncClient(server.url) as client:
        study = await client.create_study(f"sdk-{uuid.uuid4().hex[:12]}", SPACE, minimize="loss", suggester="sobol")
        started = asyncio.Event()

        async def evaluate(p: dict[str, float], trial: asktell.AsyncTrial) -> float:
            if trial.number == 3:
                started.set()
            await asyncio.sleep(60)
            return 0.0

        loop = asyncio.create_task(study.optimize(evaluate, parallel=3, progress=False))
        await started.wait()
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop
        assert (await study.refresh()).trial_counts["running"] == 0


async def test_asyncio_keeps_leases_too(server: Server) -> None:
    async with asktell.AsyncClient(server.url) as client:
        study = await client.create_study(f"sdk-{uuid.uuid4().hex[:12]}", SPACE, minimize="loss", suggester="sobol")
        trial = (await study.ask(lease_seconds=LEASE))[0]
        assert trial.lease_expires_at is not None
        later = trial.lease_expires_at + timedelta(seconds=LEASE)
        async with asyncio.timeout(60):
            while ((await study.trial(1)).lease_expires_at or later) <= later:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert (await trial.tell(loss=1.0)).attempt == 1

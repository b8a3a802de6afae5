"""`asktell.replica.work`: workers that share a theta which no server holds, through what goes wrong on the way."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import asktell
from asktell.replica import Replica, newest, work
from tests.support.servers import Server

TARGET = np.linspace(-1, 1, 12).reshape(3, 4)


def theta_0() -> Replica:
    return Replica({"w": np.zeros((3, 4))})


def loss(tensors: dict[str, np.ndarray]) -> float:
    return float(np.sum((tensors["w"] - TARGET) ** 2))


def study_of(client: asktell.Client, name: str, trials: int, **options: object) -> asktell.Study:
    given = {"pairs": 4, "noise": "popcount", "sigma": 0.1, "lr": 0.1, **options}
    return client.create_study(
        name, {"theta": asktell.SeedVector({"w": (3, 4)})}, minimize="loss",
        suggester={"name": "es", "options": given}, limits={"max_trials": trials}, exist_ok=True, seed=1,
    )  # fmt: skip


def test_workers_end_with_one_theta_that_is_better(server: Server) -> None:
    def run(name: str) -> Replica:
        with asktell.Client(server.url, worker=name) as client:
            return work(study_of(client, "together", 240), theta_0, loss)

    with ThreadPoolExecutor(3) as pool:
        replicas = list(pool.map(run, "abc"))
    with asktell.Client(server.url) as client:
        study = client.study("together")
        for replica in replicas:
            newest(study, replica)
        found = study.updates()
    assert not found["pending"]
    assert {replica.version for replica in replicas} == {found["latest"]}
    assert len({replica.fingerprint() for replica in replicas}) == 1
    assert loss(replicas[0].theta) < 0.3 * loss(theta_0().theta)


def test_a_dead_workers_trial_of_an_old_theta_is_cancelled(server: Server) -> None:
    with asktell.Client(server.url, worker="dead") as dead, asktell.Client(server.url, worker="w") as client:
        study = study_of(client, "left-behind", 60)
        (left,) = dead.study(study.name).ask(lease_seconds=2)

        def slow(tensors: dict[str, np.ndarray]) -> float:
            if dead._leases.held() and study.updates()["latest"]:
                dead._leases.drop(left)  # its heart stops when its generation is over
            time.sleep(0.06)  # so that the lease runs out before the last trial
            return loss(tensors)

        work(study, theta_0, slow)
        assert study.trial(left.number).state == "cancelled"


def test_a_drifted_worker_begins_anew_and_goes_on(server: Server) -> None:
    made = []

    def wrong_at_first() -> Replica:
        made.append(Replica({"w": np.full((3, 4), 0.0 if made else 0.5)}))
        return made[-1]

    with asktell.Client(server.url, worker="right") as right, asktell.Client(server.url, worker="drifted") as drifted:
        study = study_of(right, "drift", 30)
        work(study, theta_0, loss, trials=2)
        replica = work(drifted.study(study.name), wrong_at_first, loss)
        assert len(made) == 2
        assert replica.version == study.updates()["latest"]
        assert {trial.state for trial in study.list_trials()} == {"completed"}


def test_a_diverged_network_is_infeasible_and_another_shape_is_refused(server: Server) -> None:
    with asktell.Client(server.url, worker="w") as client:
        study = study_of(client, "diverged", 4)
        work(study, theta_0, lambda tensors: math.nan)
        assert {trial.state for trial in study.list_trials()} == {"infeasible"}
        with pytest.raises(ValueError, match="shape"):
            work(study_of(client, "shapes", 4), lambda: Replica(np.zeros(5)), lambda tensors: 0.0)


def test_what_somebody_else_told_meanwhile_is_left(server: Server) -> None:
    with asktell.Client(server.url, worker="slow") as slow, asktell.Client(server.url, worker="fast") as fast:
        study, seen = study_of(slow, "overtaken", 12), []

        def overtaken(tensors: dict[str, np.ndarray]) -> float:
            seen.append(1)
            if len(seen) == 3:
                fast.study("overtaken").tell(3, loss=7.0)
            return loss(tensors)

        work(study, theta_0, overtaken)
        assert len(seen) == 12
        assert study.trial(3).metrics == {"loss": 7.0}
        assert study.refresh().trial_counts["completed"] == 12


def test_a_worker_with_another_theta_0_hands_its_trial_back(server: Server) -> None:
    with asktell.Client(server.url, worker="right") as right, asktell.Client(server.url, worker="other") as other:
        study = study_of(right, "another-theta", 30)
        work(study, theta_0, loss, trials=2)
        with pytest.raises(asktell.Conflict, match="fingerprint"):
            work(other.study(study.name), lambda: Replica({"w": np.ones((3, 4))}), loss)
        counts = study.refresh().trial_counts
        assert (counts["waiting"], counts["completed"], counts["failed"]) == (1, 2, 0)

"""Vectors and their outcomes through the SDK: the same over HTTP and over gRPC."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import asktell
from tests.support.servers import Server

NAN = float("nan")


@pytest.fixture(params=["http", "grpc"])
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[asktell.Client]:
    target = server.url if request.param == "http" else server.grpc_target
    with asktell.Client(target, transport=request.param) as found:
        yield found


@pytest.fixture(params=["list", "float32", "float64"])
def study(request: pytest.FixtureRequest, client: asktell.Client) -> asktell.Study:
    space = {"w": asktell.Vector(4, -2, 2, shape=(2, 2), encoding=request.param)}
    return client.create_study(f"v-{uuid.uuid4().hex[:12]}", space, minimize="loss", suggester="random")


def test_points_go_out_and_come_back(study: asktell.Study) -> None:
    numbers = [0.5, -1.25, 0.1, 2.0]
    study.enqueue({"w": numbers})
    study.import_trial({"w": np.array(numbers)}, {"loss": 1}, residual=np.array([0.5, -1]))
    study.import_trials([{"parameters": {"w": tuple(numbers)}}, {"parameters": {"w": np.float64(numbers)}}])
    dtype = np.float32 if study.parameters[0]["encoding"] == "float32" else np.float64
    for trial in study.list_trials():
        assert np.array_equal(np.asarray(trial.parameters["w"], dtype), np.array(numbers, dtype))
    assert study.trial(2).data["residual"] == [0.5, -1.0]


def test_what_is_not_finite_is_named_before_it_is_sent(study: asktell.Study) -> None:
    (trial,) = study.ask()
    told: list[tuple[str, Any]] = [
        ("/parameters/w/1", lambda: study.enqueue({"w": [0.0, NAN, 0.0, 0.0]})),
        ("/parameters/w/2", lambda: study.import_trial({"w": np.array([0, 0, np.inf, 0])}, {"loss": 1})),
        ("/trials/1/parameters/w/0", lambda: study.import_trials([{"parameters": {}}, {"parameters": {"w": [NAN]}}])),
        ("/residual/1", lambda: trial.tell(loss=1, residual=np.array([1, NAN]))),
        ("/metrics/loss", lambda: study.tell(1, loss=NAN)),
        ("/outcomes/0/metrics/loss", lambda: study.tell_many([{"number": 1, "metrics": {"loss": NAN}}])),
    ]
    for pointer, call in told:
        with pytest.raises(asktell.Invalid, match=f"^{pointer}: is (nan|inf)") as refused:
            call()
        assert [error.pointer for error in refused.value.errors] == [pointer]
    assert study.trial(1).state == "running"
    assert sum(study.refresh().trial_counts.values()) == 1


def test_a_diverged_evaluation_is_infeasible(study: asktell.Study) -> None:
    study.optimize(lambda p: {"loss": NAN, "size": 3}, trials=1, progress=False)
    found = study.trial(1)
    assert (found.state, found.metrics, found.feedback) == ("infeasible", {"size": 3}, "loss is nan")


def test_what_the_space_does_not_hold_is_named_by_the_service(study: asktell.Study) -> None:
    for wrong in ([0.0, 0.0, 9.0, 0.0], [0.0], ["a"], None):
        with pytest.raises(asktell.Invalid) as refused:
            study.enqueue({"w": wrong})
        assert [error.pointer for error in refused.value.errors] == ["/parameters/w"]

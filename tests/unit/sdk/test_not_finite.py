"""NaN and infinity: named before anything is sent; a diverged evaluation makes its trial infeasible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import asktell
from asktell.bodies import encode
from tests.support.scripted import Answer, Scripted, problem

NAN, INF = float("nan"), float("inf")
STUDY = {
    "id": "s1",
    "name": "s",
    "state": "active",
    "objectives": [{"metric": "loss", "goal": "minimize"}],
    "parameters": [],
    "limits": {"max_trials": 1},
    "trial_counts": {"running": 0},
}
TRIAL = {"study": "s1", "number": 1, "state": "running", "parameters": {"x": 1.0}, "attempt": 1, "worker": "w"}
ASKED = Answer(200, {"trials": [TRIAL]})
TOLD = Answer(200, {**TRIAL, "state": "infeasible"})
OVER = [problem("not-active", 409), Answer(200, {**STUDY, "state": "completed"})]


def study(service: Scripted) -> asktell.Study:
    return asktell.Study(asktell.Client(service.url, worker="w"), dict(STUDY))


def told(service: Scripted) -> list[dict[str, Any]]:
    return [{k: v for k, v in s.body.items() if k != "elapsed_seconds"} for s in service.seen if ":tell" in s.path]


DIVERGED = [{"state": "infeasible", "metrics": {"size": 3}, "feedback": "loss is nan"}]


@pytest.mark.parametrize(
    ("document", "pointer"),
    [
        ({"parameters": {"w": [0.0, NAN]}}, "/parameters/w/1"),
        ({"parameters": {"w": np.array([[0.0], [INF]])}}, "/parameters/w/1/0"),
        ({"outcomes": [{"number": 1, "metrics": {"loss": np.float32(NAN)}}]}, "/outcomes/0/metrics/loss"),
        ({"metadata": {"a/b": ({"c~d": -INF},)}}, "/metadata/a~1b/0/c~0d"),
        (NAN, ""),
    ],
)
def test_the_place_of_what_cannot_be_sent_is_named(document: Any, pointer: str) -> None:
    with pytest.raises(asktell.Invalid, match="finite") as refused:
        encode(document)
    assert [error.pointer for error in refused.value.errors] == [pointer]


def test_what_refers_to_itself_is_not_taken_for_a_number() -> None:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    with pytest.raises(ValueError, match="Circular"):
        encode(loop)


def test_a_residual_is_held_to_the_same(script: Callable[..., Scripted]) -> None:
    service = script(ASKED)
    (trial,) = study(service).ask()
    for residual in ([1.0, NAN], np.array([1.0, NAN])):
        with pytest.raises(asktell.NotFinite, match="/residual/1: is nan") as refused:
            trial.tell(loss=1, residual=residual)
        assert refused.value.metrics == {"loss": 1}
    with pytest.raises(asktell.NotFinite, match="/std/loss"):
        trial.tell(loss=1, std={"loss": INF})
    assert len(service.seen) == 1


def test_a_diverged_evaluation_makes_its_trial_infeasible(script: Callable[..., Scripted]) -> None:
    service = script(ASKED, TOLD, *OVER)
    for trial in study(service).trials():
        with trial:
            trial.tell(loss=NAN, size=3)
    assert told(service) == DIVERGED


def test_a_report_that_diverged_does_too(script: Callable[..., Scripted]) -> None:
    service = script(ASKED, TOLD)
    (trial,) = study(service).ask()
    with trial:
        trial.report(3, loss=NAN, size=3)
    assert told(service) == DIVERGED


def test_a_value_of_another_trial_is_an_error(script: Callable[..., Scripted]) -> None:
    service = script(ASKED, Answer(200, {**TRIAL, "state": "failed"}))
    one = study(service)
    (trial,) = one.ask()
    with pytest.raises(asktell.NotFinite), trial:
        one.tell(2, loss=NAN)
    assert [body["state"] for body in told(service)] == ["failed"]


def test_after_the_tell_it_is_an_error(script: Callable[..., Scripted]) -> None:
    service = script(ASKED, TOLD)
    (trial,) = study(service).ask()
    with pytest.raises(asktell.NotFinite), trial:
        trial.tell(loss=1)
        trial.tell(loss=NAN)


def test_optimize_goes_on(script: Callable[..., Scripted]) -> None:
    service = script(ASKED, TOLD, *OVER, Answer(200, STUDY))
    study(service).optimize(lambda p: {"loss": np.float64(NAN), "size": 3}, progress=False)
    assert told(service) == DIVERGED


async def test_asyncio_does_alike(script: Callable[..., Scripted]) -> None:
    service = script(ASKED, TOLD, ASKED, TOLD, *OVER, Answer(200, STUDY))
    async with asktell.AsyncClient(service.url, worker="w") as client:
        one = asktell.AsyncStudy(client, dict(STUDY))
        (trial,) = await one.ask()
        async with trial:
            await trial.tell(loss=NAN, size=3)
        await one.optimize(lambda p: {"loss": NAN, "size": 3}, progress=False)
    assert told(service) == DIVERGED * 2

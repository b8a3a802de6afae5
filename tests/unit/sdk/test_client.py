"""Requests, retries and errors, against a service that misbehaves on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import asktell
from tests.support.scripted import Answer, Scripted, problem

Script = Callable[..., Scripted]
STUDY = {
    "id": "s1",
    "name": "s",
    "state": "active",
    "objectives": [{"metric": "loss", "goal": "minimize"}],
    "limits": {"max_trials": None, "max_running": None},
    "trial_counts": {"running": 0, "completed": 0},
    "etag": '"1"',
}
TRIAL = {"study": "s", "number": 1, "state": "running", "parameters": {"x": 1.0}, "attempt": 1}


def client(service: Scripted, **more: Any) -> asktell.Client:
    return asktell.Client(service.url, worker="w", **more)


def study(service: Scripted, **more: Any) -> asktell.Study:
    return asktell.Study(client(service, **more), dict(STUDY))


def test_a_busy_service_is_asked_again_with_the_same_key(script: Script) -> None:
    service = script(
        problem("unavailable", 503, headers={"Retry-After": "0"}),
        problem("exhausted", 429, headers={"Retry-After": "0"}),
        Answer(201, STUDY),
    )
    client(service).create_study("s", {"x": asktell.Float(0, 1)}, minimize="loss")
    assert len(service.seen) == 3
    assert len({seen.headers["idempotency-key"] for seen in service.seen}) == 1


def test_a_broken_connection_is_tried_again_with_the_same_key(script: Script) -> None:
    service = script(Answer(0), Answer(200, TRIAL, cut=True), Answer(200, TRIAL))
    study(service).tell(1, {"loss": 1.0})
    assert len({seen.headers["idempotency-key"] for seen in service.seen}) == 1
    assert len(service.seen) == 3


def test_each_write_has_a_key_of_its_own(script: Script) -> None:
    service = script(Answer(200, TRIAL))
    study(service).tell(1, {"loss": 1.0})
    study(service).tell(1, {"loss": 1.0})
    assert service.seen[0].headers["idempotency-key"] != service.seen[1].headers["idempotency-key"]


def test_a_refusal_is_not_tried_again(script: Script) -> None:
    service = script(problem("invalid", 422, errors=[{"pointer": "/x", "message": "no"}]))
    with pytest.raises(asktell.Invalid) as caught:
        study(service).enqueue({"x": 7})
    assert caught.value.errors[0].pointer == "/x"
    assert len(service.seen) == 1


def test_giving_up_says_that_the_service_is_away(script: Script) -> None:
    service = script(Answer(0))
    with pytest.raises(asktell.Unavailable, match="no answer"):
        study(service, retries=1).refresh()
    assert len(service.seen) == 2


def test_an_outcome_is_told_with_more_patience(script: Script) -> None:
    service = script(Answer(0), Answer(0), Answer(503), Answer(200, TRIAL))
    study(service, retries=1).tell(1, {"loss": 1.0})
    assert len(service.seen) == 4
    assert len({seen.headers["idempotency-key"] for seen in service.seen}) == 1


def test_a_worker_waits_for_its_service(script: Script) -> None:
    service = script(Answer(0), Answer(0), Answer(503), Answer(200, {"trials": [TRIAL]}))
    assert [trial.number for trial in study(service, retries=1).trials(1)] == [1]


def test_an_answer_that_is_no_problem_document_still_becomes_an_error(script: Script) -> None:
    service = script(Answer(502, text="<html>Bad gateway</html>"))
    with pytest.raises(asktell.Unavailable, match="Bad gateway"):
        study(service, retries=0).refresh()


def test_address_and_key_come_from_the_environment(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    service = script(Answer(200, {"suggesters": []}))
    monkeypatch.setenv("ASKTELL_URL", service.url + "/")
    monkeypatch.setenv("ASKTELL_API_KEY", "secret")
    asktell.Client().suggesters()
    assert service.seen[0].headers["authorization"] == "Bearer secret"
    assert service.seen[0].path == "/v1/suggesters"


@pytest.mark.parametrize("client", [asktell.Client, asktell.AsyncClient])
def test_a_transport_that_is_not_there_is_named(client: Any) -> None:
    with pytest.raises(ValueError, match="'rest': there are 'http' and 'grpc'"):
        client(transport="rest")


def test_a_study_name_cannot_break_out_of_its_path(script: Script) -> None:
    service = script(Answer(200, STUDY))
    client(service).study("a/b?c:d")
    assert service.seen[0].path == "/v1/studies/a%2Fb%3Fc%3Ad"


def test_an_operation_is_followed_to_its_end(script: Script) -> None:
    operation = {"id": "op_1", "done": False, "trials": []}
    service = script(
        Answer(202, {"trials": [], "operation": operation}),
        Answer(200, operation),
        Answer(200, operation | {"done": True, "trials": [TRIAL]}),
    )
    assert [trial.number for trial in study(service).ask()] == [1]
    assert [seen.path.partition("?")[0] for seen in service.seen[1:]] == ["/v1/operations/op_1"] * 2


def test_an_operation_that_failed_raises_its_error(script: Script) -> None:
    failed = {"type": "https://asktell.dev/problems/not-active", "status": 409, "detail": "paused"}
    service = script(Answer(202, {"trials": [], "operation": {"id": "o", "done": True, "trials": [], "error": failed}}))
    with pytest.raises(asktell.NotActive, match="paused"):
        study(service).ask()


def test_an_operation_is_left_when_the_time_is_over(script: Script) -> None:
    service = script(Answer(202, {"trials": [], "operation": {"id": "o", "done": False, "trials": []}}))
    with pytest.raises(asktell.Unavailable, match="operation o"):
        study(service).ask(timeout=0)


def test_a_full_study_is_asked_again_a_paused_one_is_left(script: Script) -> None:
    full = STUDY | {"limits": {"max_running": 1, "max_trials": None}}
    service = script(
        problem("not-active", 409),
        Answer(200, full),
        Answer(200, {"trials": [TRIAL]}),
        problem("not-active", 409),
        Answer(200, STUDY | {"state": "paused"}),
    )
    assert [trial.number for trial in study(service).trials()] == [1]
    assert len(service.seen) == 5


def test_events_go_on_where_the_connection_broke(script: Script) -> None:
    def event(seq: int) -> str:
        head = f"id: {seq}\nevent: trial.created\n"
        return (
            head
            + f'data: {{"seq": {seq}, "type": "trial.created", "study": "s", "created_at": "2026-01-01T00:00:00Z"}}\n\n'
        )

    stream = {"Content-Type": "text/event-stream"}
    service = script(
        Answer(200, text=": welcome\n\n" + event(1) + event(2), headers=stream, cut=True),
        problem("unavailable", 503),
        Answer(200, text=event(3), headers=stream),
        problem("not-found", 404),
    )
    assert [found.seq for found in study(service).events()] == [1, 2, 3]
    assert [seen.headers.get("last-event-id") for seen in service.seen] == [None, "2", "2", "3"]


def test_a_deletion_whose_answer_was_lost_is_done(script: Script) -> None:
    study(script(Answer(0), problem("not-found", 404))).delete()
    with pytest.raises(asktell.NotFound):
        study(script(problem("not-found", 404))).delete()


def test_nothing_that_is_not_finite_is_sent(script: Script) -> None:
    service = script(Answer(200, TRIAL))
    with pytest.raises(asktell.Invalid, match="/metrics/loss"):
        study(service).tell(1, {"loss": float("nan")})
    assert service.seen == []


async def test_asyncio_retries_alike(script: Script) -> None:
    service = script(Answer(0), problem("unavailable", 503, headers={"Retry-After": "0"}), Answer(200, STUDY))
    async with asktell.AsyncClient(service.url) as found:
        assert (await found.study("s")).state == "active"
    assert len(service.seen) == 3

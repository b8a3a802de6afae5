"""Trials over HTTP."""

from __future__ import annotations

from typing import Any

from pydantic_core import from_json
from starlette.responses import Response

from services.answers import AskAnswer, HeartbeatAnswer, Receipt, ReportAnswer, TellAnswer, TrialPage
from services.domain.document import not_finite
from services.domain.errors import Invalid
from services.domain.trial import (
    AskRequest,
    HeartbeatRequest,
    NewTrial,
    Outcome,
    Report,
    TellMany,
    Trial,
    TrialPatch,
)
from services.pages import ListTrials
from services.requests import NewTrials

from .calls import Call, Routes, answer, reply
from .examples import ASK, ENQUEUE, REPORT, TELL, TELL_MANY

routes = Routes("trials")


@routes.add(
    "POST", "/studies/{study}/trials:ask", body=AskRequest, answers={200: AskAnswer, 202: AskAnswer}, example=ASK
)
async def ask_trials(call: Call) -> Response:
    """Ask for trials to evaluate; answers within `wait_seconds` + 1 s."""
    wish = call.read(AskRequest)
    found = await call.services.asks.ask(call.caller, call.study, wish, call.idem, call.request.is_disconnected)
    return reply(found, 200 if found.value.operation is None else 202)


@routes.add("POST", "/studies/{study}/trials:tell", body=TellMany, answers={200: TellAnswer}, example=TELL_MANY)
async def tell_trials(call: Call) -> Response:
    """Tell many outcomes; each is judged on its own."""
    return reply(await call.services.tells.tell_many(call.caller, call.study, tell_many(call.body), call.idem))


@routes.add("POST", "/studies/{study}/trials", body=NewTrial, answers={201: Trial}, example=ENQUEUE)
async def create_trial(call: Call) -> Response:
    """Enqueue a point of your own, or import a finished trial; `{"trials": [...]}` for many, all or none."""
    if "trials" in call.json():
        many = call.read(NewTrials)
        return reply(await call.services.trials.create_many(call.caller, call.study, many.trials, call.idem), 201)
    found = await call.services.trials.create(call.caller, call.study, call.read(NewTrial), call.idem)
    location = f"/v1/studies/{found.value.study}/trials/{found.value.number}"
    return reply(found, 201, {"Location": location})


@routes.add("GET", "/studies/{study}/trials", query=ListTrials, answers={200: TrialPage})
async def list_trials(call: Call) -> Response:
    """List a study's trials, page by page."""
    return answer(await call.services.trials.list(call.caller, call.study, call.query(ListTrials)))


@routes.add("GET", "/studies/{study}/trials/{number}", answers={200: Trial})
async def get_trial(call: Call) -> Response:
    """Read a trial."""
    return answer(await call.services.trials.get(call.caller, call.study, call.number))


@routes.add("PATCH", "/studies/{study}/trials/{number}", body=TrialPatch, answers={200: Trial})
async def update_trial(call: Call) -> Response:
    """Merge labels and metadata, also after the end."""
    found = await call.services.trials.patch(call.caller, call.study, call.number, call.read(TrialPatch), call.idem)
    return reply(found)


@routes.add("POST", "/studies/{study}/trials/{number}:tell", body=Outcome, answers={200: Trial}, example=TELL)
async def tell_trial(call: Call) -> Response:
    """Tell a trial's outcome."""
    found = await call.services.tells.tell(call.caller, call.study, call.number, call.read(Outcome), call.idem)
    return reply(found)


@routes.add("POST", "/studies/{study}/trials/{number}:report", body=Report, answers={200: ReportAnswer}, example=REPORT)
async def report_trial(call: Call) -> Response:
    """Report an intermediate measurement; says whether to stop early, and extends the lease."""
    found = await call.services.tells.report(call.caller, call.study, call.number, call.read(Report), call.idem)
    return reply(found)


@routes.add("POST", "/studies/{study}/trials/{number}:heartbeat", body=HeartbeatRequest, answers={200: HeartbeatAnswer})
async def heartbeat_trial(call: Call) -> Response:
    """Extend a running trial's lease."""
    wish = call.read(HeartbeatRequest)
    return reply(await call.services.leases.heartbeat(call.caller, call.study, call.number, wish, call.idem))


@routes.add("POST", "/studies/{study}/trials/{number}:release", answers={200: Trial})
async def release_trial(call: Call) -> Response:
    """Hand a running trial back for another worker."""
    return reply(await call.services.leases.release(call.caller, call.study, call.number, call.idem))


@routes.add("POST", "/studies/{study}/trials/{number}:cancel", answers={200: Trial})
async def cancel_trial(call: Call) -> Response:
    """Give a trial up for good."""
    return reply(await call.services.leases.cancel(call.caller, call.study, call.number, call.idem))


@routes.add("GET", "/studies/{study}/trials/{number}:receipt", answers={200: Receipt})
async def get_receipt(call: Call) -> Response:
    """Read what was believed when the point was proposed and, after the tell, how it turned out."""
    return answer(await call.services.trials.receipt(call.caller, call.study, call.number))


def tell_many(body: bytes) -> TellMany:
    """Outcomes as the use case takes them. NaN and infinity, which are no JSON, only spoil the outcome that they stand in.

    Raises:
        Invalid: the rest is wrong, by JSON pointer.
    """
    try:
        return TellMany.read(body)
    except Invalid:
        outcomes, beside = _apart(body)
        if not not_finite(outcomes):
            raise
    frame = TellMany.read_value({**beside, "outcomes": [{} for _ in outcomes]})
    return TellMany.model_construct(outcomes=tuple(outcomes), brief=frame.brief)


def _apart(body: bytes) -> tuple[list[Any], dict[str, Any]]:
    """The outcomes of a batch, and what stands beside them; none where it is no batch."""
    try:
        value = from_json(body, allow_inf_nan=True)
    except ValueError:
        return [], {}
    outcomes = value.pop("outcomes", None) if isinstance(value, dict) else None
    if not isinstance(outcomes, list) or not all(isinstance(item, dict) for item in outcomes):
        return [], {}
    return outcomes, value

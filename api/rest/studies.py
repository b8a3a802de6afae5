"""Studies over HTTP."""

from __future__ import annotations

from starlette.responses import Response, StreamingResponse

from services.answers import BestAnswer, Diagnosis, StudyPage, UpdateList
from services.domain.study import Study, StudySpec
from services.exports import MEDIA
from services.pages import ListStudies
from services.requests import ExportQuery, UpdatesQuery

from .calls import Call, Routes, answer, reply
from .examples import STUDY, STUDY_PATCH

routes = Routes("studies")
BINARY = "application/octet-stream"


def _headers(study: Study) -> dict[str, str]:
    return {"ETag": study.etag}


@routes.add("POST", "/studies", body=StudySpec, answers={201: Study}, example=STUDY)
async def create_study(call: Call) -> Response:
    """Create a study."""
    found = await call.services.studies.create(call.caller, call.read(StudySpec), call.idem)
    return reply(found, 201, _headers(found.value) | {"Location": f"/v1/studies/{found.value.name}"})


@routes.add("GET", "/studies", query=ListStudies, answers={200: StudyPage})
async def list_studies(call: Call) -> Response:
    """List studies, page by page."""
    return answer(await call.services.studies.list(call.caller, call.query(ListStudies, "label")))


@routes.add("GET", "/studies/{study}", answers={200: Study})
async def get_study(call: Call) -> Response:
    """Read a study by its id or name."""
    found = await call.services.studies.get(call.caller, call.study)
    return answer(found, 200, _headers(found))


@routes.add(
    "PATCH", "/studies/{study}", answers={200: Study}, example=STUDY_PATCH, media="application/merge-patch+json"
)
async def update_study(call: Call) -> Response:
    """Change limits, suggester, early stopping, labels or metadata by a JSON merge patch."""
    found = await call.services.studies.patch(call.caller, call.study, call.json(), call.if_match, call.idem)
    return reply(found, 200, _headers(found.value))


@routes.add("DELETE", "/studies/{study}", answers={204: None})
async def delete_study(call: Call) -> Response:
    """Delete a study with its trials."""
    await call.services.studies.delete(call.caller, call.study, call.if_match)
    return Response(status_code=204)


@routes.add("POST", "/studies/{study}:pause", answers={200: Study})
async def pause_study(call: Call) -> Response:
    """Hand out no more trials until resumed."""
    found = await call.services.studies.pause(call.caller, call.study, call.idem)
    return reply(found, 200, _headers(found.value))


@routes.add("POST", "/studies/{study}:resume", answers={200: Study})
async def resume_study(call: Call) -> Response:
    """Hand out trials again."""
    found = await call.services.studies.resume(call.caller, call.study, call.idem)
    return reply(found, 200, _headers(found.value))


@routes.add("POST", "/studies/{study}:complete", answers={200: Study})
async def complete_study(call: Call) -> Response:
    """End a study; its running trials may still be told."""
    found = await call.services.studies.complete(call.caller, call.study, call.idem)
    return reply(found, 200, _headers(found.value))


@routes.add("GET", "/studies/{study}:diagnose", answers={200: Diagnosis})
async def diagnose_study(call: Call) -> Response:
    """Tell how well the model predicts, what it believes matters, and what limits progress."""
    return answer(await call.services.diagnosing.diagnose(call.caller, call.study))


@routes.add("GET", "/studies/{study}/best", answers={200: BestAnswer})
async def get_best(call: Call) -> Response:
    """Read the best feasible trial, or the Pareto set."""
    return answer(await call.services.trials.best(call.caller, call.study))


@routes.add("GET", "/studies/{study}/export", query=ExportQuery, answers={200: None})
async def export_study(call: Call) -> Response:
    """Take every trial out, streamed."""
    wanted = call.query(ExportQuery).format
    stream = await call.services.exports.open(call.caller, call.study, wanted)
    name = f'attachment; filename="trials.{wanted}"'
    return StreamingResponse(stream, media_type=MEDIA[wanted], headers={"Content-Disposition": name})


@routes.add("GET", "/studies/{study}/updates", query=UpdatesQuery, answers={200: UpdateList})
async def list_updates(call: Call) -> Response:
    """Read how a seed-encoded vector moves on from a version; binary if the client accepts `application/octet-stream`."""
    query = call.query(UpdatesQuery)
    if BINARY not in call.request.headers.get("accept", ""):
        return answer(await call.services.updates.list(call.caller, call.study, query))
    log, latest, pending = await call.services.updates.binary(call.caller, call.study, query)
    headers = {"Asktell-Latest": str(latest), "Asktell-Pending": str(pending).lower()}
    return Response(log, media_type=BINARY, headers=headers)

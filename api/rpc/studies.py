"""Studies over gRPC."""

from __future__ import annotations

from typing import Any

import grpc.aio
from google.api import httpbody_pb2
from google.protobuf import empty_pb2

from asktell.v1 import study_pb2, study_pb2_grpc
from services.container import Services
from services.domain.study import StudySpec
from services.exports import MEDIA
from services.pages import ListStudies
from services.requests import EventsQuery, ExportQuery, UpdatesQuery

from .calls import CALLER, answer, idempotency, reply
from .messages import read, take

Context = grpc.aio.ServicerContext[Any, Any]
ENVELOPE = frozenset({"study"})


class Studies(study_pb2_grpc.StudiesServicer):
    """The calls about studies as a whole; the protos say what each does."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._studies = services.studies

    async def CreateStudy(self, request: study_pb2.CreateStudyRequest, context: Context) -> study_pb2.Study:
        spec = read(request.study, StudySpec)
        found = await self._studies.create(CALLER.get(), spec, idempotency(request, context))
        return reply(study_pb2.Study, found, context)

    async def ListStudies(
        self, request: study_pb2.ListStudiesRequest, context: Context
    ) -> study_pb2.ListStudiesResponse:
        page = await self._studies.list(CALLER.get(), read(request, ListStudies))
        return answer(study_pb2.ListStudiesResponse, page)

    async def GetStudy(self, request: study_pb2.GetStudyRequest, context: Context) -> study_pb2.Study:
        return answer(study_pb2.Study, await self._studies.get(CALLER.get(), request.study))

    async def UpdateStudy(self, request: study_pb2.UpdateStudyRequest, context: Context) -> study_pb2.Study:
        etag = request.etag if request.HasField("etag") else None
        patch, idem = take(request.patch), idempotency(request, context)
        found = await self._studies.patch(CALLER.get(), request.study, patch, etag, idem)
        return reply(study_pb2.Study, found, context)

    async def DeleteStudy(self, request: study_pb2.DeleteStudyRequest, context: Context) -> empty_pb2.Empty:
        etag = request.etag if request.HasField("etag") else None
        await self._studies.delete(CALLER.get(), request.study, etag)
        return empty_pb2.Empty()

    async def PauseStudy(self, request: study_pb2.PauseStudyRequest, context: Context) -> study_pb2.Study:
        found = await self._studies.pause(CALLER.get(), request.study, idempotency(request, context))
        return reply(study_pb2.Study, found, context)

    async def ResumeStudy(self, request: study_pb2.ResumeStudyRequest, context: Context) -> study_pb2.Study:
        found = await self._studies.resume(CALLER.get(), request.study, idempotency(request, context))
        return reply(study_pb2.Study, found, context)

    async def CompleteStudy(self, request: study_pb2.CompleteStudyRequest, context: Context) -> study_pb2.Study:
        found = await self._studies.complete(CALLER.get(), request.study, idempotency(request, context))
        return reply(study_pb2.Study, found, context)

    async def DiagnoseStudy(self, request: study_pb2.DiagnoseStudyRequest, context: Context) -> study_pb2.Diagnosis:
        return answer(study_pb2.Diagnosis, await self._services.diagnosing.diagnose(CALLER.get(), request.study))

    async def GetBest(self, request: study_pb2.GetBestRequest, context: Context) -> study_pb2.GetBestResponse:
        return answer(study_pb2.GetBestResponse, await self._services.trials.best(CALLER.get(), request.study))

    async def ListUpdates(
        self, request: study_pb2.ListUpdatesRequest, context: Context
    ) -> study_pb2.ListUpdatesResponse:
        query = read(request, UpdatesQuery, ENVELOPE)
        return answer(
            study_pb2.ListUpdatesResponse, await self._services.updates.list(CALLER.get(), request.study, query)
        )

    async def StreamEvents(self, request: study_pb2.StreamEventsRequest, context: Context) -> None:
        after = read(request, EventsQuery, ENVELOPE).after
        events = await self._services.events.open(CALLER.get(), request.study, after)
        async for event in events:
            if event is not None:  # HTTP/2 keeps the connection alive by itself
                await context.write(answer(study_pb2.Event, event))

    async def ExportTrials(self, request: study_pb2.ExportTrialsRequest, context: Context) -> None:
        wanted = read(request, ExportQuery, ENVELOPE).format
        content_type = MEDIA[wanted]
        async for piece in await self._services.exports.open(CALLER.get(), request.study, wanted):
            if piece:
                await context.write(httpbody_pb2.HttpBody(content_type=content_type, data=piece))
                content_type = ""

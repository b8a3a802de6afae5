"""Trials over gRPC."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from asktell.v1 import trial_pb2, trial_pb2_grpc
from services.container import Services
from services.domain.errors import Invalid
from services.domain.trial import (
    MAX_BATCH,
    AskRequest,
    HeartbeatRequest,
    NewTrial,
    Outcome,
    Report,
    TellMany,
    TrialPatch,
)
from services.pages import ListTrials
from services.requests import NewTrials

from .calls import CALLER, answer, idempotency, reply
from .evaluation import Evaluation, Releases
from .messages import read, take

Context = grpc.aio.ServicerContext[Any, Any]
OF_STUDY = frozenset({"study", "request_id"})
OF_TRIAL = frozenset({"study", "number", "request_id"})


class Trials(trial_pb2_grpc.TrialsServicer):
    """The calls about trials; the protos say what each does.

    Args:
        services: the use cases.
        releases: hands back what broken streams leave.
    """

    def __init__(self, services: Services, releases: Releases) -> None:
        self._services = services
        self._releases = releases

    async def AskTrials(self, request: trial_pb2.AskTrialsRequest, context: Context) -> trial_pb2.AskTrialsResponse:
        async def is_gone() -> bool:
            return context.cancelled()

        wish, idem = read(request, AskRequest, OF_STUDY), idempotency(request, context)
        found = await self._services.asks.ask(CALLER.get(), request.study, wish, idem, is_gone)
        return reply(trial_pb2.AskTrialsResponse, found, context)

    async def TellTrials(self, request: trial_pb2.TellTrialsRequest, context: Context) -> trial_pb2.TellTrialsResponse:
        outcomes, idem = tell_many(request.outcomes, request.brief), idempotency(request, context)
        found = await self._services.tells.tell_many(CALLER.get(), request.study, outcomes, idem)
        return reply(trial_pb2.TellTrialsResponse, found, context)

    async def CreateTrial(self, request: trial_pb2.CreateTrialRequest, context: Context) -> trial_pb2.Trial:
        new, idem = read(request.trial, NewTrial), idempotency(request, context)
        found = await self._services.trials.create(CALLER.get(), request.study, new, idem)
        return reply(trial_pb2.Trial, found, context)

    async def CreateTrials(
        self, request: trial_pb2.CreateTrialsRequest, context: Context
    ) -> trial_pb2.CreateTrialsResponse:
        new, idem = read(request, NewTrials, OF_STUDY), idempotency(request, context)
        found = await self._services.trials.create_many(CALLER.get(), request.study, new.trials, idem)
        return reply(trial_pb2.CreateTrialsResponse, found, context)

    async def ListTrials(self, request: trial_pb2.ListTrialsRequest, context: Context) -> trial_pb2.ListTrialsResponse:
        query = read(request, ListTrials, OF_STUDY)
        page = await self._services.trials.list(CALLER.get(), request.study, query)
        return answer(trial_pb2.ListTrialsResponse, page)

    async def GetTrial(self, request: trial_pb2.GetTrialRequest, context: Context) -> trial_pb2.Trial:
        return answer(trial_pb2.Trial, await self._services.trials.get(CALLER.get(), request.study, request.number))

    async def UpdateTrial(self, request: trial_pb2.UpdateTrialRequest, context: Context) -> trial_pb2.Trial:
        patch, idem = read(request.patch, TrialPatch), idempotency(request, context)
        found = await self._services.trials.patch(CALLER.get(), request.study, request.number, patch, idem)
        return reply(trial_pb2.Trial, found, context)

    async def TellTrial(self, request: trial_pb2.TellTrialRequest, context: Context) -> trial_pb2.Trial:
        outcome, idem = read(request, Outcome, OF_TRIAL), idempotency(request, context)
        found = await self._services.tells.tell(CALLER.get(), request.study, request.number, outcome, idem)
        return reply(trial_pb2.Trial, found, context)

    async def ReportTrial(
        self, request: trial_pb2.ReportTrialRequest, context: Context
    ) -> trial_pb2.ReportTrialResponse:
        report, idem = read(request, Report, OF_TRIAL), idempotency(request, context)
        found = await self._services.tells.report(CALLER.get(), request.study, request.number, report, idem)
        return reply(trial_pb2.ReportTrialResponse, found, context)

    async def HeartbeatTrial(
        self, request: trial_pb2.HeartbeatTrialRequest, context: Context
    ) -> trial_pb2.HeartbeatTrialResponse:
        sign, idem = read(request, HeartbeatRequest, OF_TRIAL), idempotency(request, context)
        found = await self._services.leases.heartbeat(CALLER.get(), request.study, request.number, sign, idem)
        return reply(trial_pb2.HeartbeatTrialResponse, found, context)

    async def CancelTrial(self, request: trial_pb2.CancelTrialRequest, context: Context) -> trial_pb2.Trial:
        idem = idempotency(request, context)
        found = await self._services.leases.cancel(CALLER.get(), request.study, request.number, idem)
        return reply(trial_pb2.Trial, found, context)

    async def ReleaseTrial(self, request: trial_pb2.ReleaseTrialRequest, context: Context) -> trial_pb2.Trial:
        idem = idempotency(request, context)
        found = await self._services.leases.release(CALLER.get(), request.study, request.number, idem)
        return reply(trial_pb2.Trial, found, context)

    async def GetReceipt(self, request: trial_pb2.GetReceiptRequest, context: Context) -> trial_pb2.Receipt:
        found = await self._services.trials.receipt(CALLER.get(), request.study, request.number)
        return answer(trial_pb2.Receipt, found)

    async def Evaluate(self, request_iterator: AsyncIterator[trial_pb2.EvaluateRequest], context: Context) -> None:
        await Evaluation(self._services, CALLER.get(), self._releases, context.write).run(request_iterator)


def tell_many(outcomes: Any, brief: bool) -> TellMany:
    """Outcomes as the use case takes them: each is read, and judged, on its own there.

    Raises:
        Invalid: none, or too many.
    """
    if not 1 <= len(outcomes) <= MAX_BATCH:
        raise Invalid.at("/outcomes", f"must be 1 to {MAX_BATCH} outcomes")
    return TellMany.model_construct(outcomes=tuple(take(item) for item in outcomes), brief=brief)

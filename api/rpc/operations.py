"""Operations over gRPC."""

from __future__ import annotations

from typing import Any

import grpc.aio

from asktell.v1 import operation_pb2, operation_pb2_grpc, trial_pb2
from services.container import Services
from services.requests import WaitQuery

from .calls import CALLER, answer
from .messages import read

ENVELOPE = frozenset({"id"})


class Operations(operation_pb2_grpc.OperationsServicer):
    """The calls about operations; the protos say what each does."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def GetOperation(
        self, request: operation_pb2.GetOperationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> trial_pb2.Operation:
        wait_seconds = read(request, WaitQuery, ENVELOPE).wait_seconds
        return answer(trial_pb2.Operation, await self._services.operations.get(CALLER.get(), request.id, wait_seconds))

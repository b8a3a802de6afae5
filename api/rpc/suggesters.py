"""The catalogue over gRPC."""

from __future__ import annotations

from typing import Any

import grpc.aio

from asktell.v1 import suggester_pb2, suggester_pb2_grpc
from services.container import Services

from .calls import answer

Context = grpc.aio.ServicerContext[Any, Any]


class Suggesters(suggester_pb2_grpc.SuggestersServicer):
    """The calls about suggesters; the protos say what each does."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def ListSuggesters(
        self, request: suggester_pb2.ListSuggestersRequest, context: Context
    ) -> suggester_pb2.ListSuggestersResponse:
        return answer(suggester_pb2.ListSuggestersResponse, self._services.catalogue.list())

    async def GetSuggester(
        self, request: suggester_pb2.GetSuggesterRequest, context: Context
    ) -> suggester_pb2.Suggester:
        return answer(suggester_pb2.Suggester, self._services.catalogue.get(request.name))

"""Types of the service classes, which protoc does not write."""

from collections.abc import AsyncIterator, Awaitable

import grpc
import grpc.aio
from asktell.v1 import suggester_pb2

class SuggestersStub:
    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None: ...
    ListSuggesters: grpc.UnaryUnaryMultiCallable[suggester_pb2.ListSuggestersRequest, suggester_pb2.ListSuggestersResponse]
    GetSuggester: grpc.UnaryUnaryMultiCallable[suggester_pb2.GetSuggesterRequest, suggester_pb2.Suggester]

class SuggestersAsyncStub:
    ListSuggesters: grpc.aio.UnaryUnaryMultiCallable[suggester_pb2.ListSuggestersRequest, suggester_pb2.ListSuggestersResponse]
    GetSuggester: grpc.aio.UnaryUnaryMultiCallable[suggester_pb2.GetSuggesterRequest, suggester_pb2.Suggester]

class SuggestersServicer:
    def ListSuggesters(self, request: suggester_pb2.ListSuggestersRequest, context: grpc.aio.ServicerContext[suggester_pb2.ListSuggestersRequest, suggester_pb2.ListSuggestersResponse]) -> Awaitable[suggester_pb2.ListSuggestersResponse]: ...
    def GetSuggester(self, request: suggester_pb2.GetSuggesterRequest, context: grpc.aio.ServicerContext[suggester_pb2.GetSuggesterRequest, suggester_pb2.Suggester]) -> Awaitable[suggester_pb2.Suggester]: ...

def add_SuggestersServicer_to_server(servicer: SuggestersServicer, server: grpc.Server | grpc.aio.Server) -> None: ...

"""Types of the service classes, which protoc does not write."""

from collections.abc import AsyncIterator, Awaitable

import grpc
import grpc.aio
from asktell.v1 import operation_pb2
from asktell.v1 import trial_pb2

class OperationsStub:
    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None: ...
    GetOperation: grpc.UnaryUnaryMultiCallable[operation_pb2.GetOperationRequest, trial_pb2.Operation]

class OperationsAsyncStub:
    GetOperation: grpc.aio.UnaryUnaryMultiCallable[operation_pb2.GetOperationRequest, trial_pb2.Operation]

class OperationsServicer:
    def GetOperation(self, request: operation_pb2.GetOperationRequest, context: grpc.aio.ServicerContext[operation_pb2.GetOperationRequest, trial_pb2.Operation]) -> Awaitable[trial_pb2.Operation]: ...

def add_OperationsServicer_to_server(servicer: OperationsServicer, server: grpc.Server | grpc.aio.Server) -> None: ...

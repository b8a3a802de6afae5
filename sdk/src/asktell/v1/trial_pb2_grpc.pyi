"""Types of the service classes, which protoc does not write."""

from collections.abc import AsyncIterator, Awaitable

import grpc
import grpc.aio
from asktell.v1 import trial_pb2

class TrialsStub:
    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None: ...
    AskTrials: grpc.UnaryUnaryMultiCallable[trial_pb2.AskTrialsRequest, trial_pb2.AskTrialsResponse]
    TellTrials: grpc.UnaryUnaryMultiCallable[trial_pb2.TellTrialsRequest, trial_pb2.TellTrialsResponse]
    CreateTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.CreateTrialRequest, trial_pb2.Trial]
    CreateTrials: grpc.UnaryUnaryMultiCallable[trial_pb2.CreateTrialsRequest, trial_pb2.CreateTrialsResponse]
    ListTrials: grpc.UnaryUnaryMultiCallable[trial_pb2.ListTrialsRequest, trial_pb2.ListTrialsResponse]
    GetTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.GetTrialRequest, trial_pb2.Trial]
    UpdateTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.UpdateTrialRequest, trial_pb2.Trial]
    TellTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.TellTrialRequest, trial_pb2.Trial]
    ReportTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.ReportTrialRequest, trial_pb2.ReportTrialResponse]
    HeartbeatTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.HeartbeatTrialRequest, trial_pb2.HeartbeatTrialResponse]
    CancelTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.CancelTrialRequest, trial_pb2.Trial]
    ReleaseTrial: grpc.UnaryUnaryMultiCallable[trial_pb2.ReleaseTrialRequest, trial_pb2.Trial]
    GetReceipt: grpc.UnaryUnaryMultiCallable[trial_pb2.GetReceiptRequest, trial_pb2.Receipt]
    Evaluate: grpc.StreamStreamMultiCallable[trial_pb2.EvaluateRequest, trial_pb2.EvaluateResponse]

class TrialsAsyncStub:
    AskTrials: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.AskTrialsRequest, trial_pb2.AskTrialsResponse]
    TellTrials: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.TellTrialsRequest, trial_pb2.TellTrialsResponse]
    CreateTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.CreateTrialRequest, trial_pb2.Trial]
    CreateTrials: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.CreateTrialsRequest, trial_pb2.CreateTrialsResponse]
    ListTrials: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.ListTrialsRequest, trial_pb2.ListTrialsResponse]
    GetTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.GetTrialRequest, trial_pb2.Trial]
    UpdateTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.UpdateTrialRequest, trial_pb2.Trial]
    TellTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.TellTrialRequest, trial_pb2.Trial]
    ReportTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.ReportTrialRequest, trial_pb2.ReportTrialResponse]
    HeartbeatTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.HeartbeatTrialRequest, trial_pb2.HeartbeatTrialResponse]
    CancelTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.CancelTrialRequest, trial_pb2.Trial]
    ReleaseTrial: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.ReleaseTrialRequest, trial_pb2.Trial]
    GetReceipt: grpc.aio.UnaryUnaryMultiCallable[trial_pb2.GetReceiptRequest, trial_pb2.Receipt]
    Evaluate: grpc.aio.StreamStreamMultiCallable[trial_pb2.EvaluateRequest, trial_pb2.EvaluateResponse]

class TrialsServicer:
    def AskTrials(self, request: trial_pb2.AskTrialsRequest, context: grpc.aio.ServicerContext[trial_pb2.AskTrialsRequest, trial_pb2.AskTrialsResponse]) -> Awaitable[trial_pb2.AskTrialsResponse]: ...
    def TellTrials(self, request: trial_pb2.TellTrialsRequest, context: grpc.aio.ServicerContext[trial_pb2.TellTrialsRequest, trial_pb2.TellTrialsResponse]) -> Awaitable[trial_pb2.TellTrialsResponse]: ...
    def CreateTrial(self, request: trial_pb2.CreateTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.CreateTrialRequest, trial_pb2.Trial]) -> Awaitable[trial_pb2.Trial]: ...
    def CreateTrials(self, request: trial_pb2.CreateTrialsRequest, context: grpc.aio.ServicerContext[trial_pb2.CreateTrialsRequest, trial_pb2.CreateTrialsResponse]) -> Awaitable[trial_pb2.CreateTrialsResponse]: ...
    def ListTrials(self, request: trial_pb2.ListTrialsRequest, context: grpc.aio.ServicerContext[trial_pb2.ListTrialsRequest, trial_pb2.ListTrialsResponse]) -> Awaitable[trial_pb2.ListTrialsResponse]: ...
    def GetTrial(self, request: trial_pb2.GetTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.GetTrialRequest, trial_pb2.Trial]) -> Awaitable[trial_pb2.Trial]: ...
    def UpdateTrial(self, request: trial_pb2.UpdateTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.UpdateTrialRequest, trial_pb2.Trial]) -> Awaitable[trial_pb2.Trial]: ...
    def TellTrial(self, request: trial_pb2.TellTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.TellTrialRequest, trial_pb2.Trial]) -> Awaitable[trial_pb2.Trial]: ...
    def ReportTrial(self, request: trial_pb2.ReportTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.ReportTrialRequest, trial_pb2.ReportTrialResponse]) -> Awaitable[trial_pb2.ReportTrialResponse]: ...
    def HeartbeatTrial(self, request: trial_pb2.HeartbeatTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.HeartbeatTrialRequest, trial_pb2.HeartbeatTrialResponse]) -> Awaitable[trial_pb2.HeartbeatTrialResponse]: ...
    def CancelTrial(self, request: trial_pb2.CancelTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.CancelTrialRequest, trial_pb2.Trial]) -> Awaitable[trial_pb2.Trial]: ...
    def ReleaseTrial(self, request: trial_pb2.ReleaseTrialRequest, context: grpc.aio.ServicerContext[trial_pb2.ReleaseTrialRequest, trial_pb2.Trial]) -> Awaitable[trial_pb2.Trial]: ...
    def GetReceipt(self, request: trial_pb2.GetReceiptRequest, context: grpc.aio.ServicerContext[trial_pb2.GetReceiptRequest, trial_pb2.Receipt]) -> Awaitable[trial_pb2.Receipt]: ...
    def Evaluate(self, request_iterator: AsyncIterator[trial_pb2.EvaluateRequest], context: grpc.aio.ServicerContext[trial_pb2.EvaluateRequest, trial_pb2.EvaluateResponse]) -> AsyncIterator[trial_pb2.EvaluateResponse] | Awaitable[None]: ...

def add_TrialsServicer_to_server(servicer: TrialsServicer, server: grpc.Server | grpc.aio.Server) -> None: ...

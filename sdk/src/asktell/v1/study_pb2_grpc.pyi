"""Types of the service classes, which protoc does not write."""

from collections.abc import AsyncIterator, Awaitable

import grpc
import grpc.aio
from asktell.v1 import study_pb2
from google.api import httpbody_pb2
from google.protobuf import empty_pb2

class StudiesStub:
    def __init__(self, channel: grpc.Channel | grpc.aio.Channel) -> None: ...
    CreateStudy: grpc.UnaryUnaryMultiCallable[study_pb2.CreateStudyRequest, study_pb2.Study]
    ListStudies: grpc.UnaryUnaryMultiCallable[study_pb2.ListStudiesRequest, study_pb2.ListStudiesResponse]
    GetStudy: grpc.UnaryUnaryMultiCallable[study_pb2.GetStudyRequest, study_pb2.Study]
    UpdateStudy: grpc.UnaryUnaryMultiCallable[study_pb2.UpdateStudyRequest, study_pb2.Study]
    DeleteStudy: grpc.UnaryUnaryMultiCallable[study_pb2.DeleteStudyRequest, empty_pb2.Empty]
    PauseStudy: grpc.UnaryUnaryMultiCallable[study_pb2.PauseStudyRequest, study_pb2.Study]
    ResumeStudy: grpc.UnaryUnaryMultiCallable[study_pb2.ResumeStudyRequest, study_pb2.Study]
    CompleteStudy: grpc.UnaryUnaryMultiCallable[study_pb2.CompleteStudyRequest, study_pb2.Study]
    DiagnoseStudy: grpc.UnaryUnaryMultiCallable[study_pb2.DiagnoseStudyRequest, study_pb2.Diagnosis]
    GetBest: grpc.UnaryUnaryMultiCallable[study_pb2.GetBestRequest, study_pb2.GetBestResponse]
    ListUpdates: grpc.UnaryUnaryMultiCallable[study_pb2.ListUpdatesRequest, study_pb2.ListUpdatesResponse]
    StreamEvents: grpc.UnaryStreamMultiCallable[study_pb2.StreamEventsRequest, study_pb2.Event]
    ExportTrials: grpc.UnaryStreamMultiCallable[study_pb2.ExportTrialsRequest, httpbody_pb2.HttpBody]

class StudiesAsyncStub:
    CreateStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.CreateStudyRequest, study_pb2.Study]
    ListStudies: grpc.aio.UnaryUnaryMultiCallable[study_pb2.ListStudiesRequest, study_pb2.ListStudiesResponse]
    GetStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.GetStudyRequest, study_pb2.Study]
    UpdateStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.UpdateStudyRequest, study_pb2.Study]
    DeleteStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.DeleteStudyRequest, empty_pb2.Empty]
    PauseStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.PauseStudyRequest, study_pb2.Study]
    ResumeStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.ResumeStudyRequest, study_pb2.Study]
    CompleteStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.CompleteStudyRequest, study_pb2.Study]
    DiagnoseStudy: grpc.aio.UnaryUnaryMultiCallable[study_pb2.DiagnoseStudyRequest, study_pb2.Diagnosis]
    GetBest: grpc.aio.UnaryUnaryMultiCallable[study_pb2.GetBestRequest, study_pb2.GetBestResponse]
    ListUpdates: grpc.aio.UnaryUnaryMultiCallable[study_pb2.ListUpdatesRequest, study_pb2.ListUpdatesResponse]
    StreamEvents: grpc.aio.UnaryStreamMultiCallable[study_pb2.StreamEventsRequest, study_pb2.Event]
    ExportTrials: grpc.aio.UnaryStreamMultiCallable[study_pb2.ExportTrialsRequest, httpbody_pb2.HttpBody]

class StudiesServicer:
    def CreateStudy(self, request: study_pb2.CreateStudyRequest, context: grpc.aio.ServicerContext[study_pb2.CreateStudyRequest, study_pb2.Study]) -> Awaitable[study_pb2.Study]: ...
    def ListStudies(self, request: study_pb2.ListStudiesRequest, context: grpc.aio.ServicerContext[study_pb2.ListStudiesRequest, study_pb2.ListStudiesResponse]) -> Awaitable[study_pb2.ListStudiesResponse]: ...
    def GetStudy(self, request: study_pb2.GetStudyRequest, context: grpc.aio.ServicerContext[study_pb2.GetStudyRequest, study_pb2.Study]) -> Awaitable[study_pb2.Study]: ...
    def UpdateStudy(self, request: study_pb2.UpdateStudyRequest, context: grpc.aio.ServicerContext[study_pb2.UpdateStudyRequest, study_pb2.Study]) -> Awaitable[study_pb2.Study]: ...
    def DeleteStudy(self, request: study_pb2.DeleteStudyRequest, context: grpc.aio.ServicerContext[study_pb2.DeleteStudyRequest, empty_pb2.Empty]) -> Awaitable[empty_pb2.Empty]: ...
    def PauseStudy(self, request: study_pb2.PauseStudyRequest, context: grpc.aio.ServicerContext[study_pb2.PauseStudyRequest, study_pb2.Study]) -> Awaitable[study_pb2.Study]: ...
    def ResumeStudy(self, request: study_pb2.ResumeStudyRequest, context: grpc.aio.ServicerContext[study_pb2.ResumeStudyRequest, study_pb2.Study]) -> Awaitable[study_pb2.Study]: ...
    def CompleteStudy(self, request: study_pb2.CompleteStudyRequest, context: grpc.aio.ServicerContext[study_pb2.CompleteStudyRequest, study_pb2.Study]) -> Awaitable[study_pb2.Study]: ...
    def DiagnoseStudy(self, request: study_pb2.DiagnoseStudyRequest, context: grpc.aio.ServicerContext[study_pb2.DiagnoseStudyRequest, study_pb2.Diagnosis]) -> Awaitable[study_pb2.Diagnosis]: ...
    def GetBest(self, request: study_pb2.GetBestRequest, context: grpc.aio.ServicerContext[study_pb2.GetBestRequest, study_pb2.GetBestResponse]) -> Awaitable[study_pb2.GetBestResponse]: ...
    def ListUpdates(self, request: study_pb2.ListUpdatesRequest, context: grpc.aio.ServicerContext[study_pb2.ListUpdatesRequest, study_pb2.ListUpdatesResponse]) -> Awaitable[study_pb2.ListUpdatesResponse]: ...
    def StreamEvents(self, request: study_pb2.StreamEventsRequest, context: grpc.aio.ServicerContext[study_pb2.StreamEventsRequest, study_pb2.Event]) -> AsyncIterator[study_pb2.Event] | Awaitable[None]: ...
    def ExportTrials(self, request: study_pb2.ExportTrialsRequest, context: grpc.aio.ServicerContext[study_pb2.ExportTrialsRequest, httpbody_pb2.HttpBody]) -> AsyncIterator[httpbody_pb2.HttpBody] | Awaitable[None]: ...

def add_StudiesServicer_to_server(servicer: StudiesServicer, server: grpc.Server | grpc.aio.Server) -> None: ...

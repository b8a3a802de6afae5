"""A gRPC client for tests: the stubs on one channel, and what an error says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import grpc
import grpc.aio
from google.rpc import error_details_pb2, status_pb2

from api.rpc.filling import write
from asktell.v1 import operation_pb2_grpc, study_pb2, study_pb2_grpc, suggester_pb2_grpc, trial_pb2, trial_pb2_grpc
from tests.support.builders import study_document

if TYPE_CHECKING:
    from asktell.v1.operation_pb2_grpc import OperationsAsyncStub
    from asktell.v1.study_pb2_grpc import StudiesAsyncStub
    from asktell.v1.suggester_pb2_grpc import SuggestersAsyncStub
    from asktell.v1.trial_pb2_grpc import TrialsAsyncStub


class Client:
    """The stubs on a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.studies = cast("StudiesAsyncStub", study_pb2_grpc.StudiesStub(channel))
        self.trials = cast("TrialsAsyncStub", trial_pb2_grpc.TrialsStub(channel))
        self.operations = cast("OperationsAsyncStub", operation_pb2_grpc.OperationsStub(channel))
        self.suggesters = cast("SuggestersAsyncStub", suggester_pb2_grpc.SuggestersStub(channel))

    async def create(self, **fields: Any) -> str:
        """A new study; its name."""
        study = write(study_pb2.Study, study_document(**fields))
        return (await self.studies.CreateStudy(study_pb2.CreateStudyRequest(study=study))).name

    async def ask(self, study: str, count: int = 1, **fields: Any) -> list[trial_pb2.Trial]:
        """Some trials, without waiting."""
        wish = trial_pb2.AskTrialsRequest(study=study, count=count, worker="w", wait_seconds=0, **fields)
        return list((await self.trials.AskTrials(wish)).trials)

    async def tell(self, study: str, number: int, loss: float = 0.5, **fields: Any) -> trial_pb2.Trial:
        """Tell one outcome."""
        told = trial_pb2.TellTrialRequest(study=study, number=number, metrics={"loss": loss}, **fields)
        return await self.trials.TellTrial(told)


@dataclass
class Refusal:
    """What an error said.

    Attributes:
        fields: the places that were wrong.
        retry_ms: after how long to try again, None where that would not help.
    """

    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""
    reason: str = ""
    fields: list[str] = field(default_factory=list)
    retry_ms: int | None = None

    def take(self, error: grpc.aio.AioRpcError) -> None:
        """Read it from the call's trailers."""
        self.code, self.message = error.code(), error.details() or ""
        blob = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin", b"")
        for packed in status_pb2.Status.FromString(cast(bytes, blob)).details:
            bad, info, retry = (
                error_details_pb2.BadRequest(),
                error_details_pb2.ErrorInfo(),
                error_details_pb2.RetryInfo(),
            )
            if packed.Unpack(bad):
                self.fields = [violation.field for violation in bad.field_violations]
            elif packed.Unpack(info):
                self.reason = info.reason
            elif packed.Unpack(retry):
                self.retry_ms = retry.retry_delay.ToMilliseconds()


@contextmanager
def refused() -> Iterator[Refusal]:
    """Expect the call inside to be refused; what it says is there afterwards."""
    found = Refusal()
    try:
        yield found
    except grpc.aio.AioRpcError as error:
        found.take(error)
    else:
        raise AssertionError("the call was not refused")

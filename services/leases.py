"""Leases: signs of life, handing back, giving up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel

from .answers import HeartbeatAnswer
from .caller import Caller, Role
from .domain.errors import Conflict
from .domain.trial import HeartbeatRequest, Trial, TrialState
from .idempotency import Idempotency, Reply, record, recorded
from .lifecycle import expire_leases, extend_lease, finish, give_back, settle
from .store import trials as trial_store
from .store.records import TrialRecord
from .store.unit_of_work import StudyWork
from .studies import StudyFinder

M = TypeVar("M", bound=BaseModel)


class Leases:
    """The use cases about who holds a trial."""

    def __init__(self, studies: StudyFinder) -> None:
        self._studies = studies

    async def heartbeat(
        self, caller: Caller, study: str, number: int, request: HeartbeatRequest, idem: Idempotency | None = None
    ) -> Reply[HeartbeatAnswer]:
        """Extend a lease.

        Raises:
            NotFound: no such trial.
            Conflict: it is not running: its lease ran out, or it has ended.
        """

        def change(work: StudyWork, trial: TrialRecord) -> HeartbeatAnswer:
            extend_lease(work, trial, request.lease_seconds)
            assert trial.lease_expires_at is not None
            return HeartbeatAnswer(lease_expires_at=trial.lease_expires_at, should_stop=trial.should_stop)

        return await self._change(caller, study, number, HeartbeatAnswer, change, idem)

    async def release(self, caller: Caller, study: str, number: int, idem: Idempotency | None = None) -> Reply[Trial]:
        """Hand a running trial back for another worker; one that already waits stays as it is.

        Raises:
            NotFound: no such trial.
            Conflict: it has ended.
        """

        def change(work: StudyWork, trial: TrialRecord) -> Trial:
            if trial.state.is_terminal:
                raise Conflict(f"trial {number} is {trial.state.value}")
            if trial.state is TrialState.RUNNING:
                give_back(work, trial, "released")
            return _answer(work, trial)

        return await self._change(caller, study, number, Trial, change, idem)

    async def cancel(self, caller: Caller, study: str, number: int, idem: Idempotency | None = None) -> Reply[Trial]:
        """Give a trial up for good.

        Raises:
            NotFound: no such trial.
            Conflict: it has ended otherwise.
        """

        def change(work: StudyWork, trial: TrialRecord) -> Trial:
            if trial.state is not TrialState.CANCELLED:
                if trial.state.is_terminal:
                    raise Conflict(f"trial {number} is {trial.state.value}")
                finish(work, trial, TrialState.CANCELLED)
            return _answer(work, trial)

        return await self._change(caller, study, number, Trial, change, idem)

    async def _change(
        self,
        caller: Caller,
        study: str,
        number: int,
        model: type[M],
        change: Callable[[StudyWork, TrialRecord], M],
        idem: Idempotency | None,
    ) -> Reply[M]:
        caller.must_be(Role.WORKER)

        def run(work: StudyWork) -> Reply[M]:
            replay = recorded(work.connection, caller.project, idem, model, work.now)
            if replay is not None:
                return replay
            expire_leases(work)
            answer = change(work, work.trial(number))
            settle(work)
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._studies.run(caller, study, run, [number])


def _answer(work: StudyWork, trial: TrialRecord) -> Trial:
    found = trial_store.measurements(work.connection, work.id, [trial.number])[trial.number] if trial.reports else []
    return trial.trial(work.study.name, found)

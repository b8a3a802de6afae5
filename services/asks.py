"""Asking: hand out trials, else wait for the suggester, or answer with an operation."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

from . import metrics
from .answers import AskAnswer, Operation
from .caller import Caller, Role
from .catalogue import Catalogue
from .domain.errors import NotActive
from .domain.trial import AskRequest, TrialState
from .handing_out import HandingOut, Wish, room
from .idempotency import Idempotency, Reply, record, recorded
from .lifecycle import expire_leases, give_back, settle, trials_left
from .store import asks as ask_store
from .store.records import TrialRecord
from .store.unit_of_work import StudyWork
from .studies import StudyFinder
from .transactions import Transactions
from .wakeups import Subscription

POLL_SECONDS = 1.0
PROCESS = secrets.token_hex(16)  # an id of an operation cannot be guessed, and drawing one for each ask would cost more
_numbers = itertools.count(1)
GRACE = timedelta(seconds=10)
OPERATION_KEPT = timedelta(hours=24)


class Asks:
    """The use case of asking."""

    def __init__(self, transactions: Transactions, studies: StudyFinder, catalogue: Catalogue) -> None:
        self._transactions = transactions
        self._studies = studies
        self._handing_out = HandingOut(catalogue)
        self._undoing: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        caller: Caller,
        study: str,
        request: AskRequest,
        idem: Idempotency | None = None,
        is_gone: Callable[[], Awaitable[bool]] | None = None,
    ) -> Reply[AskAnswer]:
        """Trials to evaluate, within `request.wait_seconds` + 1 s.

        Args:
            is_gone: tells whether the client has hung up; then nothing stays handed out to it.

        Raises:
            NotFound: no such study in the caller's project.
            NotActive: the study is paused or completed, or a limit is reached.
            Conflict: the idempotency key came with another request.
        """
        caller.must_be(Role.WORKER)
        wish = Wish(f"op_{PROCESS}{next(_numbers):x}", caller, request, idem, is_last=request.wait_seconds == 0)
        started = time.monotonic()
        try:
            reply = await self._attempt(study, wish)
            if reply is None:
                reply = await self._wait(study, wish, started + request.wait_seconds, is_gone)
        finally:
            metrics.ASK_WAIT_SECONDS.observe(time.monotonic() - started)
        return reply

    async def _wait(
        self, study: str, wish: Wish, deadline: float, is_gone: Callable[[], Awaitable[bool]] | None
    ) -> Reply[AskAnswer]:
        study_id = await self._studies.resolve(wish.caller, study)
        reply = None
        try:
            async with self._transactions.wakeups.subscribe(f"study:{study_id}") as wakes:
                while True:
                    left = deadline - time.monotonic()
                    again = replace(wish, has_waited=True, is_last=left <= 0)
                    reply = await self._attempt(study_id, again)
                    if reply is None:
                        reply = await self._stand_by(study_id, again, wakes, min(max(left, 0.001), POLL_SECONDS))
                    if reply is not None:
                        break
                    if is_gone is not None and await is_gone():
                        raise asyncio.CancelledError
            if is_gone is not None and await is_gone():
                raise asyncio.CancelledError
        except asyncio.CancelledError:
            numbers = [t.number for t in reply.value.trials] if reply is not None else []
            self._undo(study_id, wish, numbers)
            raise
        return reply

    async def _attempt(self, study: str, wish: Wish) -> Reply[AskAnswer] | None:
        return await self._written(
            study,
            wish,
            asyncio.ensure_future(self._studies.run(wish.caller, study, lambda work: self._try(work, wish))),
        )

    async def _stand_by(
        self, study_id: str, wish: Wish, wakes: Subscription, seconds: float
    ) -> Reply[AskAnswer] | None:
        """Wait for a change of the study; suggestions that come here meanwhile are taken as they are written."""
        answer = self._transactions.stand_by(study_id, lambda work: self._try(work, wish))
        try:
            await wakes.wait(seconds)
        except asyncio.CancelledError:
            if not self._transactions.stand_down(study_id, answer):
                answer.add_done_callback(lambda done: self._undo_written(study_id, wish, done))
            raise
        if self._transactions.stand_down(study_id, answer):
            return None
        return await self._written(study_id, wish, answer)

    async def _written(
        self, study: str, wish: Wish, task: asyncio.Future[Reply[AskAnswer] | None]
    ) -> Reply[AskAnswer] | None:
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # The client hung up while its trials were being written: they go back as soon as they are known.
            task.add_done_callback(lambda done: self._undo_written(study, wish, done))
            raise

    def _undo_written(self, study: str, wish: Wish, done: asyncio.Future[Reply[AskAnswer] | None]) -> None:
        if not done.cancelled() and done.exception() is None:
            reply = done.result()
            self._undo(study, wish, [t.number for t in reply.value.trials] if reply else [])

    def _undo(self, study: str, wish: Wish, numbers: list[int]) -> None:
        wish = replace(wish, has_waited=True)
        if wish.idem is not None:
            numbers = []  # the client will ask again with its key and find them

        def run(work: StudyWork) -> None:
            self._forget(work, wish)
            for number in numbers:
                trial = work.trial(number)
                if trial.state is TrialState.RUNNING and trial.worker == (wish.request.worker or None):
                    give_back(work, trial, "client disconnected")
            settle(work)

        async def undo() -> None:
            await self._studies.run(wish.caller, study, run, numbers)

        task = asyncio.ensure_future(undo())
        self._undoing.add(task)
        task.add_done_callback(self._undone)

    def _undone(self, task: asyncio.Task[None]) -> None:
        self._undoing.discard(task)
        if not task.cancelled():
            task.exception()  # the lease and the ask's own expiry cover what could not be undone now

    async def resume(self, caller: Caller, study_id: str, ask: ask_store.AskRecord) -> Reply[AskAnswer] | None:
        """Try once more to answer an ask that became an operation."""
        request = AskRequest.model_validate(ask.request)
        return await self._attempt(study_id, Wish(ask.id, caller, request, has_waited=True, is_operation=True))

    def _try(self, work: StudyWork, wish: Wish) -> Reply[AskAnswer] | None:
        """Inside the transaction: the answer, or None to wait on."""
        project = wish.caller.project
        replay = recorded(work.connection, project, wish.idem, AskAnswer, work.now)
        if replay is not None:
            self._forget(work, wish)
            return replay
        expire_leases(work)
        settle(work)
        try:
            given = self._handing_out.trials(work, wish)
        except NotActive:
            self._forget(work, wish)
            raise
        if given is None and not wish.is_last:
            self._keep_waiting(work, wish)
            return None
        answer = AskAnswer.model_construct(trials=tuple(t.trial(work.study.name) for t in given or ()), operation=None)
        if given is None:
            answer = AskAnswer.model_construct(trials=(), operation=self._become_operation(work, wish))
        elif wish.is_operation:
            self._complete_operation(work, wish, given)
        else:
            self._forget(work, wish)
        record(work.connection, project, wish.idem, answer, work.now)
        settle(work)
        return Reply(answer)

    def _keep_waiting(self, work: StudyWork, wish: Wish) -> None:
        """Leave a row that tells the dispatcher how much is wanted."""
        short = min(room(work, wish.request.count), max(1, trials_left(work))) - work.progress.waiting
        if wish.has_waited and not wish.is_operation:
            return
        self._put(work, wish, timedelta(seconds=wish.request.wait_seconds) + GRACE, max(1, short))

    def _put(self, work: StudyWork, wish: Wish, kept: timedelta, open_count: int) -> None:
        known = ask_store.get(work.connection, wish.id)
        row = known or ask_store.AskRecord(
            wish.id, work.id, wish.caller.project, wish.request.wire(), "open", open_count, work.now, work.now + kept
        )
        row.open_count = open_count
        row.expires_at = max(row.expires_at, work.now + kept)
        ask_store.put(work.connection, row)
        work.progress.demand = ask_store.demand(work.connection, work.id, work.now)
        settle(work)

    def _forget(self, work: StudyWork, wish: Wish) -> None:
        if wish.has_waited and not wish.is_operation:
            ask_store.remove(work.connection, wish.id)
            work.progress.demand = ask_store.demand(work.connection, work.id, work.now)

    def _become_operation(self, work: StudyWork, wish: Wish) -> Operation:
        self._put(work, wish, OPERATION_KEPT, max(1, min(wish.request.count, trials_left(work))))
        return Operation(id=wish.id, study=work.study.name, done=False, created_at=work.now)

    def _complete_operation(self, work: StudyWork, wish: Wish, given: list[TrialRecord]) -> None:
        row = ask_store.get(work.connection, wish.id)
        if row is not None:
            row.state, row.open_count, row.trials = "done", 0, [t.number for t in given]
            ask_store.put(work.connection, row)
            work.progress.demand = ask_store.demand(work.connection, work.id, work.now)

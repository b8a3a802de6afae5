"""Asking: hand out trials that wait, that are buffered or that are made on the spot; else wait for the suggester."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta

from . import metrics
from .answers import AskAnswer, Operation
from .caller import Caller, Role
from .catalogue import Catalogue
from .domain.errors import NotActive
from .domain.trial import AskRequest, TrialState
from .idempotency import Idempotency, Reply, record, recorded
from .lifecycle import (
    NOTHING_MORE,
    expire_leases,
    extend_lease,
    fitting,
    give_back,
    require_active,
    settle,
    start,
    suggested,
    trials_left,
)
from .store import asks as ask_store
from .store import suggestions as suggestion_store
from .store import trials as trial_store
from .store.records import TrialRecord
from .store.unit_of_work import StudyWork
from .studies import StudyFinder
from .transactions import Transactions

POLL_SECONDS = 1.0
PROCESS = secrets.token_hex(16)  # an id of an operation cannot be guessed, and drawing one for each ask would cost more
_numbers = itertools.count(1)
GRACE = timedelta(seconds=10)
OPERATION_KEPT = timedelta(hours=24)


@dataclass(frozen=True)
class Wish:
    """One ask on its way.

    Attributes:
        id: of its row while it waits, and of its operation.
        is_last: its time is over: it takes what there is, the quasi-random net, or an operation.
        is_operation: it is polled as an operation already.
    """

    id: str
    caller: Caller
    request: AskRequest
    idem: Idempotency | None = None
    has_waited: bool = False
    is_last: bool = False
    is_operation: bool = False


class Asks:
    """The use case of asking."""

    def __init__(self, transactions: Transactions, studies: StudyFinder, catalogue: Catalogue) -> None:
        self._transactions = transactions
        self._studies = studies
        self._catalogue = catalogue
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
                    if reply is not None:
                        break
                    await wakes.wait(min(max(left, 0.001), POLL_SECONDS))
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
        task = asyncio.ensure_future(self._studies.run(wish.caller, study, lambda work: self._try(work, wish)))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # The client hung up while its trials were being written: they go back as soon as they are known.
            task.add_done_callback(lambda done: self._undo_written(study, wish, done))
            raise

    def _undo_written(self, study: str, wish: Wish, done: asyncio.Task[Reply[AskAnswer] | None]) -> None:
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
            given = self._hand_out(work, wish)
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

    def _hand_out(self, work: StudyWork, wish: Wish) -> list[TrialRecord] | None:
        """The trials of one ask; None while there are not enough and waiting may help."""
        request = wish.request
        held = self._held(work, request)
        if held:
            return held
        require_active(work)
        count = self._room(work, request.count)
        waiting: list[TrialRecord] = []
        if work.progress.waiting:
            work.write()
            waiting = work.adopt(trial_store.waiting(work.connection, work.id, count))
            waiting = [t for t in waiting if t.state is TrialState.WAITING]
        missing = min(count - len(waiting), trials_left(work))
        made = self._make(work, wish, missing, bool(waiting)) if missing > 0 else []
        if made is None:
            return None
        self._started(work, waiting, request, "waiting")
        if not waiting and not made:
            settle(work)
            require_active(work)
            raise NotActive(_why_nothing(work))
        return waiting + made

    def _held(self, work: StudyWork, request: AskRequest) -> list[TrialRecord]:
        if not request.resume or not request.worker or not work.progress.running:
            return []
        work.write()
        held = work.adopt(trial_store.running(work.connection, work.id, request.worker))
        held = [t for t in held if t.state is TrialState.RUNNING][: request.count]
        for trial in held:
            extend_lease(work, trial, request.lease_seconds)
        return held

    def _room(self, work: StudyWork, count: int) -> int:
        limit = work.spec.limits.max_running
        room = count if limit is None else min(count, limit - work.progress.running)
        if room <= 0:
            raise NotActive(f"limits.max_running of {limit} is reached; tell a trial first")
        return room

    def _make(self, work: StudyWork, wish: Wish, missing: int, has_some: bool) -> list[TrialRecord] | None:
        """New trials from the suggester; None if they have to be waited for."""
        if not work.study.pooled:
            made = fitting(work, self._catalogue.inline(work, missing))
            work.progress.exhausted = len(made) < missing
            seen = work.progress.seq
            return self._started(work, [suggested(work, s, seen) for s in made], wish.request, "inline")
        buffered = self._from_buffer(work, wish, missing)
        is_all = work.progress.exhausted or (work.progress.short and (has_some or bool(buffered)))
        if len(buffered) < missing and not wish.is_last and not is_all:
            return None
        if buffered:
            suggestion_store.remove(work.connection, work.id, buffered[-1].place)
        work.progress.buffered -= len(buffered)
        fits = {id(s) for s in fitting(work, [b.suggestion for b in buffered])}
        buffered = [b for b in buffered if id(b.suggestion) in fits]
        source = "operation" if wish.is_operation else "buffer"
        records = [suggested(work, b.suggestion, b.seen_seq) for b in buffered]
        trials = self._started(work, records, wish.request, source)
        if len(trials) < missing and wish.is_last and not work.progress.exhausted:
            trials += self._fall_back(work, wish, missing - len(trials))
        if not trials and not has_some and not work.progress.exhausted:
            return None
        return trials

    def _from_buffer(self, work: StudyWork, wish: Wish, missing: int) -> list[suggestion_store.Buffered]:
        progress = work.progress
        is_fresh = progress.buffer_seq >= progress.knowledge_seq
        if not progress.buffered or (wish.request.fresh and not is_fresh):
            return []
        return suggestion_store.first(work.connection, work.id, missing)

    def _fall_back(self, work: StudyWork, wish: Wish, count: int) -> list[TrialRecord]:
        work.write()
        trials = []
        for suggestion in fitting(work, self._catalogue.fall_back(work, count)):
            trial = suggested(work, suggestion, work.progress.seq)
            trial.fallback = True
            trial.suggester, trial.reason = "sobol", f"{work.spec.suggester.name} was not ready in time: {trial.reason}"
            trials.append(trial)
        return self._started(work, trials, wish.request, "fallback")

    @staticmethod
    def _started(work: StudyWork, trials: list[TrialRecord], request: AskRequest, source: str) -> list[TrialRecord]:
        for trial in trials:
            start(work, trial, request.worker, request.lease_seconds)
        metrics.ASKS.labels(source).inc(len(trials))
        return trials

    def _keep_waiting(self, work: StudyWork, wish: Wish) -> None:
        """Leave a row that tells the dispatcher how much is wanted."""
        short = min(self._room(work, wish.request.count), max(1, trials_left(work))) - work.progress.waiting
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


def _why_nothing(work: StudyWork) -> str:
    limits = work.spec.limits
    if limits.max_trials is not None and work.progress.trials >= limits.max_trials:
        return f"limits.max_trials of {limits.max_trials} is reached"
    if trials_left(work, in_full=True) == 0:
        return "limits.max_example_evaluations is reached"
    if not work.spec.space.is_finite:
        return f"{NOTHING_MORE} now; tell the running trials"
    return "every point of the space is out; tell the running trials"

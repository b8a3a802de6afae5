"""What an ask gets: trials that wait, that are buffered or that are made on the spot."""

from __future__ import annotations

from dataclasses import dataclass

from . import metrics
from .caller import Caller
from .catalogue import Catalogue
from .domain.errors import NotActive
from .domain.trial import AskRequest, TrialState
from .idempotency import Idempotency
from .lifecycle import NOTHING_MORE, extend_lease, fitting, require_active, settle, start, suggested, trials_left
from .store import trials as trial_store
from .store.records import TrialRecord
from .store.suggestions import Buffered
from .store.unit_of_work import StudyWork


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


class HandingOut:
    """Inside a transaction: hands trials out."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def trials(self, work: StudyWork, wish: Wish) -> list[TrialRecord] | None:
        """The trials of one ask; None while there are not enough and waiting may help.

        Raises:
            NotActive: the study hands out none, or a limit is reached.
        """
        request = wish.request
        held = self._held(work, request)
        if held:
            return held
        require_active(work)
        count = room(work, request.count)
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
        work.take(buffered)
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

    def _from_buffer(self, work: StudyWork, wish: Wish, missing: int) -> list[Buffered]:
        progress = work.progress
        is_fresh = progress.buffer_seq >= progress.knowledge_seq
        if not progress.buffered or (wish.request.fresh and not is_fresh):
            return []
        return work.in_buffer(missing)

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


def room(work: StudyWork, count: int) -> int:
    """How many of so many trials may run now.

    Raises:
        NotActive: none.
    """
    limit = work.spec.limits.max_running
    found = count if limit is None else min(count, limit - work.progress.running)
    if found <= 0:
        raise NotActive(f"limits.max_running of {limit} is reached; tell a trial first")
    return found


def _why_nothing(work: StudyWork) -> str:
    limits = work.spec.limits
    if limits.max_trials is not None and work.progress.trials >= limits.max_trials:
        return f"limits.max_trials of {limits.max_trials} is reached"
    if trials_left(work, in_full=True) == 0:
        return "limits.max_example_evaluations is reached"
    if not work.spec.space.is_finite:
        return f"{NOTHING_MORE} now; tell the running trials"
    return "every point of the space is out; tell the running trials"

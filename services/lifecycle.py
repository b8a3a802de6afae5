"""The rules of a trial's life, as changes of a locked study. Every use case that moves trials goes through here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from . import metrics
from .domain.errors import Conflict, NotActive
from .domain.space import point_key
from .domain.study import StudyState
from .domain.suggester import Suggestion
from .domain.trial import Outcome, TrialState
from .store import trials as trial_store
from .store.records import Progress, TrialRecord
from .store.unit_of_work import StudyWork

MOST_AHEAD = 32
USER = "user"
_TELLS = {state: metrics.TELLS.labels(state.value) for state in TrialState if state.is_terminal}
NOTHING_MORE = "the suggester has nothing more to propose"


def require_active(work: StudyWork) -> None:
    """Refuse unless the study hands out trials.

    Raises:
        NotActive: it is paused or completed.
    """
    if work.study.state is not StudyState.ACTIVE:
        why = f": {work.study.state_reason}" if work.study.state_reason else ""
        raise NotActive(f"study {work.study.name!r} is {work.study.state.value}{why}")


def new_trial(work: StudyWork, parameters: Mapping[str, Any], **fields: Any) -> TrialRecord:
    """A trial with the next number, not yet counted."""
    point = dict(parameters)
    if work.spec.examples is not None and fields.get("evaluate_on") is None:
        split, ids = work.spec.examples.full()
        fields["evaluate_on"] = {"split": split, "ids": list(ids)}
    if fields.get("evaluate_on") is not None:
        work.progress.example_evaluations += len(fields["evaluate_on"]["ids"])
    return TrialRecord(
        study_id=work.id,
        number=work.next_number(),
        state=fields.pop("state", TrialState.WAITING),
        parameters=point,
        point_key=None if work.spec.seed_vector is not None else point_key(point),  # seeds never come twice
        created_at=work.now,
        **fields,
    )


def suggested(work: StudyWork, suggestion: Suggestion, seen_seq: int) -> TrialRecord:
    """A new waiting trial from a suggestion."""
    evaluate_on = suggestion.evaluate_on
    record = new_trial(
        work,
        suggestion.parameters,
        suggester=suggestion.suggester or work.spec.suggester.name,
        reason=suggestion.reason,
        fallback=suggestion.fallback,
        origin=dict(suggestion.origin),
        receipt=None if suggestion.receipt is None else dict(suggestion.receipt),
        seen_seq=seen_seq,
        evaluate_on=None if evaluate_on is None else dict(evaluate_on),
    )
    work.add(record)
    return record


def start(work: StudyWork, record: TrialRecord, worker: str, lease_seconds: float) -> None:
    """Hand a waiting trial to a worker."""
    record.worker = worker or None
    record.attempt = max(record.attempt, 1)
    record.lease_seconds = lease_seconds
    record.lease_expires_at = work.lease_until(lease_seconds)
    record.started_at = work.now
    record.should_stop = False
    work.move(record, TrialState.RUNNING, "trial.started", worker=record.worker, attempt=record.attempt)
    work.progress.peak_running = max(work.progress.peak_running, min(work.progress.running, MOST_AHEAD))


def give_back(work: StudyWork, record: TrialRecord, reason: str) -> None:
    """A running trial returns to those that wait."""
    record.worker = record.lease_expires_at = record.lease_seconds = None
    work.move(record, TrialState.WAITING, "trial.returned", reason=reason, attempt=record.attempt)


def expire_leases(work: StudyWork) -> None:
    """Take running trials back from workers whose lease has run out."""
    earliest = work.progress.next_lease_at
    if earliest is None or earliest > work.now:
        return
    work.write()
    running = work.adopt(trial_store.running(work.connection, work.id))
    for record in running:
        if record.lease_expires_at is not None and record.lease_expires_at <= work.now:
            _lease_lost(work, record)
    left = [r.lease_expires_at for r in running if r.state is TrialState.RUNNING and r.lease_expires_at is not None]
    work.progress.next_lease_at = min(left, default=None)
    settle(work)


def _lease_lost(work: StudyWork, record: TrialRecord) -> None:
    metrics.LEASES_EXPIRED.inc()
    if record.attempt >= work.spec.limits.max_attempts:
        record.feedback = f"lost its lease {record.attempt} times"
        finish(work, record, TrialState.FAILED, reason="lease expired")
        return
    record.attempt += 1
    give_back(work, record, "lease expired")


def extend_lease(work: StudyWork, record: TrialRecord, seconds: float | None = None) -> None:
    """A sign of life from a running trial.

    Raises:
        Conflict: it is not running (any more).
    """
    if record.state is not TrialState.RUNNING:
        raise Conflict(f"trial {record.number} is {record.state.value}, not running")
    if seconds is not None:
        record.lease_seconds = seconds
    until = work.lease_until(record.lease_seconds or 3600.0)
    # A heartbeat with a shorter lease never takes time away that was already promised.
    record.lease_expires_at = until if seconds is not None else max(until, record.lease_expires_at or until)
    work.touch(record)


def finish(work: StudyWork, record: TrialRecord, state: TrialState, **data: object) -> None:
    """A trial's end."""
    record.lease_expires_at = None
    record.finished_at = work.now
    work.move(record, state, f"trial.{state.value}", metrics=record.metrics, feasible=record.feasible, **data)
    record.told_seq = record.seq
    work.learned()


def apply_outcome(work: StudyWork, record: TrialRecord, outcome: Outcome) -> None:
    """Write what was told into a trial and end it; everything has been checked."""
    state = TrialState(outcome.state)
    record.metrics = dict(outcome.metrics)
    record.std = None if outcome.std is None else dict(outcome.std)
    record.feedback = outcome.feedback
    record.examples = None if outcome.examples is None else [e.wire() for e in outcome.examples]
    record.residual = None if outcome.residual is None else list(outcome.residual)
    record.elapsed_seconds = outcome.elapsed_seconds
    record.cost = outcome.cost
    record.outcome_digest = outcome.digest()
    if state is TrialState.PRUNED and not record.metrics and record.reports:
        work.write()
        record.metrics = dict(
            trial_store.measurements(work.connection, work.id, [record.number])[record.number][-1].metrics
        )
    record.feasible = _feasible(work, record, state)
    record.value = _value(work, record, state)
    if record.feasible:
        withdraw_infeasible(work, feasible_trial=record.number)
    work.progress.cost += outcome.cost or 0.0
    _TELLS[state].inc()
    finish(work, record, state, worker=record.worker)


def withdraw_infeasible(work: StudyWork, **why: object) -> None:
    """The verdict that nothing is feasible falls, if it stands: a feasible trial was told, or the method holds it no longer."""
    before = work.progress.infeasible_suspected
    if before is not None:
        work.progress.infeasible_suspected = None
        work.event("study.infeasible_withdrawn", trial=before["trial"], **why)


def _feasible(work: StudyWork, record: TrialRecord, state: TrialState) -> bool | None:
    if state is TrialState.INFEASIBLE:
        return False
    return None if state is TrialState.FAILED else work.spec.is_feasible(record.metrics)


def _value(work: StudyWork, record: TrialRecord, state: TrialState) -> float | None:
    """The number that `best` sorts by, None for a trial that can not be best."""
    if state is not TrialState.COMPLETED or not record.feasible:
        return None
    if work.spec.examples is not None and record.evaluate_on is not None:
        split, ids = work.spec.examples.full()
        if record.evaluate_on["split"] != split or len(record.evaluate_on["ids"]) != len(ids):
            return None
    objective = work.spec.objectives[0]
    value = record.metrics[objective.metric]
    return value if objective.goal == "minimize" else -value


def examples_left(work: StudyWork) -> int | None:
    """How many more examples may be evaluated; None without a limit."""
    most = work.spec.limits.max_example_evaluations
    if most is None or work.spec.examples is None:
        return None
    return max(0, most - work.progress.example_evaluations)


def trials_left(work: StudyWork, *, in_full: bool = False) -> int:
    """How many more trials may be made.

    Args:
        in_full: each on the full set of examples; else on as few as a pooled suggester may ask for, which is one.
    """
    limits, progress = work.spec.limits, work.progress
    left = 10**9 if limits.max_trials is None else max(0, limits.max_trials - progress.trials)
    room = examples_left(work)
    if room is not None:
        left = min(left, room if work.study.pooled and not in_full else room // _full_cost(work))
    return left


def fitting(work: StudyWork, suggestions: Iterable[Suggestion]) -> list[Suggestion]:
    """Those that the limit on examples leaves room for, the earlier ones first."""
    room, fits = examples_left(work), []
    for suggestion in suggestions:
        on = suggestion.evaluate_on
        cost = _full_cost(work) if on is None else len(on["ids"])
        if room is None or cost <= room:
            room = None if room is None else room - cost
            fits.append(suggestion)
    return fits


def _full_cost(work: StudyWork) -> int:
    return 1 if work.spec.examples is None else len(work.spec.examples.full()[1])


def reached_limit(work: StudyWork) -> str | None:
    """The limit that ends the study now, in words."""
    limits, progress = work.spec.limits, work.progress
    if limits.max_failures is not None and progress.failed >= limits.max_failures:
        return f"limits.max_failures of {limits.max_failures} is reached"
    if limits.max_cost is not None and progress.cost >= limits.max_cost:
        return f"limits.max_cost of {limits.max_cost:g} is reached"
    if limits.max_seconds is not None and work.now >= work.study.created_at + timedelta(seconds=limits.max_seconds):
        return f"limits.max_seconds of {limits.max_seconds:g} is reached"
    if progress.open == 0 and trials_left(work) == 0:
        if limits.max_trials is not None and progress.trials >= limits.max_trials:
            return f"limits.max_trials of {limits.max_trials} is reached"
        return f"limits.max_example_evaluations of {limits.max_example_evaluations} is reached"
    if progress.open == 0 and progress.exhausted and not progress.buffered:
        if trials_left(work, in_full=True) == 0:
            return f"limits.max_example_evaluations of {limits.max_example_evaluations} is reached"
        return "every point of the space is told" if work.spec.space.is_finite else NOTHING_MORE
    return None


def settle(work: StudyWork) -> None:
    """After any change: end the study at its limits, and say whether its suggester has something to do."""
    if work.study.state is StudyState.ACTIVE:
        reason = reached_limit(work)
        if reason is not None:
            work.set_state(StudyState.COMPLETED, reason)
    work.progress.wants = wanted(work) > 0 or owes_updates(work)
    if work.progress.wants:
        work.wake_work = True


def wanted(work: StudyWork) -> int:
    """How many suggestions should be computed now: for asks that wait, and ahead for those that will come.

    Ahead means: as many as ran at one time before, less those that run or wait now (and, where a language model is paid for each,
    less those that asks wait for, which will run). The answer is the size of the whole new buffer, 0 while what is buffered serves.
    """
    progress = work.progress
    if work.study.state is not StudyState.ACTIVE or not work.study.pooled or progress.exhausted:
        return 0
    soon = progress.open + (progress.demand if work.spec.llm is not None else 0)
    ahead = max(0, min(progress.peak_running, MOST_AHEAD) - soon)
    target = min(progress.demand + ahead, trials_left(work))
    return target if target > fresh(progress) else 0


def owes_updates(work: StudyWork) -> bool:
    """Whether the last outcomes may have moved a theta that no ask will look at any more."""
    progress = work.progress
    is_unasked = progress.open == 0 or work.study.state is not StudyState.ACTIVE
    return work.spec.seed_vector is not None and is_unasked and progress.knowledge_seq > progress.buffer_seq


def fresh(progress: Progress) -> int:
    """Suggestions in the buffer that have seen everything told so far."""
    return progress.buffered if progress.buffer_seq >= progress.knowledge_seq else 0

"""Telling: outcomes, one or many, and reports on the way."""

from __future__ import annotations

from typing import Any

from .answers import ReportAnswer, TellAnswer, TellResult, problem
from .caller import Caller, Role
from .catalogue import Catalogue
from .domain.errors import AsktellError, Conflict, Invalid
from .domain.stopping import Goal, Verdict, should_stop
from .domain.trial import Measurement, NumberedOutcome, Outcome, Report, TellMany, Trial, TrialState
from .fingerprints import check_fingerprint
from .idempotency import Idempotency, Reply, record, recorded
from .lifecycle import apply_outcome, expire_leases, extend_lease, settle
from .store import trials as trial_store
from .store.measurements import StoredPeers
from .store.records import TrialRecord
from .store.unit_of_work import StudyWork
from .studies import StudyFinder


class Tells:
    """The use cases of telling."""

    def __init__(self, studies: StudyFinder, catalogue: Catalogue) -> None:
        self._studies = studies
        self._catalogue = catalogue

    async def tell(
        self, caller: Caller, study: str, number: int, outcome: Outcome, idem: Idempotency | None = None
    ) -> Reply[Trial]:
        """The outcome of one trial. The same outcome twice changes nothing; a late one counts while none has come.

        Raises:
            NotFound: no such trial.
            Conflict: another outcome stands, or the trial was cancelled.
            Invalid: a metric, or what else the study's suggester learns from, is missing; examples do not match.
        """
        caller.must_be(Role.WORKER)

        def run(work: StudyWork) -> Reply[Trial]:
            replay = recorded(work.connection, caller.project, idem, Trial, work.now)
            if replay is not None:
                return replay
            told = self._tell(work, number, outcome)
            self._after(work)
            answer = told.trial(work.study.name, _measurements(work, told))
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._studies.run(caller, study, run, [number])

    async def tell_many(
        self, caller: Caller, study: str, request: TellMany, idem: Idempotency | None = None
    ) -> Reply[TellAnswer]:
        """Many outcomes, each judged on its own."""
        caller.must_be(Role.WORKER)
        read = [_read(item) for item in request.outcomes]
        numbers = [item.number for item in read if isinstance(item, NumberedOutcome)]

        def run(work: StudyWork) -> Reply[TellAnswer]:
            replay = recorded(work.connection, caller.project, idem, TellAnswer, work.now)
            if replay is not None:
                return replay
            work.preload(numbers)
            results = tuple(self._result(work, item, request.brief) for item in read)
            self._after(work)
            answer = TellAnswer.model_construct(results=results)
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._studies.run(caller, study, run, numbers)

    def _result(self, work: StudyWork, item: NumberedOutcome | _Unreadable, brief: bool) -> TellResult:
        try:
            if not isinstance(item, NumberedOutcome):
                raise item.error
            told = self._tell(work, item.number, item)
            trial = None if brief else told.trial(work.study.name, _measurements(work, told))
            return TellResult.made(number=item.number, status=200, trial=trial, error=None)
        except AsktellError as error:
            found = problem(error)
            return TellResult.made(number=item.number, status=found.status, trial=None, error=found)

    def _tell(self, work: StudyWork, number: int, outcome: Outcome) -> TrialRecord:
        trial = work.trial(number)
        if trial.outcome_digest is not None:
            if trial.outcome_digest == outcome.digest():
                return trial
            raise Conflict(f"trial {number} was told another outcome before; it stands")
        if trial.state is TrialState.CANCELLED:
            raise Conflict(f"trial {number} was cancelled")
        # A trial that failed because its leases ran out has no outcome yet: the late one counts.
        outcome.check(work.spec, trial.evaluation())
        self._catalogue.check_outcome(work.spec, trial.parameters, outcome)
        check_fingerprint(work, trial, outcome)
        apply_outcome(work, trial, outcome)
        return trial

    def _after(self, work: StudyWork) -> None:
        """End the study where nothing is left to try."""
        progress = work.progress
        if not work.study.pooled and progress.open == 0:
            progress.exhausted = self._catalogue.is_used_up(work)
        settle(work)

    async def report(
        self, caller: Caller, study: str, number: int, report: Report, idem: Idempotency | None = None
    ) -> Reply[ReportAnswer]:
        """An intermediate measurement; extends the lease and judges whether to stop early.

        Raises:
            NotFound: no such trial.
            Conflict: the trial is not running, or this step was reported with other values.
            Invalid: the metric that early stopping judges is missing.
        """
        caller.must_be(Role.WORKER)

        def run(work: StudyWork) -> Reply[ReportAnswer]:
            replay = recorded(work.connection, caller.project, idem, ReportAnswer, work.now)
            if replay is not None:
                return replay
            expire_leases(work)
            answer = self._report(work, work.trial(number), report)
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._studies.run(caller, study, run, [number])

    def _report(self, work: StudyWork, trial: TrialRecord, report: Report) -> ReportAnswer:
        rule = work.spec.early_stopping
        metric = rule.metric or work.spec.objectives[0].metric
        if rule.rule != "none" and metric not in report.metrics:
            raise Invalid.at(f"/metrics/{metric}", "is missing: early stopping judges it")
        work.write()
        earlier = {m.step: m for m in _measurements(work, trial)}
        same_step = earlier.get(report.step)
        if same_step is not None and same_step.metrics != report.metrics:
            raise Conflict(f"step {report.step} of trial {trial.number} was reported with other values")
        extend_lease(work, trial)
        if same_step is None:
            measurement = Measurement.model_construct(step=report.step, metrics=report.metrics, created_at=work.now)
            trial_store.add_measurement(work.connection, work.id, trial.number, measurement, report.metrics.get(metric))
            trial.reports += 1
            work.touch(trial, "trial.reported", step=report.step, metrics=report.metrics)
            earlier[report.step] = measurement
        verdict = self._judge(work, trial, metric, earlier)
        if verdict.stop and not trial.should_stop:
            trial.should_stop = True
            work.touch(trial, "trial.should_stop", reason=verdict.reason)
        return ReportAnswer(
            should_stop=trial.should_stop, reason=verdict.reason or None, lease_expires_at=trial.lease_expires_at
        )

    @staticmethod
    def _judge(work: StudyWork, trial: TrialRecord, metric: str, reports: dict[int, Measurement]) -> Verdict:
        own = [(step, m.metrics[metric]) for step, m in sorted(reports.items()) if metric in m.metrics]
        goal: Goal = next((o.goal for o in work.spec.objectives if o.metric == metric), "minimize")
        peers = StoredPeers(work.connection, work.id, trial.number, goal)
        return should_stop(work.spec.early_stopping, goal, own, peers)


class _Unreadable:
    """An item of a batch that is no outcome."""

    def __init__(self, number: int, error: AsktellError) -> None:
        self.number = number
        self.error = error


def _read(item: dict[str, Any]) -> NumberedOutcome | _Unreadable:
    try:
        return NumberedOutcome.read_value(item)
    except AsktellError as error:
        number = item.get("number")
        return _Unreadable(number if isinstance(number, int) and not isinstance(number, bool) else 0, error)
    except (TypeError, ValueError):
        return _Unreadable(0, Invalid("the outcome is not JSON"))


def _measurements(work: StudyWork, trial: TrialRecord) -> list[Measurement]:
    if not trial.reports:
        return []
    work.write()
    return trial_store.measurements(work.connection, work.id, [trial.number])[trial.number]

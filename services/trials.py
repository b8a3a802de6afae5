"""Trials: bring, read, list, annotate, and the best of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from . import pages
from .answers import BestAnswer, Nearest, Receipt, TrialList, TrialPage
from .beliefs import number_in, spread
from .caller import Caller, Role
from .domain.errors import AsktellError, FieldError, Invalid, NotActive, NotFound
from .domain.pareto import non_dominated
from .domain.patching import merge
from .domain.space import Point
from .domain.study import StudySpec
from .domain.trial import Measurement, NewTrial, Outcome, Trial, TrialPatch
from .idempotency import Idempotency, Reply, record, recorded
from .lifecycle import USER, apply_outcome, new_trial, require_active, settle, trials_left
from .neighbours import nearest
from .pages import ListTrials
from .store import studies as study_store
from .store import trials as store
from .store.finished import Place, places_before
from .store.records import StudyRecord, TrialRecord
from .store.unit_of_work import StudyWork
from .studies import StudyFinder, clean, no_study
from .transactions import Transactions

MOST_NEAREST = 5
MOST_COMPARED = 10_000


class Trials:
    """The use cases about single trials and lists of them."""

    def __init__(self, transactions: Transactions, studies: StudyFinder) -> None:
        self._transactions = transactions
        self._studies = studies

    async def create(self, caller: Caller, study: str, new: NewTrial, idem: Idempotency | None = None) -> Reply[Trial]:
        """Enqueue a point to be tried, or import a trial with its outcome.

        Raises:
            Invalid: a parameter is missing, unknown or outside; a metric is missing.
            NotActive: the study hands out no trials, or `max_trials` is reached.
        """
        caller.must_be(Role.WORKER)

        def run(work: StudyWork) -> Reply[Trial]:
            replay = recorded(work.connection, caller.project, idem, Trial, work.now)
            if replay is not None:
                return replay
            answer = self._create(work, [(new, "")])[0]
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._studies.run(caller, study, run)

    async def create_many(
        self, caller: Caller, study: str, new: Sequence[NewTrial], idem: Idempotency | None = None
    ) -> Reply[TrialList]:
        """Many at once: all of them or none.

        Raises:
            Invalid: naming every place in every trial that is wrong.
            NotActive: there is no room for all of them.
        """
        caller.must_be(Role.WORKER)

        def run(work: StudyWork) -> Reply[TrialList]:
            replay = recorded(work.connection, caller.project, idem, TrialList, work.now)
            if replay is not None:
                return replay
            made = self._create(work, [(item, f"/trials/{i}") for i, item in enumerate(new)])
            answer = TrialList.model_construct(trials=tuple(made))
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._studies.run(caller, study, run)

    @staticmethod
    def _create(work: StudyWork, items: Sequence[tuple[NewTrial, str]]) -> list[Trial]:
        if any(item.state in (None, "waiting") and item.metrics is None for item, _ in items):
            require_active(work)
        checked = _check_all(work.spec, items)
        left = trials_left(work, in_full=True)
        if len(checked) > left:
            raise NotActive(f"the limits leave room for {left} more trials, not {len(checked)}")
        made = []
        for (item, _), (point, outcome) in zip(items, checked, strict=True):
            trial = new_trial(
                work,
                point,
                suggester=USER,
                reason="enqueued" if outcome is None else "imported",
                labels=dict(item.labels),
                meta=dict(item.metadata),
            )
            if outcome is not None and outcome.examples is None:
                trial.evaluate_on = None
            work.add(trial)
            if outcome is not None:
                apply_outcome(work, trial, outcome)
            made.append(trial)
        work.learned()
        settle(work)
        return [trial.trial(work.study.name) for trial in made]

    async def get(self, caller: Caller, study: str, number: int) -> Trial:
        """One trial.

        Raises:
            NotFound: no such study or trial.
        """
        name, found = await self._one(caller, study, number)
        return found[1].trial(name, found[2])

    async def _one(
        self, caller: Caller, ref: str, number: int
    ) -> tuple[str, tuple[StudyRecord, TrialRecord, list[Measurement]]]:
        caller.must_be(Role.READER)

        def run(connection: Connection) -> tuple[str, tuple[StudyRecord, TrialRecord, list[Measurement]]]:
            study = self._study(connection, caller, ref)
            found = store.get_many(connection, study.id, [number]).get(number) if 0 < number < 2**53 else None
            if found is None:
                raise NotFound(f"study {study.name!r} has no trial {number}")
            reports = store.measurements(connection, study.id, [number])[number] if found.reports else []
            return study.name, (study, found, reports)

        return await self._transactions.read(run)

    async def _receipt_of(
        self, caller: Caller, ref: str, number: int
    ) -> tuple[str, tuple[StudySpec, TrialRecord, list[Place]]]:
        """A trial and the completed ones before it, among which its neighbours are."""
        name, (study, trial, _) = await self._one(caller, ref, number)
        places = await self._transactions.read(lambda c: places_before(c, study.id, number, MOST_COMPARED))
        return name, (study.spec, trial, places)

    def _study(self, connection: Connection, caller: Caller, ref: str) -> StudyRecord:
        found = study_store.get(connection, caller.project, clean(ref), self._transactions.specs)
        if found is None:
            raise no_study(ref)
        return found[0]

    async def list(self, caller: Caller, study: str, query: ListTrials) -> TrialPage:
        """One page of a study's trials.

        Raises:
            NotFound: no such study.
            Invalid: a token that cannot be read.
        """
        caller.must_be(Role.READER)
        order = query.order_by.replace("created_at", "number")  # numbers are given in the order of creation
        place = pages.decode(query.page_token, order, int)
        wanted = store.Slice(query.page_size + 1, query.state, query.worker, order, place[0] if place else None)

        def run(connection: Connection) -> TrialPage:
            record_ = self._study(connection, caller, study)
            found = store.page(connection, record_.id, wanted)
            shown = found[: query.page_size]
            token = pages.encode(order, shown[-1].number) if len(found) > query.page_size else ""
            return TrialPage.model_construct(trials=tuple(answers(connection, record_, shown)), next_page_token=token)

        return await self._transactions.read(run)

    async def patch(
        self, caller: Caller, study: str, number: int, patch: TrialPatch, idem: Idempotency | None = None
    ) -> Reply[Trial]:
        """Merge labels and metadata, also after the end; null removes an entry.

        Raises:
            NotFound: no such trial.
        """
        caller.must_be(Role.WORKER)

        def run(work: StudyWork) -> Reply[Trial]:
            replay = recorded(work.connection, caller.project, idem, Trial, work.now)
            if replay is not None:
                return replay
            trial = work.trial(number)
            trial.labels = merge(trial.labels, patch.labels or {})
            trial.meta = merge(trial.meta, patch.metadata or {})
            work.touch(trial, "trial.updated")
            work.write()
            answer = next(iter(answers(work.connection, work.study, [trial])))
            record(work.connection, caller.project, idem, answer, work.now)
            return Reply(answer)

        return await self._studies.run(caller, study, run, [number])

    async def best(self, caller: Caller, study: str) -> BestAnswer:
        """The best feasible trial, or the Pareto set; the least violating one while nothing is feasible.

        Raises:
            NotFound: no such study.
        """
        caller.must_be(Role.READER)

        def run(connection: Connection) -> BestAnswer:
            found = self._study(connection, caller, study)
            numbers, feasible = _best_numbers(connection, found)
            records = store.get_many(connection, found.id, numbers)
            shown = tuple(answers(connection, found, [records[n] for n in numbers]))
            return BestAnswer.model_construct(trials=shown, feasible=feasible)

        return await self._transactions.read(run)

    async def receipt(self, caller: Caller, study: str, number: int) -> Receipt:
        """What was believed when the point was proposed; after the tell, the residuals as well.

        Raises:
            NotFound: no such trial.
        """
        name, (spec, trial, near) = await self._receipt_of(caller, study, number)
        believed = trial.receipt or {}
        means = {metric: number_in(believed, "mean", metric) for metric in trial.metrics}
        residual = {m: value - mean for m, value in trial.metrics.items() if (mean := means[m]) is not None}
        return Receipt(
            study=name,
            number=number,
            suggester=trial.suggester,
            reason=trial.reason,
            seen_seq=trial.seen_seq,
            believed=believed,
            residual=residual,
            z={m: r / s for m, r in residual.items() if (s := spread(believed, m, trial.std)) > 0},
            nearest=tuple(
                Nearest(number=other.number, distance=distance, metrics=other.metrics)
                for other, distance in nearest(spec, trial.parameters, near, MOST_NEAREST)
            ),
        )


def answers(connection: Connection, study: StudyRecord, records: Sequence[TrialRecord]) -> Sequence[Trial]:
    """Trials as answered, with their reports."""
    reported = [r.number for r in records if r.reports]
    reports = store.measurements(connection, study.id, reported) if reported else {}
    return [r.trial(study.name, reports.get(r.number, [])) for r in records]


def _check_all(spec: StudySpec, items: Sequence[tuple[NewTrial, str]]) -> list[tuple[Point, Outcome | None]]:
    """Every point and outcome, or one error that names all that is wrong."""
    checked: list[tuple[Point, Outcome | None]] = []
    problems: list[FieldError] = []
    for item, pointer in items:
        try:
            point = spec.space.point(item.parameters)
            outcome = item.outcome()
            if outcome is not None:
                outcome.check(spec)
            checked.append((point, outcome))
        except AsktellError as error:
            problems += [FieldError(pointer + e.pointer, e.message) for e in error.errors]
    if problems:
        raise Invalid(f"{problems[0].pointer}: {problems[0].message}", errors=problems[:50])
    return checked


def _best_numbers(connection: Connection, study: StudyRecord) -> tuple[list[int], bool]:
    spec = study.spec
    if len(spec.objectives) == 1:
        best = store.best(connection, study.id)
        found = [best.number] if best else []
    else:
        eligible = store.eligible(connection, study.id)
        front = non_dominated([_values(spec, metrics) for _, metrics in eligible])
        found = [eligible[i][0] for i in front]
    if found or not spec.constraints:
        return found, bool(found)
    broken = store.infeasible_completed(connection, study.id)
    if not broken:
        return [], False
    return [min(broken, key=lambda item: (_violation(spec, item[1]), item[0]))[0]], False


def _values(spec: StudySpec, metrics: dict[str, float]) -> tuple[float, ...]:
    return tuple(metrics[o.metric] if o.goal == "minimize" else -metrics[o.metric] for o in spec.objectives)


def _violation(spec: StudySpec, metrics: dict[str, float]) -> float:
    total = 0.0
    for constraint in spec.constraints:
        value = metrics.get(constraint.metric)
        if value is None:
            continue
        if constraint.max is not None:
            total += max(0.0, value - constraint.max) / max(1.0, abs(constraint.max))
        if constraint.min is not None:
            total += max(0.0, constraint.min - value) / max(1.0, abs(constraint.min))
    return total

"""nevergrad's optimizers by name, from NGOpt, which chooses among them, to Powell.

Rapin, Teytaud 2018, nevergrad; Meunier et al. 2021, "Black-Box Optimization Revisited". The state of an optimizer is the order of its
asks and tells, which the trials tell: what each suggestion had seen stands on its origin, so that it is rebuilt by repeating them. No
pickle.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion
from services.domain.trial import TrialState
from workers.models.nevergrad_adapter import Parametrization, Portfolio, ToldValues, in_daemon
from workers.models.nevergrad_catalogue import NEEDS_TWO, SEQUENTIAL, SERVED, description, refusal

MOST_TRIALS = 20_000
MOST_ASKS = 6
LIBRARIES = ("nevergrad", "cma", "numpy", "scipy", "scikit-learn")


class NevergradOptions(Document):
    """What nevergrad can be told."""

    optimizer: str = Field(
        default="NGOpt", max_length=100, description=description(), json_schema_extra={"enum": list(SERVED)}
    )
    budget: int | None = Field(
        default=None, ge=1, le=10**6, description="Trials that it plans for; max_trials, else max(200, 50 n) if absent."
    )
    workers: int | None = Field(
        default=None, ge=1, le=10_000, description="Trials that it expects at one time; max_running, else 1 if absent."
    )


class Nevergrad:
    """Repeats the asks and tells that the trials record, then asks on."""

    def __init__(self, problem: Problem, options: NevergradOptions) -> None:
        self._problem, self._options = problem, options
        self._parametrization = Parametrization(Codec(problem.space))
        limits = problem.spec.limits
        usual = max(200, 50 * self._parametrization.size)
        self._budget = options.budget or limits.max_trials or usual
        self._workers = 1 if options.optimizer in SEQUENTIAL else options.workers or limits.max_running or 1
        self._portfolio: Portfolio | None = None
        self._run = f"{options.optimizer} budget={self._budget} workers={self._workers} {_versions()}"
        self._forget()

    def _forget(self) -> None:
        if self._portfolio is not None:
            self._portfolio.end()
        self._portfolio = None
        self._values = ToldValues()
        self._asked: dict[int, Any] = {}  # candidates of trials that run
        self._known: dict[str, float] = {}
        self._told: set[int] = set()
        self._seq, self._next_number, self._strays = 0, 1, 0
        self._expected: dict[int, Suggestion] = {}

    def _optimizer(self) -> Portfolio:
        if self._portfolio is None:
            self._portfolio = Portfolio(
                self._parametrization,
                self._options.optimizer,
                seed=self._problem.seed,
                budget=self._budget,
                workers=self._workers,
                noisy=self._problem.spec.is_noisy,
            )
        return self._portfolio

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        return in_daemon(lambda: self._suggest(history, count))

    def state(self) -> Blob | None:
        """None: the asks and tells stand on the trials."""
        return None

    def _suggest(self, history: History, count: int) -> list[Suggestion]:
        try:
            self._catch_up(history)
            given: set[str] = set()
            found: list[Suggestion] = []
            for number in range(history.next_number, history.next_number + count):
                suggestion = self._next(history, number, given)
                if suggestion is None:
                    break
                given.add(point_key(suggestion.parameters))
                found.append(suggestion)
                self._expected[number] = suggestion
            self._next_number = history.next_number + len(found)
        except BaseException:
            self._forget()  # half an event is no state to go on from
            raise
        return found

    # -- the log

    def _catch_up(self, history: History) -> None:
        """Apply what the trials say happened since, from the beginning where what was proposed here did not come to be."""
        if any(not _is(history.get(n), s) for n, s in self._expected.items()) or any(
            t.number in self._told for t in history.finished_after(self._seq)
        ):
            self._forget()
        first, self._expected = self._next_number, {}
        if not self._parametrization.size:
            return
        for number in range(first, history.next_number):
            trial = history.get(number)
            if trial is not None and self._is_own(trial):
                self._tell_until(history, int(trial.origin["seen"]))
                self._repeat(trial)
        self._tell_until(history, history.seq)

    def _is_own(self, trial: Observation) -> bool:
        return trial.origin.get("run") == self._run

    def _tell_until(self, history: History, seq: int) -> None:
        if seq <= self._seq:
            return
        for trial in history.finished_after(self._seq):
            if trial.told_seq > seq:
                break
            self._tell(history, trial)
        self._seq = seq

    def _repeat(self, trial: Observation) -> None:
        """Ask as it was asked for this trial."""
        asks = int(trial.origin["asks"])
        for i in range(asks):
            candidate = self._optimizer().ask()
            point = self._parametrization.point(candidate.value)
            if i < asks - 1 or trial.origin.get("outside"):
                self._reject(candidate, point)
            elif point == trial.parameters:
                self._asked[trial.number] = candidate
            else:
                self._strays += 1  # another machine's arithmetic: the trial is told as a point of the user's

    def _tell(self, history: History, trial: Observation) -> None:
        self._told.add(trial.number)
        candidate = self._asked.pop(trial.number, None)
        value = self._value(history, trial)
        if value is None:
            if candidate is not None and self._optimizer().is_sequential:
                self._optimizer().tell(candidate, self._values.beyond())  # its solver waits for some answer
            return
        self._known[point_key(trial.parameters)] = value
        if candidate is not None:
            self._optimizer().tell(candidate, value)
        else:
            self._optimizer().tell_point(trial.parameters, value)

    def _value(self, history: History, trial: Observation) -> float | None:
        """The loss to tell; None for a trial that says nothing."""
        if trial.state in (TrialState.FAILED, TrialState.CANCELLED):
            return None
        objective = history.spec.objectives[0]
        if trial.state is TrialState.INFEASIBLE or objective.metric not in trial.metrics:
            return self._values.beyond(3.0)
        value = trial.metrics[objective.metric] * (1 if objective.goal == "minimize" else -1)
        if trial.state is TrialState.PRUNED:
            return max(value, self._values.behind)
        violation = sum(min(max(0.0, v), 1e300) for v in history.violations(trial))
        if violation > 0:
            return self._values.beyond(1.0 + violation / (1.0 + violation))
        self._values.note(value)
        return value

    # -- asking

    def _next(self, history: History, number: int, given: set[str]) -> Suggestion | None:
        if not self._parametrization.size:
            return self._outside(history, number, given, 0, "the only point")
        optimizer = self._optimizer()
        if self._asked and optimizer.is_sequential:
            waits = f"{self._name()} waits for trial {min(self._asked)}: a random point meanwhile"
            return self._outside(history, number, given, 0, waits)
        must_differ = self._problem.space.is_finite and not self._problem.spec.is_noisy
        for asks in range(1, MOST_ASKS + 1):
            candidate = optimizer.ask()
            point = self._parametrization.point(candidate.value)
            key = point_key(point)
            is_known = must_differ and (key in given or history.has_point(key))
            if not is_known and not self._problem.space.broken(point):
                self._asked[number] = candidate
                return Suggestion(parameters=point, reason=self._reason(), origin=self._origin(history, asks))
            self._reject(candidate, point)
        reason = f"{self._name()} proposed {MOST_ASKS} points that are known or not allowed: another one"
        return self._outside(history, number, given, MOST_ASKS, reason)

    def _reject(self, candidate: Any, point: Point) -> None:
        """No trial is made of it: what is known of it, or worse than all."""
        self._optimizer().tell(candidate, self._known.get(point_key(point), self._values.beyond(4.0)))

    def _outside(self, history: History, number: int, given: set[str], asks: int, reason: str) -> Suggestion | None:
        space = self._problem.space
        rng = self._problem.generator(number, "nevergrad outside")
        must_differ = space.is_finite and not self._problem.spec.is_noisy
        point = (
            unused(space, lambda key: key in given or history.has_point(key), rng) if must_differ else draw(space, rng)
        )
        if point is None:
            return None
        return Suggestion(parameters=point, reason=reason, origin={**self._origin(history, asks), "outside": True})

    def _origin(self, history: History, asks: int) -> Mapping[str, Any]:
        return {"run": self._run, "seen": history.seq, "asks": asks}

    def _name(self) -> str:
        chosen = self._optimizer().chosen() if self._parametrization.size else ""
        return self._options.optimizer + (f" ({chosen})" if chosen else "")

    def _reason(self) -> str:
        parts = [f"nevergrad {self._name()}"]
        if self._optimizer().workers != self._workers:
            parts.append("told 2 workers, since for 1 it would choose CmaFmin2, which cannot be resumed")
        if self._strays:
            parts.append(f"{self._strays} trials were proposed by other arithmetic")
        return "; ".join(parts)


@cache
def _versions() -> str:
    return " ".join(f"{name}={version(name)}" for name in LIBRARIES)


def _is(trial: Observation | None, suggestion: Suggestion) -> bool:
    return (
        trial is not None
        and trial.parameters == suggestion.parameters
        and dict(trial.origin) == dict(suggestion.origin)
    )


def _refuse(spec: StudySpec, options: NevergradOptions) -> list[FieldError]:
    pointer = "/suggester/options/optimizer"
    if (why := refusal(options.optimizer)) is not None:
        return [FieldError(pointer, why)]
    size = Parametrization(Codec(spec.space)).size
    if options.optimizer in NEEDS_TWO and size < 2:
        return [FieldError(pointer, f"nevergrad's {options.optimizer} needs at least two free coordinates")]
    most = spec.limits.max_trials or 0
    if most > MOST_TRIALS:
        message = f"nevergrad is rebuilt by repeating its trials and serves up to {MOST_TRIALS} of them, not {most}"
        return [FieldError("/limits/max_trials", message)]
    return []


def _create(problem: Problem, options: NevergradOptions, _: Blob | None) -> Suggester:
    # Its solvers run in threads of their own, which a block around our calls would not reach.
    warnings.filterwarnings("ignore", module="scipy")
    return Nevergrad(problem, options)


SPEC = Spec(
    name="nevergrad",
    summary="nevergrad's optimizers by name: NGOpt, which chooses by problem, evolution, swarms, discrete and noisy methods.",
    reference="Rapin, Teytaud 2018, Nevergrad; Meunier et al. 2021, Black-Box Optimization Revisited",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=NevergradOptions,
    create=_create,
    resources=Resources(timeout_seconds=600.0),
    refuse=_refuse,
)

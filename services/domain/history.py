"""What a suggester may know: the trials of a study up to a `seq`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .llm import LlmReply, Replies
from .space import Point, point_key
from .study import StudySpec
from .trial import TrialState


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A trial as suggesters see it.

    Attributes:
        number: of the trial.
        told_seq: the change of the study that brought its outcome; of its latest change while pending.
        state: waiting and running ones are pending.
        parameters: canonical point.
        metrics: told values by metric, in the client's own direction; empty while pending.
        std: told standard errors by metric.
        feasible: whether the constraints hold, None if unknown.
        origin: what the suggester attached when it proposed the point; empty for the user's own points.
        suggester: who proposed it; `user` for enqueued and imported ones.
        feedback: words told with the outcome.
        examples: per-example results (id, score, output, expected, feedback), None if not told.
        evaluate_on: what it was to be scored on: `{"split", "ids"}`, None without examples.
        residual: told beside the metrics for methods that take a vector, None if not told.
    """

    number: int
    told_seq: int
    state: TrialState
    parameters: Point
    metrics: Mapping[str, float] = field(default_factory=dict)
    std: Mapping[str, float] = field(default_factory=dict)
    feasible: bool | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    suggester: str = ""
    feedback: str | None = None
    examples: tuple[Mapping[str, Any], ...] | None = None
    evaluate_on: Mapping[str, Any] | None = None
    residual: tuple[float, ...] | None = None

    @property
    def is_pending(self) -> bool:
        """Whether its outcome is still to come."""
        return not self.state.is_terminal


class Observations(Sequence[Observation]):
    """Observations as columns of a table, made when they are looked at: those who only pass them on have less to do.

    Args:
        columns: a sequence for each of `FIELDS`.
        forms: for columns, by place, that are kept in another form: what makes their values of it.
    """

    FIELDS = (
        "number", "seq", "told_seq", "state", "parameters", "metrics", "std", "feasible", "origin", "suggester", "feedback",
        "examples", "evaluate_on", "residual",
    )  # fmt: skip

    def __init__(
        self, columns: Sequence[Sequence[Any]], forms: Sequence[tuple[int, Callable[[Any], Any]]] = ()
    ) -> None:
        self._columns = columns
        self._forms = forms

    def __len__(self) -> int:
        return len(self._columns[0])

    def __iter__(self) -> Iterator[Observation]:
        columns = list(self._columns)
        for place, form in self._forms:
            columns[place] = [None if value is None else form(value) for value in columns[place]]
        return map(_observed, *columns)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]


def _observed(
    number: int,
    seq: int,
    told_seq: int | None,
    state: str,
    parameters: Point,
    metrics: dict[str, float],
    std: dict[str, float] | None,
    feasible: bool | None,
    origin: dict[str, Any],
    suggester: str,
    feedback: str | None,
    examples: list[Any] | None,
    evaluate_on: dict[str, Any] | None,
    residual: list[float] | None,
) -> Observation:
    return Observation(
        number=number,
        told_seq=told_seq or seq,
        state=_STATES[state],
        parameters=parameters,
        metrics=metrics,
        std=std or {},
        feasible=feasible,
        origin=origin,
        suggester=suggester,
        feedback=feedback,
        examples=None if examples is None else tuple(examples),
        evaluate_on=evaluate_on,
        residual=None if residual is None else tuple(residual),
    )


_STATES = {state.value: state for state in TrialState}


class History:
    """The trials of one study, in the order of their numbers, growing with each change.

    Attributes:
        seq: everything up to this change of the study is known.
        next_number: the number that the next trial will get.
        replies: of the language model, as far as they are recorded.
        published: how many updates of a seed-encoded vector are in its log.
    """

    def __init__(self, spec: StudySpec) -> None:
        self.spec = spec
        self.seq = 0
        self.next_number = 1
        self.replies = Replies()
        self.published = 0
        self._trials: dict[int, Observation] = {}
        self._finished: list[Observation] = []
        self._completed = 0
        self._is_sorted = True
        self._generations: dict[int, dict[int, Observation]] = {}
        self._keys: set[str] = set()
        self._unkeyed: list[Observation] = []

    def update(
        self,
        changed: Iterable[Observation],
        *,
        seq: int,
        next_number: int,
        replies: Iterable[LlmReply] = (),
        published: int = 0,
    ) -> None:
        """Take in the trials that changed since the last update (a trial replaces its earlier self), and new replies."""
        self.replies.add(replies)
        newest = next(reversed(self._trials), 0)
        in_order = True
        for trial in changed:
            before = self._trials.get(trial.number)
            if before is trial:
                continue
            if before is None:
                self._unkeyed.append(trial)
                in_order, newest = in_order and trial.number > newest, trial.number
            self._trials[trial.number] = trial
            self._index(trial, before)
        self.seq = seq
        self.next_number = next_number
        self.published = max(self.published, published)
        if not in_order:
            self._trials = {number: self._trials[number] for number in sorted(self._trials)}
        if not self._is_sorted:
            self._finished.sort(key=_told)
            self._is_sorted = True

    def _index(self, trial: Observation, before: Observation | None) -> None:
        generation = trial.origin.get("generation")
        if isinstance(generation, int):
            self._generations.setdefault(generation, {})[trial.number] = trial
        if before is not None and not before.is_pending:
            self._finished = [t for t in self._finished if t is not before]
        self._completed += trial.state is TrialState.COMPLETED
        self._completed -= before is not None and before.state is TrialState.COMPLETED
        if not trial.is_pending:
            self._is_sorted = self._is_sorted and (not self._finished or self._finished[-1].told_seq <= trial.told_seq)
            self._finished.append(trial)

    def __len__(self) -> int:
        return len(self._trials)

    @property
    def trials(self) -> list[Observation]:
        """Every trial, by number."""
        return list(self._trials.values())

    def has_point(self, key: str) -> bool:
        """Whether any trial has the point with this `point_key`."""
        while self._unkeyed:
            trial = self._unkeyed.pop()
            self._keys.add(point_key(trial.parameters))
        return key in self._keys

    def get(self, number: int) -> Observation | None:
        """One trial by number."""
        return self._trials.get(number)

    @property
    def pending(self) -> list[Observation]:
        """Waiting and running trials, by number."""
        return [t for t in self._trials.values() if t.is_pending]

    @property
    def finished(self) -> list[Observation]:
        """Trials with an outcome of any kind, in the order in which the outcomes came (by `told_seq`)."""
        return list(self._finished)

    def finished_after(self, seq: int) -> list[Observation]:
        """Those of `finished` whose outcome came after a change of the study."""
        return self._finished[bisect_right(self._finished, seq, key=_told) :]

    def generation(self, number: int) -> list[Observation]:
        """Trials that a generational method made for its generation `number` (`origin["generation"]`), by number."""
        members = self._generations.get(number, {})
        return [members[n] for n in sorted(members)]

    @property
    def completed(self) -> list[Observation]:
        """Trials with all their values, by number."""
        return [t for t in self._trials.values() if t.state is TrialState.COMPLETED]

    @property
    def completed_count(self) -> int:
        """How many `completed` are, without going over all trials."""
        return self._completed

    def values(self, trial: Observation) -> tuple[float, ...]:
        """A completed trial's objective values, each to be minimised (a metric to maximise is negated)."""
        return tuple(
            trial.metrics[o.metric] if o.goal == "minimize" else -trial.metrics[o.metric] for o in self.spec.objectives
        )

    def violations(self, trial: Observation) -> tuple[float, ...]:
        """A completed trial's constraint values, one for each bound of the study, feasible where <= 0."""
        found: list[float] = []
        for constraint in self.spec.constraints:
            value = trial.metrics[constraint.metric]
            if constraint.max is not None:
                found.append(value - constraint.max)
            if constraint.min is not None:
                found.append(constraint.min - value)
        return tuple(found)


def _told(trial: Observation) -> int:
    return trial.told_seq

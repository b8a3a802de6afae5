"""Which candidates were scored on which examples, what is out, and what the budget still allows: the desk of methods that race."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.suggester import Suggestion
from services.domain.trial import TrialState

from .drafts import NothingUsable
from .example_results import ExampleResults, Row, room, sign
from .merit import is_full
from .texts import candidate_key, text_parameters

LOST = (TrialState.FAILED, TrialState.CANCELLED)
MOST_FAILURES = 2


class Entrant(Protocol):
    """A candidate as the board sees it."""

    @property
    def key(self) -> tuple[tuple[str, str], ...]:
        """Equal for candidates that count as the same (`candidate_key`)."""
        ...

    @property
    def texts(self) -> dict[str, str]:
        """By text parameter."""
        ...

    @property
    def how(self) -> str:
        """It came to be, for people."""
        ...

    def origin(self) -> Mapping[str, Any]:
        """What its trials carry."""
        ...

    def receipt(self) -> Mapping[str, Any]:
        """What their receipts say."""
        ...


class Board:
    """Reads a history once and keeps count of what is handed out since.

    Of results that were told twice the first counts, and none of a candidate that was lost before: so what a course was decided by
    does not change with what comes late. `Standing` says where it does.

    Args:
        method: in the origins of trials.
        split: whose ids are evaluated in parts.
    """

    def __init__(self, history: History, method: str, split: str) -> None:
        self._history, self._method, self._split = history, method, split
        self._results, self._sign = ExampleResults(history), sign(history.spec)
        self._failures: Counter[object] = Counter()
        self._full: set[object] = set()
        self._out: set[tuple[object, str]] = set()
        self.left = room(history)
        most = history.spec.limits.max_trials
        self._trials_left = math.inf if most is None else most - len(history.trials)
        names = [p.name for p in text_parameters(history.spec.space)]
        for trial in sorted(history.trials, key=lambda t: t.told_seq):
            key = candidate_key({name: trial.parameters[name] for name in names if name in trial.parameters})
            if self._failures[key] >= MOST_FAILURES:
                continue
            self._results.add(trial, key)
            if trial.state in LOST:
                self._failures[key] += 1
            elif trial.state is TrialState.INFEASIBLE or trial.feasible is False:
                self._failures[key] += MOST_FAILURES
            elif is_full(trial, history.spec):
                self._full.add(key)

    # -- what is known

    def is_lost(self, one: Entrant) -> bool:
        """Whether it can be evaluated no more, or breaks a constraint; what was told of it before stands."""
        return self._failures[one.key] >= MOST_FAILURES

    def missing(self, one: Entrant, ids: Sequence[str]) -> list[str]:
        """The ids of which nothing was told."""
        return self._results.missing(one.key, self._split, ids, self._history.seq)

    def is_out(self, one: Entrant, ids: Sequence[str]) -> bool:
        """Whether a trial covers one of the ids already."""
        is_pending = self._results.is_pending(one.key, self._split, ids)
        return is_pending or any((one.key, i) in self._out for i in ids)

    def row(self, one: Entrant, example: str) -> Row | None:
        """What was told of an example."""
        return self._results.row(one.key, self._split, example, self._history.seq)

    def score(self, one: Entrant, example: str) -> float:
        """Of an example, higher is better; minus infinity before it is told."""
        row = self.row(one, example)
        return -np.inf if row is None else self._sign * float(row["score"])

    def scores(self, entrants: Sequence[Entrant], ids: Sequence[str]) -> NDArray[np.float64]:
        """(c, n) scores of c candidates on n examples."""
        rows = [[self.score(one, i) for i in ids] for one in entrants]
        return np.array(rows).reshape(len(entrants), len(ids))

    def lacks_full(self, one: Entrant) -> bool:
        """Whether it has no full evaluation, told or out."""
        return one.key not in self._full and not self.is_lost(one)

    @property
    def full_size(self) -> int:
        """Examples of a full evaluation."""
        examples = self._history.spec.examples
        return len(examples.full()[1]) if examples is not None else 1

    # -- handing out

    def full(self, one: Entrant) -> list[Suggestion]:
        """A full evaluation; none where it is made already or does not fit the budget any more."""
        if not self.lacks_full(one) or self.left < self.full_size:
            return []
        self._full.add(one.key)
        self.left -= self.full_size
        return [self._suggestion(one, f"{one.how}, on all examples", {"full": True})]

    def on(self, one: Entrant, ids: Sequence[str], where: str, origin: Mapping[str, Any]) -> list[Suggestion]:
        """An evaluation on examples; none where it does not fit the budget any more."""
        if self.left < len(ids):
            return []
        self._out |= {(one.key, i) for i in ids}
        self.left -= len(ids)
        wanted = {"split": self._split, "ids": list(ids)}
        return [self._suggestion(one, f"{one.how}, {where}", origin, wanted)]

    def before(self, leader: Entrant, size: int) -> list[Suggestion]:
        """The leader's full evaluation, if no room is left for it once `size` more examples are evaluated in a trial."""
        return self.full(leader) if self.left - size < self.full_size or self._trials_left <= 1 else []

    def _suggestion(
        self, one: Entrant, reason: str, more: Mapping[str, Any], evaluate_on: Mapping[str, Any] | None = None
    ) -> Suggestion:
        self._trials_left -= 1
        return Suggestion(
            parameters=self._history.spec.space.sorted(one.texts), reason=reason,
            origin={"method": self._method, **one.origin(), **more}, evaluate_on=evaluate_on, receipt=dict(one.receipt()),
        )  # fmt: skip


class Standing:
    """Whether the outcomes that conclusions were drawn from still stand: one that failed with its lease may be told after all."""

    def __init__(self) -> None:
        self._until = 0
        self._mark: int | None = None

    def note(self, history: History) -> None:
        """Conclusions are drawn from all of this."""
        self._until = history.seq
        self._mark = self._of(history)

    def holds(self, history: History) -> bool:
        """Whether nothing of what was noted was told anew."""
        return self._mark is None or self._of(history) == self._mark

    def _of(self, history: History) -> int:
        told = (t for t in history.trials if not t.is_pending and t.told_seq <= self._until)
        return hash(frozenset((t.number, t.told_seq) for t in told))


def handed_out(tasks: Iterable[Suggestion], count: int) -> list[Suggestion]:
    """Up to `count` of a course's evaluations.

    Raises:
        NothingUsable: the course came to a place where nothing could be written, before there was anything to hand out.
    """
    given: list[Suggestion] = []
    try:
        given.extend(islice(tasks, count))
    except NothingUsable:
        if not given:
            raise
    return given

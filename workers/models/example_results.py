"""What is known of candidates example by example, for methods that score them on parts of the example sets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.trial import TrialState

from .merit import is_full

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """One example's result of one trial."""

    seq: int
    full: bool
    row: Row


class ExampleResults:
    """Every row that was told, by candidate, split and example id.

    The same id in two splits means two examples. Scores follow the first objective's goal, like its metric; here higher is
    always better.
    """

    def __init__(self, history: History) -> None:
        self._spec = history.spec
        self._sign = sign(history.spec)
        self._rows: dict[tuple[Any, str, str], list[Told]] = {}
        self._pending: set[tuple[Any, str, str]] = set()

    def add(self, trial: Observation, key: Any) -> None:
        """Take in a trial of the candidate `key`; those told first must come first."""
        on = trial.evaluate_on
        if on is None:
            return
        if trial.is_pending:
            self.expect(key, on["split"], on["ids"])
            return
        full = is_full(trial, self._spec)
        for row in trial.examples or ():
            told = Told(trial.told_seq, full, row)
            self._rows.setdefault((key, on["split"], row["id"]), []).append(told)

    def expect(self, key: Any, split: str, ids: Iterable[str]) -> None:
        """Note examples whose results are on their way."""
        self._pending.update((key, split, example) for example in ids)

    def score(self, key: Any, split: str, example: str, until: int, *, full: bool = False) -> float | None:
        """The mean of what was told up to the `seq` `until` (with `full` by full evaluations only), None if nothing was."""
        found = [t.row["score"] for t in self._told(key, split, example, until) if t.full or not full]
        return self._sign * math.fsum(found) / len(found) if found else None

    def row(self, key: Any, split: str, example: str, until: int) -> Row | None:
        """The row that was told first."""
        return next((t.row for t in self._told(key, split, example, until)), None)

    def missing(self, key: Any, split: str, ids: Iterable[str], until: int) -> list[str]:
        """The ids, each once and in order, of which nothing was told."""
        return [i for i in dict.fromkeys(ids) if not self._told(key, split, i, until)]

    def is_pending(self, key: Any, split: str, ids: Iterable[str]) -> bool:
        """Whether a trial that is out covers one of the ids."""
        return any((key, split, example) in self._pending for example in ids)

    def total(self, key: Any, split: str, ids: Sequence[str], until: int) -> float | None:
        """The sum over ids (one that stands twice counts twice), None if one is missing."""
        scores = [self.score(key, split, example, until) for example in ids]
        return None if None in scores else math.fsum(s for s in scores if s is not None)

    def _told(self, key: Any, split: str, example: str, until: int) -> list[Told]:
        return [t for t in self._rows.get((key, split, example), ()) if t.seq <= until]


def sign(spec: StudySpec) -> float:
    """What turns a told score into one that is better the higher it is."""
    return -1.0 if spec.objectives[0].goal == "minimize" else 1.0


def is_valid(trial: Observation) -> bool:
    """Whether it was evaluated and keeps the constraints."""
    return trial.state in (TrialState.COMPLETED, TrialState.PRUNED) and trial.feasible is not False


def own_scores(trial: Observation, spec: StudySpec) -> dict[str, float]:
    """A trial's own scores by example id, higher is better."""
    return {row["id"]: sign(spec) * row["score"] for row in trial.examples or ()}


def room(history: History) -> float:
    """Example evaluations that the study's limit leaves, counted as the service counts them: from when a trial is made."""
    most = history.spec.limits.max_example_evaluations
    if most is None:
        return math.inf
    return most - sum(len(t.evaluate_on["ids"]) for t in history.trials if t.evaluate_on is not None)

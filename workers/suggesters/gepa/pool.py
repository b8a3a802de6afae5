"""The candidates that were scored on the full set, as known at some point of the study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from services.domain.history import History, Observation
from workers.models.example_results import ExampleResults, is_valid
from workers.models.merit import is_full
from workers.models.texts import candidate_key

from .front import Scores

Texts = dict[str, str]
Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Candidate:
    """A candidate of the pool.

    Attributes:
        number: of its first full evaluation.
        scores: (v,) on the ids of the full set, higher is better; means where it was evaluated again.
        parents: numbers of the candidates that it was made from.
        changed: the component in which it differs from its parent; empty for a start, a merger and the user's own.
    """

    number: int
    texts: Texts
    scores: Scores
    parents: tuple[int, ...] = ()
    changed: str = ""

    @property
    def key(self) -> Key:
        """What it is known by."""
        return candidate_key(self.texts)

    @cached_property
    def mean(self) -> float:
        """Over the full set."""
        return math.fsum(self.scores) / len(self.scores)


class _Trials(Protocol):
    """What the pool asks about trials."""

    results: ExampleResults

    def texts(self, trial: Observation) -> Texts: ...

    def key(self, trial: Observation) -> Key: ...


class Pool:
    """The pool as a function of the `seq` up to which outcomes are known."""

    def __init__(self, history: History, trials: _Trials) -> None:
        self._history = history
        self._trials = trials
        self._known: dict[int, list[Candidate]] = {}
        examples = history.spec.examples
        self.split, self.ids = examples.full() if examples is not None else ("validation", ())

    def at(self, until: int) -> list[Candidate]:
        """The candidates with a valid full evaluation that was told up to `until`, in the order of those."""
        if until not in self._known:
            self._known[until] = list(self._members(until).values())
        return self._known[until]

    def _members(self, until: int) -> dict[Key, Candidate]:
        found: dict[Key, Candidate] = {}
        for trial in self._history.finished:
            if trial.told_seq > until or not is_valid(trial) or not is_full(trial, self._history.spec):
                continue
            key = self._trials.key(trial)
            if key in found:
                continue
            scores = [self._trials.results.score(key, self.split, i, until, full=True) for i in self.ids]
            if None not in scores:
                found[key] = _candidate(trial, self._trials.texts(trial), np.array(scores, dtype=float))
        return found


def _candidate(trial: Observation, texts: Texts, scores: Scores) -> Candidate:
    origin = trial.origin
    parents = [*origin.get("merged", ())[:2], *([origin["parent"]] if origin.get("parent") is not None else [])]
    return Candidate(trial.number, texts, scores, tuple(parents), origin.get("component") or "")


def matrix(pool: Sequence[Candidate]) -> Scores:
    """(c, v) scores."""
    return np.stack([candidate.scores for candidate in pool])

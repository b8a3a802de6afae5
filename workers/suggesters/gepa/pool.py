"""The candidates that were scored on the full set, as known at some point of the study."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np

from services.domain.history import History, Observation
from workers.models.example_results import ExampleResults, is_valid
from workers.models.merit import is_full
from workers.models.texts import candidate_key

from .front import Scores, best_on, weights

Texts = dict[str, str]
Key = tuple[tuple[str, str], ...]
MOST_TOLD = 20


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
                texts = self._trials.texts(trial)
                found[key] = Candidate(
                    trial.number, texts, np.array(scores, dtype=float), _made_from(trial), trial.origin.get("component") or ""
                )  # fmt: skip
        return {key: replace(c, parents=tuple(self._member(n, found) for n in c.parents)) for key, c in found.items()}

    def _member(self, number: int, found: Mapping[Key, Candidate]) -> int:
        """The candidate that a trial's text became, whose number is that of its full evaluation; the trial's own if it became none."""
        trial = self._history.get(number)
        member = None if trial is None else found.get(self._trials.key(trial))
        return number if member is None else member.number


def _made_from(trial: Observation) -> tuple[int, ...]:
    """Numbers of the trials whose texts a trial's was made from."""
    origin = trial.origin
    return (*origin.get("merged", ())[:2], *([origin["parent"]] if origin.get("parent") is not None else []))


def matrix(pool: Sequence[Candidate]) -> Scores:
    """(c, v) scores."""
    return np.stack([candidate.scores for candidate in pool])


def shares(pool: Sequence[Candidate]) -> dict[str, int]:
    """The survivors by trial number, with the number of examples on which each is best: those with most."""
    if not pool:
        return {}
    scores = matrix(pool)
    found = weights(best_on(scores), scores.mean(axis=1))
    ranked = sorted(found, key=lambda i: -found[i])[:MOST_TOLD]
    return {str(pool[i].number): found[i] for i in sorted(ranked)}

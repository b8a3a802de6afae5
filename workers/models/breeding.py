"""Steady state: a population in which every outcome competes when it comes, whoever proposed it and however late.

The first trials cover the space; from then on each is a child of two members chosen by tournament. The population is a function of the
outcomes in the order in which they came, so nothing hangs on when or how many trials are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion

from .generations import EVALUATED
from .offspring import Breeder, Operators
from .sobol_sequence import Sobol

Array = NDArray[np.float64]
VERSION = 1
FEWEST = 4


def population_size(wanted: int, most_trials: int | None) -> int:
    """The size wanted, but a third of the study's trials at most: the rest is for children."""
    return wanted if most_trials is None else max(FEWEST, min(wanted, most_trials // 3))


class Ranking(Protocol):
    """How good the members of a population are among each other, kept up while they come and go."""

    def add(self, history: History, trial: Observation) -> None:
        """A member behind the others."""
        ...

    def remove(self, place: int) -> None:
        """The member at a place leaves: the last one by merit."""
        ...

    def merits(self) -> Array:
        """(n,) one number for each member, lower is better."""
        ...


class Breeding:
    """Hands out a covering set of points, then children of the population.

    Args:
        name: of the method, for reasons and random numbers.
        size: members.
        ranking: decides tournaments, and who leaves: the last; empty, for size + 1 members.
        blob: as `state` gave it.
    """

    def __init__(
        self,
        name: str,
        problem: Problem,
        size: int,
        ranking: Ranking,
        operators: Operators,
        blob: Blob | None = None,
    ) -> None:
        self._name, self._problem, self._size = name, problem, size
        self._ranking = ranking
        self._breeder = Breeder(problem.space, operators, may_repeat=problem.spec.is_noisy)
        self._sobol = Sobol(problem)
        self._members: list[Observation] = []
        self._since = 0
        self._merits: Array | None = None
        self._saved = blob.document if blob and blob.version == VERSION and blob.document["size"] == size else None

    # -- the population

    def _catch_up(self, history: History) -> None:
        if self._saved is not None:
            found = [history.get(number) for number in self._saved["members"]]
            if None not in found:
                self._since = self._saved["since"]
                for trial in found:
                    assert trial is not None
                    self._members.append(trial)
                    self._ranking.add(history, trial)
            self._saved = None
        for trial in history.finished_after(self._since):
            self._since = trial.told_seq
            if trial.state in EVALUATED:
                self._admit(history, trial)

    def _admit(self, history: History, trial: Observation) -> None:
        self._members.append(trial)
        self._ranking.add(history, trial)
        self._merits = None
        if len(self._members) > self._size:
            last = int(np.argmax(self._ranking.merits()))  # the oldest of equals, so that plateaus are walked across
            del self._members[last]
            self._ranking.remove(last)

    def members(self, history: History) -> list[Observation]:
        """The population, in the order in which the outcomes came."""
        self._catch_up(history)
        return list(self._members)

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._catch_up(history)
        first = count if len(self._members) < FEWEST else min(count, self._missing(history))
        found = self._sobol.suggest(history, first) if first else []
        if len(found) < first:
            return found
        keys = {point_key(s.parameters) for s in found}

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        for number in range(history.next_number + first, history.next_number + count):
            suggestion = self._child(history, number, is_known)
            if suggestion is None:
                break
            keys.add(point_key(suggestion.parameters))
            found.append(suggestion)
        return found

    def _missing(self, history: History) -> int:
        """How many more points cover the space: failed and cancelled ones are replaced."""
        if len(self._members) >= self._size:
            return 0
        lost = sum(t.state not in EVALUATED for t in history.finished)
        return max(0, self._size - len(history) + lost)

    def _child(self, history: History, number: int, is_known: Callable[[str], bool]) -> Suggestion | None:
        chosen: list[int] = []

        def parents(rng: np.random.Generator) -> tuple[Point, Point]:
            pair = self._tournament(rng), self._tournament(rng)
            chosen[:] = [t.number for t in pair]
            return pair[0].parameters, pair[1].parameters

        rng = self._problem.generator(number, f"{self._name} child")
        point = self._breeder.child(parents, is_known, rng)
        if point is None:
            return None
        reason = f"child of trials {chosen[0]} and {chosen[1]}"
        return Suggestion(parameters=point, reason=reason, origin={"parents": list(chosen)})

    def _tournament(self, rng: np.random.Generator) -> Observation:
        """The better of two members."""
        if self._merits is None:
            self._merits = self._ranking.merits()
        a, b = (int(i) for i in rng.integers(len(self._members), size=2))
        return self._members[a if self._merits[a] <= self._merits[b] else b]

    def state(self) -> Blob:
        """Who is in, and up to where outcomes have been read."""
        document = {"size": self._size, "members": [t.number for t in self._members], "since": self._since}
        return Blob(version=VERSION, document=document if self._saved is None else dict(self._saved))

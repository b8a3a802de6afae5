"""The open generation as its outcomes come in, and those that it is updated with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from workers.models.augmented_lagrangian import AugmentedLagrangian
from workers.models.generations import EVALUATED, Key, ranked, standings

Array = NDArray[np.float64]

METHOD = "cmaes"
FOREIGN_SHARE = 5


def is_own(trial: Observation) -> bool:
    """Whether a generation of this method proposed a trial."""
    return trial.origin.get("method") == METHOD


@dataclass
class Open:
    """The open generation.

    Attributes:
        number: of the generation.
        told: its own evaluated trials, in the order in which their outcomes came.
        failed: its own failed ones.
        lost: rows that will never have an outcome: of failed and cancelled trials.
        others: trials told meanwhile that are not its own, foreign and late ones.
    """

    number: int
    told: list[Observation] = field(default_factory=list)
    failed: list[Observation] = field(default_factory=list)
    lost: set[int] = field(default_factory=set)
    others: list[Observation] = field(default_factory=list)

    def take(self, trial: Observation) -> bool:
        """An outcome came; whether it is one of its own that was evaluated."""
        own = is_own(trial) and trial.origin["generation"] == self.number
        if own and trial.origin["row"] in self.lost:  # the late outcome of a lost lease
            self.lost.discard(trial.origin["row"])
            self.failed = [t for t in self.failed if t.number != trial.number]
        if trial.state in EVALUATED:
            (self.told if own else self.others).append(trial)
            return own
        if own:
            self.lost.add(trial.origin["row"])
            if trial.state is TrialState.FAILED:
                self.failed.append(trial)
        return False

    def is_failing(self, popsize: int) -> bool:
        """Whether so many of its trials failed that it must be for where they are: over half of them, over a generation full."""
        return len(self.failed) > max(popsize, len(self.told))


@dataclass(frozen=True)
class Member:
    """One of those that a generation is updated with.

    Attributes:
        x: (size,) unbounded coordinates.
        key: what it is ranked by.
        is_drawn: the distribution drew it.
        picks: its choices of the categorical parameters that are no coordinates.
    """

    x: Array
    key: Key
    is_drawn: bool = True
    picks: Sequence[int | None] = ()


def keys(history: History, trials: Sequence[Observation], penalty: AugmentedLagrangian | None) -> list[Key]:
    """What trials are ranked by."""
    found = standings(history, trials)
    if penalty is None:
        return found
    return [
        (0, penalty.value(history.values(t)[0], history.violations(t))) if t.state is TrialState.COMPLETED else key
        for t, key in zip(trials, found, strict=True)
    ]


def chosen_foreign(
    own: Sequence[Key],
    others: Sequence[Observation],
    keys: Callable[[Sequence[Observation]], list[Key]],
    *,
    parents: int,
    popsize: int,
) -> list[tuple[Observation, Key]]:
    """Foreign and late trials that a generation learns from: those that would be parents, a fifth of it at most (Hansen 2011).

    Args:
        own: what its own trials are ranked by; keys: the same of others.
    """
    if not others:
        return []
    found = sorted(zip(others, keys(others), strict=True), key=lambda pair: (pair[1], pair[0].number))
    found = [pair for pair in found if pair[1][0] == 0][: max(1, popsize // FOREIGN_SHARE)]
    places = ranked([*own, *(key for _, key in found)])[len(own) :]
    return [pair for pair, place in zip(found, places, strict=True) if place < parents]

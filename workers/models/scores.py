"""Trials in numbered places, ranked as `generations.ranks` does: each outcome is read once, and ranking is arithmetic of arrays."""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.trial import TrialState

Array = NDArray[np.float64]
Places = NDArray[np.int64]

COMPLETED, PRUNED, UNKNOWN = 0, 1, 2
LAST_BUT_ONE = np.nextafter(sys.float_info.max, 0.0)


class Scores:
    """Places from 0 on, each with a trial or not yet.

    Args:
        spec: whose first objective counts.
        places: how many there can be.
    """

    def __init__(self, spec: StudySpec, places: int) -> None:
        self._metric = spec.objectives[0].metric
        self._sign = 1.0 if spec.objectives[0].goal == "minimize" else -1.0
        bounds = sum((c.max is not None) + (c.min is not None) for c in spec.constraints)
        self._kind = np.full(places, UNKNOWN)
        self._value = np.zeros(places)
        self._violations = np.zeros((places, bounds))

    def put(self, place: int, history: History, trial: Observation) -> None:
        """Read the outcome of the trial that has this place from now on."""
        is_told = trial.state is not TrialState.INFEASIBLE and self._metric in trial.metrics
        is_completed = is_told and trial.state is not TrialState.PRUNED
        self._kind[place] = COMPLETED if is_completed else PRUNED if is_told else UNKNOWN
        self._value[place] = self._sign * trial.metrics[self._metric] if is_told else 0.0
        violations = history.violations(trial) if is_completed else 0.0
        self._violations[place] = np.clip(violations, -sys.float_info.max, sys.float_info.max)

    def remove(self, place: int) -> None:
        """Take a place out; those behind it move up."""
        for column in (self._kind, self._value, self._violations):
            column[place:-1] = column[place + 1 :]

    def keys(self, places: Places | slice) -> tuple[NDArray[np.int64], Array]:
        """(n,) kinds and (n,) values that order the trials of some places, as `generations.standings` among them."""
        kind, value = self._kind[places], self._value[places]
        is_completed = kind == COMPLETED
        rank, found = np.where(kind == UNKNOWN, 2, 0), value
        if self._violations.shape[1] and is_completed.any():
            total = self._broken(self._violations[places], is_completed)
            rank, found = np.where(total > 0, 1, rank), np.where(total > 0, total, found)
        if (kind == PRUNED).any():
            behind = just_behind(value[is_completed & (rank == 0)])
            found = np.where(kind == PRUNED, np.maximum(value, behind), found)
        return rank, found

    def _broken(self, violations: Array, is_completed: NDArray[np.bool_]) -> Array:
        """(n,) by how much constraints are broken, each in the spread of its own values; 0 where they hold."""
        scales = np.abs(violations[is_completed]).max(axis=0)
        total = (np.maximum(violations, 0.0) / np.where(scales > 0, scales, 1.0)).sum(axis=1)
        return np.where(is_completed, total, 0.0)

    def order(self, places: list[int]) -> list[int]:
        """Places by the ranks of their trials among them, the best first; equal ones as given."""
        at = np.array(places, dtype=np.int64)
        rank, value = self.keys(at)
        return [places[i] for i in np.lexsort((value, rank)).tolist()]


class ByValue:
    """The members of a population by feasibility and value, for `Breeding`.

    Args:
        spec: whose first objective counts.
        size: members at most.
    """

    def __init__(self, spec: StudySpec, size: int) -> None:
        self._scores, self._count = Scores(spec, size + 1), 0

    def add(self, history: History, trial: Observation) -> None:
        """A member behind the others."""
        self._scores.put(self._count, history, trial)
        self._count += 1

    def remove(self, place: int) -> None:
        """The member at a place leaves."""
        self._scores.remove(place)
        self._count -= 1

    def merits(self) -> Array:
        """(n,) lower is better, equal for equal ones."""
        rank, value = self._scores.keys(slice(0, self._count))
        return value if (rank == rank[0]).all() else shared_places(np.stack([rank, value], axis=1))


def shared_places(keys: Array) -> Array:
    """(n,) places of (n, k) rows in lexicographic order from 0, equal ones sharing the first of theirs."""
    order = np.lexsort(keys.T[::-1])
    is_other = np.append(True, (keys[order[1:]] != keys[order[:-1]]).any(axis=1))
    places = np.empty(len(keys))
    places[order] = np.maximum.accumulate(np.where(is_other, np.arange(len(keys)), 0))
    return places


def just_behind(completed: Array) -> Array:
    """(m,) what the values of pruned trials are at least: just above the median of completed ones that keep the constraints.

    The one rule for pruned trials in every method that compares outcomes: each counts as its last measurement, but never as better
    than half of those that were evaluated to the end, nor as the equal of the one in the middle.

    Args:
        completed: (n, m) or (n,) values to be minimised; of the two in the middle the larger is the median.
    """
    if not len(completed):
        return np.full(completed.shape[1:], -sys.float_info.max)
    middle = np.sort(completed, axis=0)[len(completed) // 2]
    return np.asarray(np.nextafter(np.minimum(middle, LAST_BUT_ONE), np.inf))

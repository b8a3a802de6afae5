"""Which of several compromises survive: non-dominated fronts, and how crowded it is within one. Everything is minimised.

Deb, Pratap, Agarwal, Meyarivan 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (fronts, crowding,
constrained domination); Das, Dennis 1998, "Normal-Boundary Intersection" and Deb, Jain 2014, "An Evolutionary Many-Objective
Optimization Algorithm Using Reference-Point-Based Nondominated Sorting Approach, Part I" (directions, for four objectives and more).
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.trial import TrialState

from .scores import COMPLETED, PRUNED, UNKNOWN, Scores, just_behind, shared_places

Array = NDArray[np.float64]
MANY = 4
"""Objectives from which on directions take the place of crowding."""
PENALTY = 5.0


def fronts(values: Array) -> NDArray[np.int64]:
    """(n,) the front of each row, 0 for the rows that no other dominates, 1 for those dominated by front 0 only, and so on.

    Args:
        values: (n, m). O(n² m) comparisons.
    """
    no_worse = np.ones((len(values), len(values)), dtype=bool)
    better = np.zeros_like(no_worse)
    for column in values.T:
        no_worse &= column[:, None] <= column[None, :]
        better |= column[:, None] < column[None, :]
    dominates = no_worse & better
    found = np.full(len(values), -1, dtype=np.int64)
    dominators = dominates.sum(axis=0)
    front = 0
    while (found < 0).any():
        first = (found < 0) & (dominators == 0)
        found[first] = front
        dominators = dominators - dominates[first].sum(axis=0)
        front += 1
    return found


def entered(values: Array, front: NDArray[np.int64], new: Array) -> NDArray[np.int64]:
    """(n + 1,) the fronts after one more row, last: it goes behind those that dominate it, and pushes back those that it dominates.

    Nobody moves by more than one front (Li, Deb, Zhang, Kwong 2014, "Efficient Non-domination Level Update Approach").

    Args:
        values, front: (n, m) and (n,) before; new: (m,).
    """
    above = (values <= new).all(axis=1) & (values < new).any(axis=1)
    level = int(front[above].max()) + 1 if above.any() else 0
    found, pushing = np.append(front, level), new[None]
    while len(pushing):
        there = np.flatnonzero(front == level)
        behind = _dominated(values[there], pushing)
        level += 1
        found[there[behind]] = level
        pushing = values[there[behind]]
    return found


def _dominated(values: Array, by: Array) -> NDArray[np.bool_]:
    """(n,) which of (n, m) rows any of (k, m) dominates."""
    no_worse = np.ones((len(by), len(values)), dtype=bool)
    better = np.zeros_like(no_worse)
    for column, other in zip(values.T, by.T, strict=True):
        no_worse &= other[:, None] <= column
        better |= other[:, None] < column
    return np.asarray((no_worse & better).any(axis=0))


def crowding(values: Array, front: NDArray[np.int64] | None = None) -> Array:
    """(n,) the sum over objectives of the gap between both neighbours in the same front, infinite at its ends.

    Args:
        values: (n, m); gaps count as shares of each objective's range in the front.
        front: (n,); one for all if absent.
    """
    n = len(values)
    front = np.zeros(n, dtype=np.int64) if front is None else front
    total = np.zeros(n)
    for column in values.T / 4:  # a quarter, for the difference of two finite numbers must be finite
        order = np.lexsort((column, front))
        ordered = column[order]
        starts = np.append(True, np.diff(front[order]) != 0)
        ends = np.append(starts[1:], True)
        span = (ordered[ends] - ordered[starts])[np.cumsum(starts) - 1]
        apart = np.zeros(n)
        apart[1:-1] = ordered[2:] - ordered[:-2]
        gaps = np.divide(apart, span, out=np.zeros(n), where=span > 0)
        total[order] += np.where(starts | ends, np.inf, gaps)
    return total


def directions(m: int, most: int) -> Array:
    """(k, m) evenly spread directions of the simplex, k <= `most` where `most` >= m; at least the m corners.

    A second, inner layer follows where the spacing is too wide for points off the boundary and there is room.
    """
    divisions = 1
    while math.comb(divisions + m, divisions + 1) <= most:
        divisions += 1
    found = _simplex(m, divisions)
    inner = 1
    while inner < divisions and len(found) + math.comb(inner + m, inner + 1) <= most:
        inner += 1
    if divisions < m and len(found) + math.comb(inner + m - 1, inner) <= most:
        found = np.concatenate([found, (_simplex(m, inner) + 1 / m) / 2])
    return found


def _simplex(m: int, divisions: int) -> Array:
    """Every point of the simplex whose coordinates are multiples of 1 / divisions."""
    bars = np.array(list(combinations(range(divisions + m - 1), m - 1)), dtype=np.int64).reshape(-1, m - 1)
    edges = np.concatenate([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), divisions + m - 1)], axis=1)
    return np.asarray((np.diff(edges, axis=1) - 1) / divisions)


def normalised(values: Array, front: NDArray[np.int64]) -> Array:
    """(n, m) with the ideal point at 0 and the plane through the extreme points of front 0 cutting the axes at 1."""
    scaled = values / 4
    shifted = scaled - scaled.min(axis=0)
    first = shifted[front == 0]
    widest = np.where(first.max(axis=0) > 0, first.max(axis=0), 1.0)
    shares = first / widest
    m = values.shape[1]
    weights = np.where(np.eye(m, dtype=bool), 1.0, 1e6)
    extremes = np.array([shares[np.argmin((shares * w).max(axis=1))] for w in weights])
    cuts = np.ones(m)
    if np.linalg.matrix_rank(extremes) == m:
        plane = np.linalg.solve(extremes, np.ones(m))
        if (plane > 1e-6).all():
            cuts = np.minimum(1.0 / plane, 1.0)
    return np.asarray(np.minimum(shifted / widest / cuts, 1e6))


def niches(points: Array, of: Array) -> tuple[NDArray[np.int64], Array]:
    """The direction nearest to each point by angle, and how far out the point lies along and (five times) beside it.

    Args:
        points: (n, m) normalised.
        of: (k, m) directions.
    """
    unit = of / np.linalg.norm(of, axis=1, keepdims=True)
    along = points @ unit.T
    nearest = np.argmax(along, axis=1)  # farthest along it, nearest to it, for both lie between the axes
    rows = np.arange(len(points))
    farthest = along[rows, nearest]
    beside = np.sqrt(np.maximum((points**2).sum(axis=1) - farthest**2, 0.0))
    return nearest, farthest + PENALTY * beside


class Compromises:
    """The members of a population with several objectives, for `Breeding`: by front, then by how crowded it is there.

    Args:
        spec: of the objectives.
        size: members at most; as many directions at most.
    """

    def __init__(self, spec: StudySpec, size: int) -> None:
        m = len(spec.objectives)
        self._directions = directions(m, size) if m >= MANY else None
        self._goals = [(o.metric, 1.0 if o.goal == "minimize" else -1.0) for o in spec.objectives]
        self._scores, self._count = Scores(spec, size + 1), 0
        self._told = np.zeros((size + 1, m))
        self._state = np.zeros(size + 1, dtype=np.int64)
        self._front: NDArray[np.int64] | None = None  # (n,), -1 for those that break constraints or are not known

    def add(self, history: History, trial: Observation) -> None:
        """A member behind the others."""
        place = self._count
        is_told = trial.state is not TrialState.INFEASIBLE and all(metric in trial.metrics for metric, _ in self._goals)
        self._scores.put(place, history, trial)
        self._told[place] = [sign * trial.metrics[metric] for metric, sign in self._goals] if is_told else 0.0
        is_pruned = trial.state is TrialState.PRUNED
        self._state[place] = UNKNOWN if not is_told else PRUNED if is_pruned else COMPLETED
        self._count += 1
        self._enter(is_told and max(history.violations(trial), default=0.0) <= 0 if not is_pruned else None)

    def _enter(self, is_good: bool | None) -> None:
        """Update the fronts; where a pruned trial is about they depend on the median and are made anew."""
        place = self._count - 1
        if self._front is None or is_good is None or (self._state[:place] == PRUNED).any():
            self._front = None
            return
        good = self._front >= 0
        front = np.append(self._front, -1)
        if is_good:
            front[np.append(good, True)] = entered(self._told[:place][good], self._front[good], self._told[place])
        self._front = front

    def remove(self, place: int) -> None:
        """The member at a place leaves; the last one by merit dominates nobody, so that the others keep their fronts."""
        self._scores.remove(place)
        for column in (self._told, self._state):
            column[place:-1] = column[place + 1 :]
        self._count -= 1
        self._front = None if self._front is None else np.delete(self._front, place)

    def merits(self) -> Array:
        """(n,) places from 0 for the best, equal ones sharing the first of theirs.

        Feasible trials by front; then those that break constraints, by how much; then those that could not be evaluated.
        """
        n = self._count
        rank, broken = self._scores.keys(slice(0, n))
        rank = np.where(self._state[:n] == UNKNOWN, 2, rank)
        keys = np.zeros((n, 4))
        keys[:, 0], keys[:, 1] = rank, np.where(rank == 1, broken, 0.0)
        good = rank == 0
        if good.any():
            keys[good, 1:] = self._among_feasible(good)
        return shared_places(keys)

    def _among_feasible(self, good: NDArray[np.bool_]) -> Array:
        """(k, 3): front, and two numbers for how crowded it is there, the first one deciding."""
        values = self._told[: self._count][good]
        is_pruned = self._state[: self._count][good] == PRUNED
        if is_pruned.any():
            values[is_pruned] = np.maximum(values[is_pruned], just_behind(values[~is_pruned]))
        if self._front is None or is_pruned.any():
            self._front = np.full(self._count, -1)
            self._front[good] = fronts(values)
        front = self._front[good]
        found = np.zeros((len(values), 3))
        found[:, 0] = front
        if self._directions is not None:
            niche, out = niches(normalised(values, front), self._directions)
            found[:, 1], found[:, 2] = np.bincount(niche)[niche], out
        else:
            found[:, 1] = -crowding(values, front)
        return found

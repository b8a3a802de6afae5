"""Which of several compromises survive: non-dominated fronts, and how crowded it is within one. Everything is minimised.

Deb, Pratap, Agarwal, Meyarivan 2002, "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II" (fronts, crowding,
constrained domination); Das, Dennis 1998, "Normal-Boundary Intersection" and Deb, Jain 2014, "An Evolutionary Many-Objective
Optimization Algorithm Using Reference-Point-Based Nondominated Sorting Approach, Part I" (directions, for four objectives and more).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.trial import TrialState

from .generations import standings

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


def crowding(values: Array) -> Array:
    """(n,) of the rows of one front: the sum over objectives of the gap between both neighbours, infinite at the ends.

    Args:
        values: (n, m); gaps count as shares of each objective's range.
    """
    n = len(values)
    total = np.zeros(n)
    for column in values.T / 4:  # a quarter, for the difference of two finite numbers must be finite
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        span = ordered[-1] - ordered[0]
        gaps = np.full(n, np.inf)
        if n > 2:
            gaps[1:-1] = (ordered[2:] - ordered[:-2]) / span if span > 0 else 0.0
        total[order] += gaps
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
    beside = np.sqrt(np.maximum((points**2).sum(axis=1)[:, None] - along**2, 0.0))
    nearest = np.argmin(beside, axis=1)
    rows = np.arange(len(points))
    return nearest, along[rows, nearest] + PENALTY * beside[rows, nearest]


class Compromises:
    """Standings of trials with several objectives, for `Breeding`: the front, then how crowded it is there.

    Args:
        m: objectives.
        size: of the population: as many directions at most.
    """

    def __init__(self, m: int, size: int) -> None:
        self._directions = directions(m, size) if m >= MANY else None

    def __call__(self, history: History, trials: Sequence[Observation]) -> list[float]:
        """Places from 0 for the best, equal ones sharing the first of theirs.

        Feasible trials by front; then those that break constraints, by how much; then those that could not be evaluated.
        """
        keys = np.zeros((len(trials), 4))
        if history.spec.constraints or any(t.state is not TrialState.COMPLETED for t in trials):
            keys[:, :2] = standings(history, trials)
        values = _values(history, trials)
        keys[(keys[:, 0] == 0) & np.isnan(values).any(axis=1), 0] = 2
        keys[keys[:, 0] == 2, 1] = 0
        good = np.flatnonzero(keys[:, 0] == 0)
        if len(good):
            keys[good, 1:] = self._among_feasible(values[good])
        order = np.lexsort(keys.T[::-1])
        is_other = np.append(True, (keys[order[1:]] != keys[order[:-1]]).any(axis=1))
        places = np.empty(len(keys))
        places[order] = np.maximum.accumulate(np.where(is_other, np.arange(len(keys)), 0))
        return [float(place) for place in places]

    def _among_feasible(self, values: Array) -> Array:
        """(n, 3): front, and two numbers for how crowded it is there, the first one deciding."""
        front = fronts(values)
        found = np.zeros((len(values), 3))
        found[:, 0] = front
        if self._directions is not None:
            niche, out = niches(normalised(values, front), self._directions)
            found[:, 1], found[:, 2] = np.bincount(niche)[niche], out
            return found
        for number in range(int(front.max()) + 1):
            found[front == number, 1] = -crowding(values[front == number])
        return found


def _values(history: History, trials: Sequence[Observation]) -> Array:
    """(n, m) values; of pruned ones the last told, but none better than the median of the completed; nan where not told."""
    signs = [(o.metric, 1.0 if o.goal == "minimize" else -1.0) for o in history.spec.objectives]
    told = (TrialState.COMPLETED, TrialState.PRUNED)
    found = np.array(
        [
            [sign * t.metrics.get(metric, math.nan) if t.state in told else math.nan for metric, sign in signs]
            for t in trials
        ]
    )
    is_pruned = np.array([t.state is TrialState.PRUNED for t in trials])
    completed = found[np.array([t.state is TrialState.COMPLETED for t in trials])]
    if len(completed) and is_pruned.any():
        middle = np.sort(completed, axis=0)[len(completed) // 2]
        found[is_pruned] = np.maximum(found[is_pruned], middle)
    return found

"""COBYLA with constraints: linear models of the objective and of each constraint over one simplex.

Powell 1994, "A direct search optimization method that models the objective and constraint functions by linear interpolation": the
simplex, its shape and its trust region are those of `workers.models.cobyla`, the merit is f + μ · max(0, g) with a μ that rises when
the models say that a step would gain violation. Powell's subproblem (least violation, then least f) is solved by projections onto
the linearised constraints (Lawson, Hanson 1974, "Solving Least Squares Problems", 23: least distance programming).
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workers.models.cobyla import LEAST_STEP, Simplex, leaving, mending_point

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """What was measured at a point.

    Attributes:
        value: the objective; NaN where it is not known and the model's word stands for it.
        violations: (m,) constraints, kept where <= 0; NaN where not known.
        allowed: whether the point may be the best one.
    """

    value: float
    violations: Array
    allowed: bool = True

    def filled(self, value: float, violations: Array) -> Measured:
        """The same with what is not known replaced."""
        known = np.where(np.isnan(self.violations), violations, self.violations)
        return Measured(value if math.isnan(self.value) else self.value, known, self.allowed)


Asks = Generator[Array, Measured, None]
ENOUGH = 0.1
BISECTIONS = 40
MOST_PENALTY = 1e150
TURNS, PULL = 6, 0.7


class ConstrainedSimplex(Simplex):
    """A simplex whose `values` are merits; beside them stand the objective and the constraints at the vertices."""

    def __init__(self, vertices: Array, objective: Array, violations: Array, allowed: NDArray[np.bool_]) -> None:
        super().__init__(vertices, np.zeros(len(vertices)))
        self.objective, self.violations, self.allowed = objective, violations, allowed
        self.penalty = 0.0

    def merit(self, value: float, violations: Array, allowed: bool) -> float:
        """f + μ · max(0, g); infinite where the point may not be the best."""
        return value + self.penalty * _worst(violations) if allowed else math.inf

    def measure(self) -> None:
        """As the simplex without constraints, and the slopes of each constraint; `gradient` is that of the merit."""
        self.values = np.array(
            [self.merit(*v) for v in zip(self.objective, self.violations, self.allowed, strict=True)]
        )
        if self.penalty == 0 and len(self.values):
            # Equal merits, as at the start: the one that breaks least.
            lowest = np.flatnonzero(self.values == self.values.min())
            first = lowest[np.argmin([_worst(self.violations[i]) for i in lowest])]
        else:
            first = int(np.argmin(self.values))
        self._measure_from(int(first))

    def _measure_from(self, best: int) -> None:
        merits, self.values = self.values, np.where(np.arange(len(self.values)) == best, -1.0, 0.0)
        super().measure()  # the geometry around that vertex
        self.values = merits
        self.slope = self.inverse @ (self.objective[self.others] - self.objective[best])
        self.slopes = (self.inverse @ (self.violations[self.others] - self.violations[best])).T
        at_best = self.violations[best]
        broken = len(at_best) and at_best.max() > 0
        self.gradient = self.slope + (self.penalty * self.slopes[int(np.argmax(at_best))] if broken else 0.0)

    def completed(self, measured: Measured, point: Array) -> Measured:
        """What is not known at a point as the models predict it."""
        step = point - self.vertices[self.best]
        value = float(self.objective[self.best] + self.slope @ step)
        return measured.filled(value, self.violations[self.best] + self.slopes @ step)

    def put(self, place: int, vertex: Array, measured: Measured) -> None:
        """Put a point in the place of the `place`-th vertex that is not the best."""
        row = self.others[place]
        self.vertices[row], self.objective[row] = vertex, measured.value
        self.violations[row], self.allowed[row] = measured.violations, measured.allowed

    def lower_penalty(self) -> None:
        """Where violations vary little against the objective, so much penalty is not needed any more (Powell 1994)."""
        kept = -self.violations
        low, high = kept.min(axis=0), kept.max(axis=0)
        varying = low < 0.5 * high
        if not varying.any():
            self.penalty = 0.0
            return
        denominator = float((np.maximum(high, 0) - low)[varying].min())
        spread = float(np.ptp(self.objective))
        if spread < self.penalty * denominator:
            self.penalty = spread / denominator


def constrained_cobyla(start: Array, radius: float, final: float, lower: Array, upper: Array, count: int) -> Asks:
    """Minimise under constraints: yields the next point to measure, is sent what was measured.

    Args:
        start: (n,) inside the bounds; the first point asked for.
        radius: of the first trust region, and the edge of the first simplex; > 0.
        final: radius at which it ends, > 0.
        lower, upper: (n,) bounds. Every point lies within.
        count: of constraints.
    """
    radius = min(radius, float(np.min(upper - lower)) / 2)
    simplex = yield from _first_simplex(start, radius, lower, upper, count)
    mends, mended = False, 0
    while True:
        simplex.measure()
        is_good = simplex.is_good(radius)
        if mends and not is_good:
            place, point = mending_point(simplex, radius, lower, upper)
            simplex.put(place, point, simplex.completed((yield point), point))
            mends, mended = False, mended + 1
            continue
        outcome = yield from _trust_step(simplex, radius, lower, upper)
        # Bounds can keep a simplex from ever becoming good: as many mends at one radius as it has vertices, no more.
        mends = outcome == "poor" and not is_good and mended <= len(start)
        if outcome == "good" or mends:
            continue
        if radius <= final:
            return
        radius, mended = radius / 2 if radius > 3 * final else final, 0
        simplex.lower_penalty()


def _first_simplex(
    start: Array, radius: float, lower: Array, upper: Array, count: int
) -> Generator[Array, Measured, ConstrainedSimplex]:
    """One step along each axis; where one is better, the next go on from there."""
    n = len(start)
    vertices = np.tile(np.clip(start, lower, upper), (n + 1, 1))
    objective, violations = np.zeros(n + 1), np.zeros((n + 1, count))
    allowed = np.ones(n + 1, dtype=bool)
    first = yield vertices[n].copy()
    first = first.filled(0.0, np.zeros(count))
    objective[n], violations[n], allowed[n] = first.value, first.violations, first.allowed
    for j in range(n):
        point = vertices[n].copy()
        point[j] += radius if point[j] + radius <= upper[j] else -radius
        measured = (yield point.copy()).filled(float(objective[n]), violations[n])
        vertices[j], objective[j] = point, measured.value
        violations[j], allowed[j] = measured.violations, measured.allowed
        if _rank(objective, violations, allowed, j) < _rank(objective, violations, allowed, n):
            for column in (vertices, objective, violations, allowed):
                column[[j, n]] = column[[n, j]]
    return ConstrainedSimplex(vertices, objective, violations, allowed)


def _rank(objective: Array, violations: Array, allowed: NDArray[np.bool_], i: int) -> tuple[bool, float, float]:
    return not allowed[i], _worst(violations[i]), float(objective[i])


def _trust_step(
    simplex: ConstrainedSimplex, radius: float, lower: Array, upper: Array
) -> Generator[Array, Measured, Literal["good", "poor"]]:
    best = simplex.vertices[simplex.best].copy()
    at_best = simplex.violations[simplex.best]
    step = lowest_step(simplex.slope, radius, simplex.slopes, at_best, lower - best, upper - best)
    relief = _worst(at_best) - _worst(at_best + simplex.slopes @ step)
    rise = float(simplex.slope @ step)
    if np.linalg.norm(step) < LEAST_STEP * radius:
        return "poor"
    if relief > 0 and simplex.penalty < 1.5 * rise / relief:
        simplex.penalty = min(2 * rise / relief, MOST_PENALTY)
        stood = simplex.best
        simplex.measure()
        if simplex.best != stood:
            return "good"  # another vertex is the best under the new penalty: from there
    predicted = -rise + simplex.penalty * relief
    if not predicted > 0:
        return "poor"
    before = float(simplex.values[simplex.best])
    shift = np.zeros(len(at_best))
    for turn in range(TURNS):
        point = np.clip(best + step, lower, upper)
        answer = yield point
        if answer.allowed or not math.isnan(answer.value):
            break
        # Not allowed, and so at no cost: as the models missed by so much, they are moved by as much; at last back towards the best.
        missed = answer.violations - at_best - simplex.slopes @ (point - best)
        shift = np.maximum(shift, np.where(np.isnan(missed), 0.0, missed))
        moved = lowest_step(simplex.slope, radius, simplex.slopes, at_best + shift, lower - best, upper - best)
        step = moved if turn < TURNS / 2 else PULL * step
    measured = simplex.completed(answer, point)
    gain = before - simplex.merit(measured.value, measured.violations, measured.allowed)
    place = leaving(simplex, step, gain > 0, radius)
    if place is None:
        return "poor"
    simplex.put(place, point, measured)
    return "good" if gain > 0 and gain >= ENOUGH * predicted else "poor"


def lowest_step(slope: Array, radius: float, slopes: Array, at_start: Array, lower: Array, upper: Array) -> Array:
    """The step of at most `radius` inside a box around 0 that keeps linear constraints and lowers a linear function most.

    Where no step keeps them, towards the nearest that does, as far as the radius goes.

    Args:
        slope: (n,) of the function.
        slopes: (m, n) of the constraints; at_start: (m,) their values at 0, kept where <= 0.
        lower, upper: (n,) the box.
    """
    n = len(slope)
    lengths = np.linalg.norm(slopes, axis=1)
    real = lengths > 0
    matrix = np.vstack([slopes[real] / lengths[real, None], np.eye(n), -np.eye(n)])
    limit = np.concatenate([-at_start[real] / lengths[real], upper, -lower])
    nearest = _projected(np.zeros(n), matrix, limit)
    if nearest is None:
        worst = int(np.argmax(np.where(real, at_start / np.where(real, lengths, 1.0), -math.inf))) if real.any() else 0
        direction = -slopes[worst] / lengths[worst] if real.any() else np.zeros(n)
        return np.clip(radius * direction, lower, upper)
    reach = float(np.linalg.norm(nearest))
    if reach >= radius:
        return np.asarray(np.clip(nearest * (radius / reach), lower, upper))
    top = float(np.abs(slope).max())
    if not top > 0:
        return nearest
    return _farthest(-slope / top, nearest, radius, matrix, limit)


def _farthest(direction: Array, nearest: Array, radius: float, matrix: Array, limit: Array) -> Array:
    """Along the path of projections of ever longer steps to where it leaves the ball: the minimum there (Moreau)."""
    low, high, found = 0.0, radius / float(np.linalg.norm(direction)), nearest
    for _ in range(12):
        step = _projected(high * direction, matrix, limit)
        if step is None or np.linalg.norm(step) >= radius:
            break
        low, high, found = high, high * 4, step
    else:
        return found  # the constraints end before the ball does
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        step = _projected(middle * direction, matrix, limit)
        if step is not None and np.linalg.norm(step) <= radius:
            low, found = middle, step
        else:
            high = middle
        if high - low <= 1e-4 * high:
            break
    return found


def _projected(point: Array, matrix: Array, limit: Array) -> Array | None:
    """The nearest x to a point with matrix @ x <= limit; None where there is none."""
    from scipy.optimize import nnls

    beyond = matrix @ point - limit
    if not (beyond > 0).any():
        return point
    n = len(point)
    scale = float(beyond.max())
    target = np.append(np.zeros(n), 1.0)
    try:
        weights, _ = nnls(np.vstack([-matrix.T, beyond / scale]), target)
    except RuntimeError:  # no end of iterations: as good as none
        return None
    residual = np.append(-matrix.T @ weights, weights @ (beyond / scale)) - target
    if np.linalg.norm(residual) < 1e-9 or not -residual[n] > 0:
        return None
    return np.asarray(point - scale * residual[:n] / residual[n])


def _worst(violations: Array) -> float:
    return max(0.0, float(violations.max())) if len(violations) else 0.0

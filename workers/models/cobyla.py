"""COBYLA without constraints but with bounds: a linear model over a simplex inside a shrinking trust region.

Powell 1994, "A direct search optimization method that models the objective and constraint functions by linear interpolation". Written
as a coroutine: told the same values it asks for the same points, so that whoever has the values needs no saved state.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Asks = Generator[Array, float, None]

# Powell's constants: least height and longest edge of a good simplex, a step that mends it, what counts as far, the least step.
ALPHA, BETA, GAMMA, DELTA = 0.25, 2.1, 0.5, 1.1
LEAST_STEP = 0.5
ENOUGH = 0.1


@dataclass
class Simplex:
    """n + 1 vertices (rows) with their values, and what follows from them."""

    vertices: Array
    values: Array

    def measure(self) -> None:
        """Edges from the best vertex, their inverse, the linear model and the shape."""
        self.best = int(np.argmin(self.values))
        self.others = np.delete(np.arange(len(self.values)), self.best)
        self.edges = self.vertices[self.others] - self.vertices[self.best]
        self.inverse = inverse_of(self.edges)
        self.gradient = self.inverse @ (self.values[self.others] - self.values[self.best])
        self.lengths = np.linalg.norm(self.edges, axis=1)
        self.heights = 1 / np.maximum(np.linalg.norm(self.inverse, axis=0), 1e-300)

    def is_good(self, radius: float) -> bool:
        """Neither flat nor long for this trust region."""
        return bool(self.heights.min() >= ALPHA * radius and self.lengths.max() <= BETA * radius)

    def replace(self, place: int, vertex: Array, value: float) -> None:
        """Put a point in the place of the `place`-th vertex that is not the best."""
        row = self.others[place]
        self.vertices[row], self.values[row] = vertex, value


def cobyla(start: Array, radius: float, final: float, lower: Array, upper: Array) -> Asks:
    """Minimise: yields the next point to evaluate, is sent its value; ends when the trust region has shrunk to `final`.

    Args:
        start: (n,) inside the bounds; the first point asked for.
        radius: of the first trust region, and the edge of the first simplex; > 0.
        final: radius at which it ends, > 0.
        lower, upper: (n,) bounds. Every point lies within.

    Yields:
        (n,) points. Values sent must be finite.
    """
    radius = min(radius, float(np.min(upper - lower)) / 2)
    simplex = yield from _first_simplex(start, radius, lower, upper)
    mends, mended = False, 0
    while True:
        simplex.measure()
        is_good = simplex.is_good(radius)
        if mends and not is_good:
            place, point = mending_point(simplex, radius, lower, upper)
            simplex.replace(place, point, (yield point))
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


def _first_simplex(start: Array, radius: float, lower: Array, upper: Array) -> Generator[Array, float, Simplex]:
    """One step along each axis, from the best point so far."""
    n = len(start)
    base = np.clip(start, lower, upper)
    vertices, values = np.tile(base, (n + 1, 1)), np.zeros(n + 1)
    values[n] = yield base
    for j in range(n):
        point = vertices[n].copy()
        point[j] += radius if point[j] + radius <= upper[j] else -radius
        value = yield point
        vertices[j], values[j] = point, value
        if value < values[n]:
            vertices[[j, n]], values[[j, n]] = vertices[[n, j]], values[[n, j]]
    return Simplex(vertices, values)


def _trust_step(
    simplex: Simplex, radius: float, lower: Array, upper: Array
) -> Generator[Array, float, Literal["good", "poor"]]:
    best = simplex.vertices[simplex.best].copy()
    step = _steepest(simplex.gradient, radius, lower - best, upper - best)
    predicted = -float(simplex.gradient @ step)
    if np.linalg.norm(step) < LEAST_STEP * radius or not predicted > 0:
        return "poor"
    point = np.clip(best + step, lower, upper)
    value = yield point
    gain = float(simplex.values[simplex.best]) - value
    place = leaving(simplex, step, gain > 0, radius)
    if place is None:
        return "poor"
    simplex.replace(place, point, value)
    return "good" if gain > 0 and gain >= ENOUGH * predicted else "poor"


def _steepest(gradient: Array, radius: float, lower: Array, upper: Array) -> Array:
    """The step of at most `radius` inside a box around 0 that lowers a linear model most."""
    step, free = np.zeros(len(gradient)), np.ones(len(gradient), dtype=bool)
    gradient = gradient / max(
        float(np.abs(gradient).max()), 1e-300
    )  # its length counts for nothing, and may not overflow
    for _ in range(len(gradient)):
        left = radius**2 - float(step[~free] @ step[~free])
        length = float(np.linalg.norm(gradient[free]))
        if left <= 0 or length == 0:
            step[free] = 0
            return step
        step[free] = -gradient[free] * (math.sqrt(left) / length)
        outside = free & ((step < lower) | (step > upper))
        if not outside.any():
            return step
        step[outside] = np.clip(step[outside], lower[outside], upper[outside])
        free &= ~outside
    return step


def leaving(simplex: Simplex, step: Array, is_better: bool, radius: float) -> int | None:
    """Which vertex the new point replaces; None where the simplex would be no better for it."""
    share = np.abs(step @ simplex.inverse)
    place = int(np.argmax(share)) if share.max() > (0 if is_better else 1) else None
    heights = share * simplex.heights
    reach = np.linalg.norm(step - simplex.edges, axis=1) if is_better else simplex.lengths
    far = (heights >= np.minimum(ALPHA * radius, simplex.heights)) & (reach > DELTA * radius)
    return int(np.argmax(np.where(far, reach, -1.0))) if far.any() else place


def mending_point(simplex: Simplex, radius: float, lower: Array, upper: Array) -> tuple[int, Array]:
    """The vertex that spoils the shape, and a point across the face opposite to it; on the other side where a bound is near."""
    place = int(np.argmax(simplex.lengths))
    if simplex.lengths[place] <= BETA * radius:
        place = int(np.argmin(simplex.heights))
    normal = simplex.heights[place] * simplex.inverse[:, place]
    step = GAMMA * radius * (-normal if simplex.gradient @ normal > 0 else normal)
    best = simplex.vertices[simplex.best]
    points = [np.clip(best + s, lower, upper) for s in (step, -step)]
    reached = [abs(float((p - best) @ normal)) for p in points]
    return place, points[0] if reached[0] >= reached[1] - 1e-9 * radius else points[1]


def inverse_of(edges: Array) -> Array:
    try:
        return np.asarray(np.linalg.inv(edges))
    except np.linalg.LinAlgError:  # flat to the last bit: its pseudoinverse shows which vertex to mend
        return np.asarray(np.linalg.pinv(edges))

"""Where the acquisition is highest: a screen of many points, then climbs from the best, continuous and discrete in turn."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.sampling import draw_many, unused
from services.domain.space import Point, point_key

from .beliefs import Beliefs

Array = NDArray[np.float64]

SCREENED = 1024
FEWEST = 64
STARTS = 4
ROUNDS = 3
CLIMB_STEPS = 40
MOST_LEVELS = 16
LOCAL_SPREAD = 0.1


def maximise(
    codec: Codec, beliefs: Beliefs, is_known: Callable[[str], bool], may_repeat: bool, rng: np.random.Generator
) -> tuple[Point, float] | None:
    """The best admissible point found and its log acquisition; None if no point is left.

    Args:
        is_known: whether a trial has the point with this key.
        may_repeat: whether a known point may come again.
    """
    points = _screen(codec, beliefs, rng)
    rows = codec.encode_many(points)
    values = beliefs.log_acquisition(rows)
    order = np.argsort(-values, kind="stable")
    found: dict[str, tuple[float, Point]] = {}
    for place in order[: STARTS * 8]:
        found[point_key(points[place])] = (float(values[place]), points[place])
    for place in order[:STARTS]:
        value, point = _climb(codec, beliefs, rows[place], float(values[place]))
        found[point_key(point)] = (value, point)
    ranked = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
    for key, (value, point) in ranked:
        if may_repeat or not is_known(key):
            return point, value
    for place in order[STARTS * 8 :]:
        if not is_known(point_key(points[place])):
            return points[place], float(values[place])
    if codec.space.is_finite:
        point_left = unused(codec.space, is_known, rng)
        if point_left is None:
            return None
        return point_left, float(beliefs.log_acquisition(codec.encode(point_left)[None, :])[0])
    return (ranked[0][1][1], ranked[0][1][0]) if ranked else None


def _screen(codec: Codec, beliefs: Beliefs, rng: np.random.Generator) -> list[Point]:
    """Half of it everywhere, half around the best known points; every one keeps the constraints."""
    space = codec.space
    near = len(beliefs.incumbents)
    rows = rng.random((SCREENED, codec.dimensions))
    if near:
        half = SCREENED // 2
        centres = beliefs.incumbents[rng.integers(0, near, half)]
        share = min(1.0, 20.0 / codec.dimensions)
        moved = rng.random((half, codec.dimensions)) < share
        steps = rng.normal(0.0, LOCAL_SPREAD, (half, codec.dimensions))
        jumps = np.array([c.is_categorical for c in codec.coordinates]) & (rng.random((half, codec.dimensions)) < 0.2)
        local = np.where(moved, centres + steps, centres)
        rows[:half] = np.where(jumps, rows[:half], np.clip(local, 0.0, 1.0))
    points = [codec.decode(row) for row in rows]
    if space.constraints:
        points = [p for p in points if not space.broken(p)]
        if len(points) < FEWEST:
            points += draw_many(space, rng, FEWEST - len(points))
    return points


def _climb(codec: Codec, beliefs: Beliefs, row: Array, value: float) -> tuple[float, Point]:
    """Continuous and discrete steps in turn until neither helps."""
    continuous = np.array([c.levels is None for c in codec.coordinates])
    row = row.copy()
    for _ in range(ROUNDS):
        before = value
        if continuous.any():
            row, value = _continuous(codec, beliefs, row, value, continuous)
        if not continuous.all():
            row, value = _discrete(codec, beliefs, row, value)
        if value <= before + 1e-6:
            break
    return value, codec.decode(row)


def _continuous(
    codec: Codec, beliefs: Beliefs, row: Array, value: float, free: NDArray[np.bool_]
) -> tuple[Array, float]:
    from scipy.optimize import minimize

    def negative(part: Array) -> tuple[float, Array]:
        full = row.copy()
        full[free] = part
        found, slope = beliefs.gradient(full)
        return -found, -slope[free]

    bounds = [(0.0, 1.0)] * int(free.sum())
    best = minimize(negative, row[free], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxfun": CLIMB_STEPS})
    moved = row.copy()
    moved[free] = np.clip(best.x, 0.0, 1.0)
    moved = _back_inside(codec, row, moved)
    reached = float(beliefs.log_acquisition(moved[None, :])[0])
    return (moved, reached) if np.isfinite(reached) and reached > value else (row, value)


def _back_inside(codec: Codec, start: Array, end: Array) -> Array:
    """The farthest point towards `end` that keeps the parameter constraints, by halving; decoded, so it is admissible."""
    for step in range(12):
        candidate = codec.snap(start + (end - start) * 0.5**step)
        if not codec.space.broken(codec.decode(candidate)):
            return candidate
    return start


def _discrete(codec: Codec, beliefs: Beliefs, row: Array, value: float) -> tuple[Array, float]:
    """Each discrete coordinate in turn: all its levels where they are few, neighbours and leaps where they are many."""
    for j, coordinate in enumerate(codec.coordinates):
        if coordinate.levels is None or coordinate.levels < 2:
            continue
        options = _options(row[j], coordinate.levels, coordinate.is_categorical)
        candidates = np.tile(row, (len(options), 1))
        candidates[:, j] = options
        snapped = [codec.snap(candidate) for candidate in candidates]
        allowed = [r for r in snapped if not codec.space.broken(codec.decode(r))]
        if not allowed:
            continue
        values = beliefs.log_acquisition(np.array(allowed))
        place = int(np.argmax(values))
        if values[place] > value:
            row, value = allowed[place], float(values[place])
    return row, value


def _options(here: float, levels: int, is_categorical: bool) -> Array:
    if levels <= MOST_LEVELS or is_categorical:
        return (np.arange(min(levels, 200)) + 0.5) / levels
    leaps = np.unique(np.concatenate([[1, 2, 3], np.geomspace(4, levels / 2, 6).astype(int)]))
    cell = min(int(here * levels), levels - 1)
    cells = np.unique(np.clip(np.concatenate([cell + leaps, cell - leaps]), 0, levels - 1))
    return np.asarray((cells + 0.5) / levels)

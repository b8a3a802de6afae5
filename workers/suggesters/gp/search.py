"""Where the acquisition is highest: a screen of many points, then climbs from the best, continuous and discrete in turn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.sampling import draw_any, draw_many, unused
from services.domain.space import Point, point_key
from workers.models.ascent import climb
from workers.models.sequence_codec import SEQUENCES

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

FEWEST = 64
STARTS = 10
ROUNDS = 3
CLIMB_STEPS = 40
MOST_LEVELS = 16
LOCAL_SPREAD = 0.1
NEARBY = 1e-6
LISTED = 10_000


class Acquisition(Protocol):
    """What is maximised."""

    def values(self, points: Array) -> Array:
        """(m,) at (m, d) rows; larger is better."""
        ...

    def value_and_gradient(self, points: Array) -> tuple[Array, Array]:
        """(m,) and (m, d); zero along categorical columns."""
        ...


def maximise(
    codec: Codec,
    acquisition: Acquisition,
    rng: np.random.Generator,
    *,
    is_known: Callable[[str], bool],
    may_repeat: bool,
    incumbents: Array,
    scales: Array,
    known: Array,
    screened: int = 2048,
) -> tuple[Point, float] | None:
    """The best admissible point found and its acquisition value; None if no point is left.

    Args:
        is_known: whether a trial has the point with this key.
        may_repeat: whether a known point may come again.
        incumbents: (i, d) good points to search around.
        scales: (d,) typical lengths of change, such as the model's lengthscales.
        known: (n, d) points that an exact study gains nothing from asking again, nor closer to than `NEARBY`.
        screened: how many points are looked at first.
    """
    search = _Search(codec, acquisition, scales)
    rows = _listed(codec) if codec.space.size is not None and codec.space.size <= LISTED else None
    if rows is None:
        rows = screen(codec, incumbents, screened, rng)
    values = acquisition.values(rows)
    order = np.argsort(-values, kind="stable")
    finite = codec.space.size is not None and len(rows) and codec.space.size <= LISTED
    if not finite:
        starts = _starts(order, values, rng)
        climbed, reached = search.climb(rows[starts], values[starts])
        rows, values = np.vstack([climbed, rows[order]]), np.concatenate([reached, values[order]])
        order = np.argsort(-values, kind="stable")
    for place in order:
        point = codec.decode(rows[place])
        if may_repeat or not (is_known(point_key(point)) or (not finite and _is_near(rows[place], known))):
            return point, float(values[place])
    if codec.space.is_finite and not finite:
        left = unused(codec.space, is_known, rng)
        return None if left is None else (left, float(acquisition.values(codec.encode(left)[None, :])[0]))
    return None if finite or not len(order) else (codec.decode(rows[order[0]]), float(values[order[0]]))


def _is_near(row: Array, known: Array) -> bool:
    return bool(len(known) and np.abs(known - row).max(1).min() < NEARBY)


def _listed(codec: Codec) -> Array | None:
    """(n, d) every point of a small finite space that keeps the constraints."""
    from services.domain.sampling import listed

    return codec.encode_many([*{point_key(p): p for p in listed(codec.space)}.values()])


def _starts(order: NDArray[np.int64], values: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """The best ones, and some of the others by their promise (Boltzmann weights, without replacement)."""
    first, rest = order[: STARTS // 2], order[STARTS // 2 :]
    if len(rest) <= STARTS - len(first):
        return order[:STARTS]
    spread = float(np.std(values[rest]))
    noise = rng.gumbel(size=len(rest))
    score = (values[rest] - values[rest].max()) / (spread if spread > 0 else 1.0) + noise
    return np.concatenate([first, rest[np.argsort(-score, kind="stable")[: STARTS - len(first)]]])


def screen(codec: Codec, incumbents: Array, count: int, rng: np.random.Generator) -> Array:
    """(m, d) admissible rows: half of them everywhere, half around the best known points."""
    from scipy.stats import qmc

    d = codec.dimensions
    if any(p.type in SEQUENCES for p in codec.space.parameters):
        rows = codec.encode_many([draw_any(codec.space, rng) for _ in range(count)])
    elif d <= 1000:
        rows = qmc.Sobol(d, scramble=True, rng=rng).random_base2(max(1, (count - 1).bit_length()))[:count]
    else:
        rows = rng.random((count, d))
    if len(incumbents):
        half = count // 2
        rows[:half] = around(codec, incumbents[rng.integers(0, len(incumbents), half)], rows[:half], rng)
    rows = codec.snap_many(rows)
    if not codec.space.constraints:
        return rows
    allowed = np.array([not codec.space.broken(codec.decode(row)) for row in rows], dtype=bool)
    rows = rows[allowed]
    if len(rows) < FEWEST:
        rows = np.vstack([rows, codec.encode_many(draw_many(codec.space, rng, FEWEST - len(rows)))])
    return rows


def around(codec: Codec, centres: Array, elsewhere: Array, rng: np.random.Generator) -> Array:
    """(m, d) rows near centres: some 20 coordinates moved, by steps of several sizes; a categorical one jumps now and then."""
    m, d = centres.shape
    moved = rng.random((m, d)) < min(1.0, 20.0 / d)
    width = LOCAL_SPREAD * 10.0 ** -rng.integers(0, 3, size=(m, 1)).astype(float)
    local = np.where(moved, centres + width * rng.normal(size=(m, d)), centres)
    categorical = np.array([c.is_categorical for c in codec.coordinates])
    jumps = rng.random((m, d)) < 0.2
    return np.where(categorical, np.where(jumps, elsewhere, centres), np.clip(local, 0.0, 1.0))


class _Search:
    """Climbs of several starts at once."""

    def __init__(self, codec: Codec, acquisition: Acquisition, scales: Array) -> None:
        self._codec = codec
        self._acquisition = acquisition
        levels = [c.levels for c in codec.coordinates]
        categorical = np.array([c.is_categorical for c in codec.coordinates])
        self._relaxed = np.array([n is None or n > MOST_LEVELS for n in levels]) & ~categorical
        self._discrete = [j for j, n in enumerate(levels) if n is not None and n > 1]
        self._scales = np.where(self._relaxed, np.clip(scales, 0.02, 1.0), 0.0)
        self._conditional = any(p.when for p in codec.space.parameters)

    def climb(self, rows: Array, values: Array) -> tuple[Array, Array]:
        """(m, d) admissible rows no worse than their starts, and their (m,) values."""
        for _ in range(ROUNDS if self._discrete else 1):
            before = values
            if self._relaxed.any():
                rows, values = self._continuous(rows, values)
            if self._discrete:
                rows, values = self._levels(rows, values)
            if np.all(values <= before + 1e-6):
                break
        return rows, values

    def _continuous(self, rows: Array, values: Array) -> tuple[Array, Array]:
        moved, _ = climb(self._acquisition.value_and_gradient, rows, self._movable(rows), CLIMB_STEPS)
        moved = self._admissible(rows, moved)
        reached = self._acquisition.values(moved)
        better = np.isfinite(reached) & (reached > values)
        return np.where(better[:, None], moved, rows), np.where(better, reached, values)

    def _movable(self, rows: Array) -> Array:
        """(m, d) scales of what may move: active coordinates without few levels."""
        found = np.tile(self._scales, (len(rows), 1))
        if self._conditional:
            for row, scale in zip(rows, found, strict=True):
                scale[~self._codec.active(self._codec.decode(row))] = 0.0
        return found

    def _admissible(self, starts: Array, ends: Array) -> Array:
        """The farthest points towards the ends that keep the parameter constraints, by halving; snapped."""
        found = self._codec.snap_many(ends)
        if not self._codec.space.constraints:
            return found
        for i in range(len(found)):
            for step in range(12):
                candidate = self._codec.snap(starts[i] + (ends[i] - starts[i]) * 0.5**step)
                if not self._codec.space.broken(self._codec.decode(candidate)):
                    found[i] = candidate
                    break
            else:
                found[i] = starts[i]
        return found

    def _levels(self, rows: Array, values: Array) -> tuple[Array, Array]:
        """Each discrete coordinate in turn: all its levels where they are few, neighbours and leaps where they are many."""
        rows, values = rows.copy(), values.copy()
        for j in self._discrete:
            coordinate = self._codec.coordinates[j]
            options = [_options(row[j], coordinate.levels or 1, coordinate.is_categorical) for row in rows]
            owner = np.repeat(np.arange(len(rows)), [len(o) for o in options])
            candidates = rows[owner]
            candidates[:, j] = np.concatenate(options)
            candidates = self._codec.snap_many(candidates)
            found = self._acquisition.values(candidates)
            if self._codec.space.constraints:
                broken = [bool(self._codec.space.broken(self._codec.decode(c))) for c in candidates]
                found[broken] = -np.inf
            for i in range(len(rows)):
                mine = np.flatnonzero(owner == i)
                best = mine[np.argmax(found[mine])]
                if found[best] > values[i]:
                    rows[i], values[i] = candidates[best], found[best]
        return rows, values


def _options(here: float, levels: int, is_categorical: bool) -> Array:
    """Coordinates worth trying instead of `here`."""
    if levels <= MOST_LEVELS or is_categorical:
        return (np.arange(min(levels, 200)) + 0.5) / levels
    leaps = np.unique(np.concatenate([[1, 2, 3], np.geomspace(4, levels / 2, 6).astype(np.int64)]))
    cell = min(int(here * levels), levels - 1)
    cells = np.unique(np.clip(np.concatenate([cell + leaps, cell - leaps]), 0, levels - 1))
    return np.asarray((cells + 0.5) / levels)

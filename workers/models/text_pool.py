"""A pool of candidate texts with their vectors, and what the trials of a study have said about it.

A candidate is the texts of all text parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History

from .encoders import PACKAGE
from .merit import is_full, scored
from .texts import candidate_key, components

Array = NDArray[np.float64]
Candidate = dict[str, str]
Key = tuple[tuple[str, str], ...]
ALIKE = 0.999
ROWS_AT_ONCE = 256
SMALLEST_DEVIATION = 1e-12


@dataclass(frozen=True)
class Pool:
    """Distinct candidates.

    Attributes:
        members: the candidates; the study's starting ones come first.
        vectors: (n, d), each of length 1 but for texts that mean nothing to the encoder.
        starts: how many of the first members are starting candidates.
        encoder: what made the vectors; those of different ones are never compared.
    """

    members: tuple[Candidate, ...]
    vectors: Array
    starts: int = 0
    encoder: str = PACKAGE
    places: Mapping[Key, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {candidate_key(m): i for i, m in enumerate(self.members)})

    @classmethod
    def of(cls, candidates: Sequence[Candidate], vectors: Array, starts: int = 0, encoder: str = PACKAGE) -> Pool:
        """The pool of candidates without those that mean nearly the same as an earlier one."""
        kept = distinct(vectors)
        return cls(tuple(candidates[i] for i in kept), vectors[kept], sum(i < starts for i in kept), encoder)

    def __len__(self) -> int:
        return len(self.members)

    def order(self, rng: np.random.Generator, starts_first: bool = True) -> list[int]:
        """The members in random order, the starting ones first."""
        first = list(range(self.starts)) if starts_first else []
        return first + [int(i) for i in rng.permutation(len(self)) if i >= len(first)]

    def spacing(self, rng: np.random.Generator, pairs: int = 2000) -> float:
        """Median distance between two members; 1 where there are none."""
        one, other = rng.integers(0, len(self), (2, pairs))
        apart = one != other
        if not apart.any():
            return 1.0
        return float(np.median(np.linalg.norm(self.vectors[one[apart]] - self.vectors[other[apart]], axis=1)))


def side_by_side(vectors: NDArray[np.float32], parts: int) -> Array:
    """(n, c·d) vectors of candidates of c parts from the (c·n, d) ones of their texts, part by part: together of length 1."""
    return np.asarray(np.concatenate(np.split(vectors.astype(np.float64), parts), axis=1) / np.sqrt(parts))


def distinct(vectors: Array) -> list[int]:
    """The rows of (n, d) unit vectors that are not nearly those of an earlier one that was kept (cosine above 0.999)."""
    kept: list[int] = []
    for start in range(0, len(vectors), ROWS_AT_ONCE):
        rows = vectors[start : start + ROWS_AT_ONCE]
        before = (rows @ vectors[kept].T).max(axis=1, initial=-1.0) > ALIKE
        among = rows @ rows.T > ALIKE
        new: list[int] = []
        for i in range(len(rows)):
            if not before[i] and not among[i, new].any():
                new.append(i)
        kept += [start + i for i in new]
    return kept


def strangers(pool: Pool, history: History) -> dict[Key, Candidate]:
    """The candidates of trials that are no members of the pool, by number: their order stays, so that calls for them do."""
    found = [components(history.spec.space, t.parameters) for t in history.trials]
    return {key: c for c in found if (key := candidate_key(c)) not in pool.places}


class Evaluations:
    """What the trials of a study say about the members of a pool and about texts beside it.

    A candidate that was told more than once counts once, with the mean of its merits.

    Args:
        beside: the (d,) vectors of the pool's `strangers`.

    Attributes:
        taken: (n,) members that some trial has, in any state.
        vectors: (k, d) of the candidates told.
        merits: (k,), higher is better.
        pending: vectors of the candidates whose outcome is to come.
        rows: the row of each told trial, by its number.
        places: the (d,) vector of each trial that is told or pending, by its number.
    """

    def __init__(self, pool: Pool, history: History, beside: Mapping[Key, Array]) -> None:
        self.pool = pool
        self._beside = beside
        space = history.spec.space
        keys = {t.number: candidate_key(components(space, t.parameters)) for t in history.trials}
        self.taken = np.zeros(len(pool), dtype=bool)
        self.taken[[pool.places[k] for k in keys.values() if k in pool.places]] = True
        self.rows: dict[int, int] = {}
        places: dict[Key, int] = {}
        merits: list[list[float]] = []
        for found in scored(history):
            if not is_full(found.trial, history.spec):
                continue
            number = found.trial.number
            row = self.rows[number] = places.setdefault(keys[number], len(places))
            if row == len(merits):
                merits.append([])
            merits[row].append(found.merit)
        self.merits = np.array([float(np.sum(np.array(m) / len(m))) for m in merits])
        self.vectors = self._vectors(list(places))
        waiting = {t.number: keys[t.number] for t in history.pending}
        self.pending = list(self._vectors([k for k in dict.fromkeys(waiting.values()) if k not in places]))
        numbers = [*self.rows, *waiting]
        self.places = dict(zip(numbers, self._vectors([keys[n] for n in numbers]), strict=True))

    def _vectors(self, keys: Sequence[Key]) -> Array:
        places = self.pool.places
        rows = [self.pool.vectors[places[k]] if k in places else self._beside[k] for k in keys]
        return np.array(rows).reshape(len(rows), self.pool.vectors.shape[1])

    def take(self, member: int) -> None:
        """Count a member as proposed."""
        self.taken[member] = True
        self.pending.append(self.pool.vectors[member])

    def start(self, wanted: int, rng: np.random.Generator, *, starts_first: bool = True) -> tuple[int, str] | None:
        """The next of the `wanted` members (half of a small pool) that are tried first, and words for it; None after them."""
        wanted = min(wanted, len(self.pool) // 2)
        if self.evaluated >= wanted and len(self.merits) >= 2:
            return None
        order = self.pool.order(rng, starts_first)
        return next(i for i in order if not self.taken[i]), f"start {self.evaluated + 1} of {max(2, wanted)}"

    @property
    def evaluated(self) -> int:
        """Candidates told or to be told."""
        return len(self.merits) + len(self.pending)

    @property
    def free(self) -> NDArray[np.intp]:
        """Members without a trial."""
        return np.flatnonzero(~self.taken)


def standardised(values: Array) -> tuple[Array, float, float]:
    """Values with mean 0 and deviation 1 (all 0 where they are equal), their mean and deviation; safe for any finite ones."""
    top = float(np.abs(values).max(initial=0.0)) or 1.0
    unit = values / top
    mean, deviation = float(unit.mean()), float(unit.std())
    if deviation < SMALLEST_DEVIATION:
        return np.zeros_like(values), mean * top, 0.0
    return (unit - mean) / deviation, mean * top, deviation * top

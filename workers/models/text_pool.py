"""A pool of candidate texts with their vectors, and what the trials of a study have said about it.

A candidate is the texts of all text parameters. The pool comes from the client, or is made by edits of the starting texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.document import Document, LongText, Name
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.parameters import TextParameter
from services.domain.space import Space
from services.domain.suggester import Problem

from .encoders import PACKAGE, EncoderError, load_encoder, pool_vectors
from .merit import scored
from .texts import TextRules, candidate_key, components, starting_candidates, text_parameters

Array = NDArray[np.float64]
Candidate = dict[str, str]
MOST_MEMBERS = 5000
MOST_FAULTS = 20
ALIKE = 0.999
ROWS_AT_ONCE = 256
TRIES_EACH = 20
Entry = LongText | dict[Name, LongText]


class PoolOptions(Document):
    """Where the candidates come from."""

    pool: Annotated[tuple[Entry, ...], Field(max_length=MOST_MEMBERS)] | None = Field(
        default=None,
        description="Candidates: texts, or objects with a text for each text parameter. If absent, edits of the starting texts.",
    )
    pool_size: int = Field(
        default=500, ge=20, le=MOST_MEMBERS, description="Candidates made by edits where no pool is given."
    )
    encoder: str = Field(default=PACKAGE, description="What turns texts into vectors.")


@dataclass(frozen=True)
class Pool:
    """Distinct candidates.

    Attributes:
        members: the candidates; the study's starting ones come first.
        vectors: (n, d), each of length 1 but for texts that mean nothing to the encoder.
        starts: how many of the first members are starting candidates.
        encoder: name of what made the vectors.
    """

    members: tuple[Candidate, ...]
    vectors: Array
    starts: int = 0
    encoder: str = PACKAGE
    places: Mapping[tuple[tuple[str, str], ...], int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {candidate_key(m): i for i, m in enumerate(self.members)})

    def __len__(self) -> int:
        return len(self.members)

    def order(self, rng: np.random.Generator, starts_first: bool = True) -> list[int]:
        """The members in random order, the starting ones first."""
        first = list(range(self.starts)) if starts_first else []
        return first + [int(i) for i in rng.permutation(len(self)) if i >= len(first)]

    def spacing(self, rng: np.random.Generator, pairs: int = 2000) -> float:
        """Median distance between two members."""
        one, other = rng.integers(0, len(self), (2, pairs))
        apart = one != other
        return float(np.median(np.linalg.norm(self.vectors[one[apart]] - self.vectors[other[apart]], axis=1)))


def make_pool(problem: Problem, options: PoolOptions) -> Pool:
    """The pool of a study: the same in every process.

    Raises:
        EncoderError: the encoder is not there.
    """
    starts, others = _candidates(problem, options)
    members = starts + others
    vectors = candidate_vectors(members, options.encoder)
    kept = distinct(vectors)
    return Pool(tuple(members[i] for i in kept), vectors[kept], sum(i < len(starts) for i in kept), options.encoder)


def _candidates(
    problem: Problem, options: PoolOptions, most: int | None = None
) -> tuple[list[Candidate], list[Candidate]]:
    """The starting candidates and the others, no two alike but for case and white space; `most` others at most."""
    space = problem.space
    has_starts = any(p.initial or p.default for p in text_parameters(space))
    starts = [c for c in starting_candidates(space) if all(c.values())] if has_starts else []
    if options.pool is None:
        return starts, _edited(problem, starts, options.pool_size if most is None else most)
    keys = {candidate_key(c) for c in starts}
    found: list[Candidate] = []
    for entry in options.pool:
        candidate = _candidate(space, entry)
        if candidate_key(candidate) not in keys:
            keys.add(candidate_key(candidate))
            found.append(candidate)
    return starts, found


def _candidate(space: Space, entry: str | Mapping[str, str]) -> Candidate:
    return {text_parameters(space)[0].name: entry} if isinstance(entry, str) else dict(entry)


def _edited(problem: Problem, starts: Sequence[Candidate], size: int) -> list[Candidate]:
    """Edits of edits of the starting candidates, one component at a time and each in its turn."""
    from .phrases import neighbour

    if not starts:
        return []
    parameters = text_parameters(problem.space)
    rules = [TextRules(p) for p in parameters]
    rng = problem.generator(0, "text pool")
    family = list(starts)
    keys = {candidate_key(c) for c in family}
    for turn in range(size * TRIES_EACH):
        if len(family) >= size + len(starts):
            break
        parent, place = family[int(rng.integers(len(family)))], turn % len(parameters)
        name = parameters[place].name

        def is_taken(text: str, parent: Candidate = parent, name: str = name) -> bool:
            return candidate_key({**parent, name: text}) in keys

        text = neighbour(parent[name], rules[place], rng, is_taken)
        if text is not None:
            family.append({**parent, name: text})
            keys.add(candidate_key(family[-1]))
    return family[len(starts) :]


def candidate_vectors(candidates: Sequence[Candidate], encoder: str) -> Array:
    """(n, c·d) vectors of candidates of c components: those of the components side by side, together of length 1."""
    if not candidates:
        return np.zeros((0, load_encoder(encoder).dimensions))
    names = sorted(candidates[0])
    parts = [pool_vectors([c[name] for c in candidates], encoder).astype(np.float64) for name in names]
    return np.asarray(np.concatenate(parts, axis=1) / np.sqrt(len(names)))


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


def refused(problem: Problem, options: PoolOptions, least: int) -> list[FieldError]:
    """What speaks against a pool: an encoder that is not there, texts that are no values, fewer than `least` distinct members."""
    try:
        load_encoder(options.encoder)
    except EncoderError as error:
        return [FieldError("/suggester/options/encoder", str(error))]
    problems = _entry_faults(problem.space, options.pool or ())
    if problems:
        return problems[:MOST_FAULTS]
    starts, others = _candidates(problem, options, most=4 * least)
    found = starts + others
    # Most pools have what is needed among the first few: the rest is encoded only where they have not.
    if len(distinct(candidate_vectors(found[: 4 * least], options.encoder))) >= least:
        return []
    count = len(distinct(candidate_vectors(found, options.encoder)))
    if count >= least:
        return []
    if options.pool is not None:
        return [FieldError("/suggester/options/pool", f"has {count} distinct texts, at least {least} are needed")]
    message = f"without a pool, the starting texts must allow {least} distinct edits; they allow {count}"
    return [FieldError("/suggester/options/pool", message)]


def _entry_faults(space: Space, entries: Iterable[Entry]) -> list[FieldError]:
    parameters = text_parameters(space)
    names = {p.name for p in parameters}
    problems: list[FieldError] = []
    for i, entry in enumerate(entries):
        pointer = f"/suggester/options/pool/{i}"
        if isinstance(entry, str) and len(parameters) > 1:
            problems.append(
                FieldError(pointer, f"must be an object with a text for each of {', '.join(sorted(names))}")
            )
        elif not isinstance(entry, str) and set(entry) != names:
            problems.append(FieldError(pointer, f"must have a text for each of {', '.join(sorted(names))}"))
        else:
            candidate = _candidate(space, entry)
            problems += [FieldError(pointer, fault) for p in parameters if (fault := _fault(p, candidate[p.name]))]
    return problems


class Evaluations:
    """What the trials of a study say about the members of a pool and about texts beside it.

    A candidate that was told more than once counts once, with the mean of its merits.

    Attributes:
        taken: (n,) members that some trial has, in any state.
        vectors: (k, d) of the candidates told.
        merits: (k,), higher is better.
        pending: vectors of the candidates whose outcome is to come.
        rows: the row of each told trial, by its number.
    """

    def __init__(self, pool: Pool, history: History) -> None:
        self.pool = pool
        space = history.spec.space
        candidates = {t.number: components(space, t.parameters) for t in history.trials}
        keys = {number: candidate_key(c) for number, c in candidates.items()}
        self.taken = np.zeros(len(pool), dtype=bool)
        self.taken[[pool.places[k] for k in keys.values() if k in pool.places]] = True
        self.rows: dict[int, int] = {}
        places: dict[tuple[tuple[str, str], ...], int] = {}
        merits: list[list[float]] = []
        told: list[Candidate] = []
        for found in scored(history):
            number = found.trial.number
            row = places.setdefault(keys[number], len(places))
            if row == len(merits):
                merits.append([])
                told.append(candidates[number])
            merits[row].append(found.merit)
            self.rows[number] = row
        self.merits = np.array([float(np.sum(np.array(m) / len(m))) for m in merits])
        self.vectors = self._vectors(told)
        waiting = {keys[t.number]: candidates[t.number] for t in history.pending if keys[t.number] not in places}
        self.pending = list(self._vectors(list(waiting.values())))

    def _vectors(self, candidates: Sequence[Candidate]) -> Array:
        places = [self.pool.places.get(candidate_key(c)) for c in candidates]
        strangers = [c for c, place in zip(candidates, places, strict=True) if place is None]
        beside = iter(candidate_vectors(strangers, self.pool.encoder))
        rows = [next(beside) if place is None else self.pool.vectors[place] for place in places]
        return np.array(rows).reshape(len(rows), self.pool.vectors.shape[1])

    def take(self, member: int) -> None:
        """Count a member as proposed."""
        self.taken[member] = True
        self.pending.append(self.pool.vectors[member])

    @property
    def free(self) -> NDArray[np.intp]:
        """Members without a trial."""
        return np.flatnonzero(~self.taken)


def standardised(values: Array) -> tuple[Array, float, float]:
    """Values with mean 0 and deviation 1 (all 0 where they are equal), their mean and deviation; safe for any finite ones."""
    top = float(np.abs(values).max(initial=0.0)) or 1.0
    unit = values / top
    mean, deviation = float(unit.mean()), float(unit.std())
    if deviation < 1e-12:
        return np.zeros_like(values), mean * top, 0.0
    return (unit - mean) / deviation, mean * top, deviation * top


def _fault(parameter: TextParameter, text: str) -> str | None:
    try:
        parameter.accept(text)
    except ValueError as error:
        return str(error)
    return None

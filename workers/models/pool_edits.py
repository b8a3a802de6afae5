"""Candidates by edits of edits of others: a pool without a language model (card prompt 3, 5)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache

import numpy as np

from services.domain.parameters import TextParameter
from services.domain.suggester import Problem

from .text_pool import Candidate, Key
from .texts import TextRules, candidate_key, text_parameters

MOST_MISSES = 20
FAMILIES_KEPT = 16


def edits_of(problem: Problem, parents: Sequence[Candidate], size: int) -> list[Candidate]:
    """Up to `size` edits of the parents and of one another; the same for the same study in every process."""
    frozen = tuple(tuple(sorted(c.items())) for c in parents)
    return list(_kept(text_parameters(problem.space), problem.seed, frozen, size))


@lru_cache(maxsize=FAMILIES_KEPT)
def _kept(
    parameters: tuple[TextParameter, ...], seed: int, parents: tuple[Key, ...], size: int
) -> tuple[Candidate, ...]:
    """Kept, for a study's suggester may be made anew at any time and its edits cost more than a suggestion."""
    from services.domain.sampling import generator

    return tuple(edited(parameters, [dict(p) for p in parents], size, generator(seed, 0, "text pool"), ()))


def edited(
    parameters: Sequence[TextParameter],
    parents: Sequence[Candidate],
    size: int,
    rng: np.random.Generator,
    known: Collection[Key],
) -> list[Candidate]:
    """Up to `size` edits of edits of the parents that are not known, one component at a time and each in its turn."""
    from .phrases import neighbour

    if not parents:
        return []
    rules = [TextRules(p) for p in parameters]
    family = list(parents)
    keys = {candidate_key(c) for c in family} | set(known)
    turn = misses = 0
    while len(family) < size + len(parents) and misses < MOST_MISSES * len(parameters):
        parent, place = family[int(rng.integers(len(family)))], turn % len(parameters)
        name, turn, misses = parameters[place].name, turn + 1, misses + 1

        def is_taken(text: str, parent: Candidate = parent, name: str = name) -> bool:
            return candidate_key({**parent, name: text}) in keys

        text = neighbour(parent[name], rules[place], rng, is_taken)
        if text is not None:
            family.append({**parent, name: text})
            keys.add(candidate_key(family[-1]))
            misses = 0
    return family[len(parents) :]

"""Merging two candidates that grew from one ancestor: each component from the side that changed it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .pool import Candidate, Texts

Triple = tuple[int, int, int]
FEWEST_EXAMPLES = 5


@dataclass(frozen=True)
class Merger:
    """Two candidates, and the ancestor that they share."""

    first: Candidate
    second: Candidate
    ancestor: Candidate

    @property
    def triple(self) -> Triple:
        """Their trial numbers."""
        return self.first.number, self.second.number, self.ancestor.number

    def texts(self, rng: np.random.Generator) -> Texts:
        """The merged candidate.

        A component that one side changed is that side's; one that both changed is that of the better mean, by a coin among equals.
        """
        merged = {}
        for name, old in self.ancestor.texts.items():
            one, two = self.first.texts[name], self.second.texts[name]
            if one == two or two == old:
                merged[name] = one
            elif one == old:
                merged[name] = two
            else:
                gap = self.first.mean - self.second.mean
                merged[name] = one if gap > 0 or (gap == 0 and rng.integers(2)) else two
        return merged

    def examples(self, ids: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
        """Ids to try it on: a third where the first is better, a third where the second is, a third of ties; filled up at random."""
        gaps = self.first.scores - self.second.scores
        chosen: list[int] = []
        for kind in (gaps > 0, gaps < 0, gaps == 0):
            most = min(math.ceil(count / 3), count - len(chosen))
            chosen += _drawn(np.flatnonzero(kind), most, rng)
        rest = np.setdiff1d(np.arange(len(ids)), chosen)
        return [ids[i] for i in chosen + _drawn(rest, count - len(chosen), rng)]


def _drawn(places: np.ndarray[tuple[int], np.dtype[np.intp]], most: int, rng: np.random.Generator) -> list[int]:
    return [int(i) for i in rng.permutation(places)[:most]]


def mergers(pool: Sequence[Candidate], among: Iterable[int], done: Iterable[Triple]) -> list[Merger]:
    """Every merger that may be tried.

    Args:
        among: places in the pool of those that may be merged.
        done: mergers that were tried before.

    Neither side descends from the other; the ancestor is better than neither; at least one component is the ancestor's in exactly
    one of them.
    """
    by_number = {c.number: c for c in pool}
    tried = set(done)
    sides = sorted((pool[i] for i in among), key=lambda c: c.number)
    found = []
    for place, first in enumerate(sides):
        above_first = ancestors(first, by_number)
        for second in sides[place + 1 :]:
            above_second = ancestors(second, by_number)
            if second.number in above_first or first.number in above_second:
                continue
            for number in sorted(above_first & above_second):
                merger = Merger(first, second, by_number[number])
                if merger.triple not in tried and _is_worth_it(merger):
                    found.append(merger)
    return found


def ancestors(candidate: Candidate, by_number: Mapping[int, Candidate]) -> set[int]:
    """The trial numbers of all that it descends from."""
    found: set[int] = set()
    left = list(candidate.parents)
    while left:
        number = left.pop()
        if number in by_number and number not in found:
            found.add(number)
            left += by_number[number].parents
    return found


def _is_worth_it(merger: Merger) -> bool:
    if merger.ancestor.mean > min(merger.first.mean, merger.second.mean):
        return False
    old = merger.ancestor.texts
    return any((merger.first.texts[n] == old[n]) != (merger.second.texts[n] == old[n]) for n in old)

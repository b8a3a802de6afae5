"""Which prompts to evaluate next on which examples: pulls as a pure function of what earlier pulls brought."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.intp]
Means = NDArray[np.float64]


@dataclass(frozen=True)
class Pull:
    """Arms to evaluate on the same examples.

    Attributes:
        arms: their places.
        ids: examples.
    """

    arms: tuple[int, ...]
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Stats:
    """What is known of n arms.

    Attributes:
        counts: (n,) examples evaluated.
        means: (n,) of their scores, 0 where none is.
    """

    counts: Counts
    means: Means


Draw = Callable[[int, int], tuple[str, ...]]
"""Distinct random example ids for a pull: (pull, how many)."""


def upper_confidence(stats: Stats, exploration: float) -> Means:
    """(n,) mean + c·sqrt(ln t / n_i) with t examples in all (Auer, Cesa-Bianchi, Fischer 2002); infinite for one not tried."""
    total = max(int(stats.counts.sum()), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        radius = exploration * np.sqrt(math.log(total) / stats.counts)
    return np.where(stats.counts == 0, np.inf, stats.means + radius)


def top(values: Means, count: int) -> tuple[int, ...]:
    """The places of the largest values, the earlier one among equals."""
    return tuple(int(i) for i in np.argsort(-values, kind="stable")[:count])


@dataclass(frozen=True)
class Ucb:
    """UCB: every pull takes the arms with the highest upper confidence bounds; the first one takes random arms."""

    pulls: int
    size: int
    examples: int
    exploration: float

    def next(self, index: int, stats: Stats, order: Sequence[int], draw: Draw) -> Pull | None:
        """The pull of an index, None after the last one.

        Args:
            order: a random order of the arms; decides among those that were not tried.
        """
        if index >= self.pulls:
            return None
        bounds = upper_confidence(stats, self.exploration)[list(order)]
        return Pull(tuple(order[i] for i in top(bounds, self.size)), draw(index, self.examples))


@dataclass(frozen=True)
class Halving:
    """Successive halving (Karnin, Koren, Somekh 2013): an equal share of the budget a round, the worse half goes."""

    budget: int

    def next(self, index: int, stats: Stats, order: Sequence[int], draw: Draw) -> Pull | None:
        """The pull of an index, None after the last one."""
        arms = len(order)
        rounds = max(1, math.ceil(math.log2(arms)))
        if index >= rounds:
            return None
        # Whoever was evaluated on the most is left from the last round.
        left = math.ceil(arms / 2**index)
        ranking = sorted(range(arms), key=lambda i: (-stats.counts[i], -stats.means[i], i))
        chosen = tuple(ranking[:left]) if index else tuple(order)
        return Pull(chosen, draw(index, max(1, self.budget // (rounds * left))))


@dataclass(frozen=True)
class Brute:
    """Every arm on the same examples, the budget spread evenly."""

    budget: int

    def next(self, index: int, stats: Stats, order: Sequence[int], draw: Draw) -> Pull | None:
        """The only pull, None after it."""
        return None if index else Pull(tuple(order), draw(0, max(1, self.budget // len(order))))


Evaluator = Ucb | Halving | Brute

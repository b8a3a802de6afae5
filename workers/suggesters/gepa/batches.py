"""Minibatches of example ids: every epoch goes once through all of them in a new order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from services.domain.suggester import Problem


class Batches:
    """The n-th minibatch as a pure function of n, so that any number of them may be in use at one time.

    An epoch whose last batch is short is filled up with the ids that were used least so far.

    Args:
        ids: at least one.
        size: of a batch; all ids where there are fewer.
    """

    def __init__(self, problem: Problem, ids: Sequence[str], size: int) -> None:
        self._problem = problem
        self._ids = tuple(ids)
        self.size = min(size, len(ids))
        self.per_epoch = -(-len(ids) // self.size)
        self._epochs: list[list[str]] = []
        self._used: Counter[str] = Counter()

    def of(self, index: int) -> list[str]:
        """The ids of batch `index` >= 0."""
        epoch, place = divmod(index, self.per_epoch)
        while len(self._epochs) <= epoch:
            self._epochs.append(self._shuffled(len(self._epochs)))
        return self._epochs[epoch][place * self.size : (place + 1) * self.size]

    def _shuffled(self, epoch: int) -> list[str]:
        order = self._problem.generator(epoch, "gepa epoch").permutation(len(self._ids))
        ids = [self._ids[i] for i in order]
        self._used.update(ids)
        short = self.per_epoch * self.size - len(ids)
        last = set(ids[len(ids) - len(ids) % self.size :])
        others = [i for i in ids if i not in last]
        padding = sorted(others, key=lambda i: self._used[i])[:short]
        self._used.update(padding)
        return ids + padding

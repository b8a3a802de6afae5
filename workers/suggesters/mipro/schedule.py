"""Which trial comes when: minibatches, and after every few of them the best one in full."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["search", "confirm"]
SIZES = {"light": 6, "medium": 12, "heavy": 18}
SMALLEST_CUT = 50
MINIBATCH = 35


@dataclass(frozen=True)
class Schedule:
    """The numbers of a run.

    Attributes:
        instructions: candidates for each text, the original included.
        sets: of demonstrations for each carrier, the empty one included.
        trials: of the search.
        minibatch: examples of a search trial; None where each is scored on the full set.
        full_every: search trials between two confirmations.
    """

    instructions: int
    sets: int
    trials: int
    minibatch: int | None
    full_every: int

    def slots(self) -> Sequence[Kind]:
        """The order of trials; without minibatches every one is a full evaluation already, and nothing is left to confirm."""
        if self.minibatch is None:
            return ["search"] * self.trials
        found: list[Kind] = []
        for number in range(1, self.trials + 1):
            found.append("search")
            if number % self.full_every == 0 or number == self.trials:
                found.append("confirm")
        return found


def preset_trials(size: int, texts: int, has_demonstrations: bool) -> int:
    """Search trials for n = `size` candidates: max(2 V log2 n, 1.5 n), with V texts, or 2 V where there are demonstrations."""
    variables = texts * (2 if has_demonstrations else 1)
    return int(max(2 * variables * math.log2(size), 1.5 * size))

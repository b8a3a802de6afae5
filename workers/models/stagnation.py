"""When a run of an evolution strategy is over: what its generations brought, and what that says.

The rules of Auger, Hansen 2005, "A restart CMA evolution strategy with increasing population size", in constant memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from .generations import Key

SMALLEST_GAIN = 1e-12


@dataclass
class Run:
    """One run between two restarts.

    Attributes:
        number: of the run, from 0.
        generations: closed so far.
        best: number of its best trial and what that is ranked by; None if nothing was evaluated.
        gained: the generation that last brought more than 1e-12.
        median: the best median; raised: the generation that brought it.
    """

    number: int = 0
    generations: int = 0
    best: tuple[int, Key] | None = None
    gained: int = 0
    median: Key | None = None
    raised: int = 0

    def add(self, numbers: Sequence[int], keys: Sequence[Key]) -> None:
        """A closed generation: its trials and what they are ranked by."""
        self.generations += 1
        ordered = sorted(zip(keys, numbers, strict=True))
        key, number = ordered[0]
        before = None if self.best is None else self.best[1]
        if key[0] < 2 and (before is None or key < before):
            self.best = number, key
            if before is None or key[0] < before[0] or key[1] < before[1] - SMALLEST_GAIN:
                self.gained = self.generations
        middle = ordered[len(ordered) // 2][0]
        if self.median is None or middle < self.median:
            self.median, self.raised = middle, self.generations

    def has_stalled(self, keys: Sequence[Key], size: int, *, knows_plateaus: bool) -> bool:
        """Whether its medians stagnate or all its values are equal.

        Args:
            keys: of the generation that closed last.
            size: coordinates.
            knows_plateaus: equal values are no sign of an end, for most coordinates have steps.
        """
        rows = len(keys)
        if self.generations - self.raised > 100 + 100 * size**1.5 / rows:
            return True
        (low, least), (high, most) = min(keys), max(keys)
        is_flat = low == high and most / 2 - least / 2 < SMALLEST_GAIN / 2  # halves, for the difference must be finite
        return is_flat and not knows_plateaus and self.generations - self.gained > 10 + math.ceil(30 * size / rows)

    def save(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """What `save` gave."""
        found = cls(**saved)
        if found.best is not None:
            found.best = found.best[0], (found.best[1][0], found.best[1][1])
        if found.median is not None:
            found.median = found.median[0], found.median[1]
        return found

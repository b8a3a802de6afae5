"""What a run has spent and reached: example evaluations, and the best prompt that was scored on every validation example."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .landscapes import Landscape


class BudgetSpent(Exception):
    """The next evaluation would exceed the budget."""


@dataclass
class Meter:
    """Evaluates a landscape and counts.

    Attributes:
        budget: example evaluations.
        curve: (spent, best so far) after each prompt that was scored in full.
        calls: of the optimiser language model.
        prompts: distinct ones that were scored on anything.
    """

    landscape: Landscape
    budget: int
    spent: int = 0
    calls: int = 0
    best: float = 0.0
    best_text: str = ""
    curve: list[tuple[int, float]] = field(default_factory=list)
    _scores: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def prompts(self) -> int:
        """How many distinct prompts were evaluated."""
        return len(self._scores)

    def rows(self, text: str, ids: Iterable[str]) -> list[dict[str, Any]]:
        """Evaluate a prompt on examples.

        Raises:
            BudgetSpent: it would cost more than is left; nothing is evaluated.
        """
        ids = list(ids)
        if self.spent + len(ids) > self.budget:
            raise BudgetSpent
        self.spent += len(ids)
        found = [self.landscape.row(text, example) for example in ids]
        scores = self._scores.setdefault(text, {})
        scores |= {row["id"]: row["score"] for row in found}
        validation = self.landscape.validation
        if all(example in scores for example in validation) and any(example in ids for example in validation):
            reached = sum(scores[example] for example in validation) / len(validation)
            if reached > self.best:
                self.best, self.best_text = reached, text
            self.curve.append((self.spent, self.best))
        return found

    def at(self, spent: int) -> float:
        """The best after so many example evaluations."""
        return max((best for when, best in self.curve if when <= spent), default=0.0)

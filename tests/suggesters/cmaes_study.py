"""Driving `cmaes` without a service: whole generations at a time, or one by one, with every kind of outcome."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History
from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.models.cma_adapter import CmaAdapter
from workers.suggesters.cmaes.suggester import CmaEs
from workers.suggesters.registry import get

Array = NDArray[np.float64]
Parameters = list[dict[str, Any]]


def floats(n: int, low: float = 0.0, high: float = 1.0) -> Parameters:
    """n numbers."""
    return [{"name": f"x{i:02d}", "type": "float", "min": low, "max": high} for i in range(n)]


def adapter(
    n: int = 6, popsize: int = 9, room: float = 1e6, whole: list[int] | None = None, *, start: float = 0.0, sigma: float = 0.3
) -> CmaAdapter:  # fmt: skip
    """A fresh distribution."""
    return CmaAdapter.fresh(
        start=np.full(n, float(start)), sigma=sigma, lower=np.full(n, -room), upper=np.full(n, room), stds=np.ones(n),
        popsize=popsize, whole=whole or [], diagonal=False,
    )  # fmt: skip


class Driven:
    """A study under `cmaes` and its history, growing with each outcome."""

    def __init__(
        self, parameters: Parameters, seed: int = 1, options: dict[str, Any] | None = None, **fields: Any
    ) -> None:
        made = study(
            parameters=parameters, suggester={"name": "cmaes", "options": options or {}}, seed=seed, **fields
        )  # fmt: skip
        made.check()
        self.one = law.Study(law.Problem(study="s", spec=made, seed=seed))
        self.history: History = self.one.history()
        self.suggester = self.make()

    def make(self, saved: bytes | None = None) -> CmaEs:
        """A new suggester for the same study."""
        found = law.make(get("cmaes"), self.one.problem, saved)
        assert isinstance(found, CmaEs)
        return found

    def ask(self, count: int = 1) -> list[Suggestion]:
        """Points."""
        return self.suggester.suggest(self.history, count)

    def start(self, suggestion: Suggestion) -> int:
        """A running trial of a suggestion."""
        number = self.one.start(suggestion)
        self._learn(number)
        return number

    def tell(self, number: int, value: float = 0.0, state: TrialState = TrialState.COMPLETED, **metrics: float) -> None:
        """An outcome."""
        self.one.tell(number, value, state, feedback=None, examples=None, **metrics)
        self._learn(number)

    def add(self, point: dict[str, Any], value: float) -> int:
        """A told trial of the user's own."""
        number = self.one.add(point)
        self.tell(number, value)
        return number

    def _learn(self, *numbers: int) -> None:
        trials = [self.one.trials[number] for number in numbers]
        self.history.update(trials, seq=self.one.seq, next_number=len(self.one.trials) + 1)

    def run(
        self, objective: Callable[[Array], float], most: int, target: float = -math.inf, count: int = 1
    ) -> tuple[int, float]:
        """Ask and tell until the target: trials told and the best value.

        Args:
            count: asked for at a time.
        """
        best = math.inf
        while len(self.one.trials) < most:
            new = []
            for suggestion in self.ask(count):
                value = float(objective(np.array(list(suggestion.parameters.values()), dtype=float)))
                number = self.one.start(suggestion)
                self.one.tell(number, value)
                new.append(number)
                best = min(best, value)
                if best <= target:
                    return len(self.one.trials), best
            self._learn(*new)
        return len(self.one.trials), best

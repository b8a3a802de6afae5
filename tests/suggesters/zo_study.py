"""Studies for `zo`: made in one line, run without a service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from services.domain.history import Observation
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.registry import get
from workers.suggesters.zo.descent import Descent

Outcome = Callable[[dict[str, Any]], dict[str, float]]


def floats(*names: str, low: float = 0.0, high: float = 1.0) -> list[dict[str, Any]]:
    """Numbers between two bounds."""
    return [{"name": name, "type": "float", "min": low, "max": high} for name in names]


def vector(length: int, low: float = -5.0, high: float = 5.0, default: float | None = None) -> list[dict[str, Any]]:
    """One vector `w`."""
    found: dict[str, Any] = {"name": "w", "type": "vector", "length": length, "min": low, "max": high}
    return [found if default is None else found | {"default": [default] * length}]


def problem(
    parameters: list[dict[str, Any]], seed: int = 1, fields: dict[str, Any] | None = None, **options: Any
) -> Problem:
    """A study for `zo`."""
    made = study(parameters=parameters, suggester={"name": "zo", "options": options}, seed=seed, **(fields or {}))
    get("zo").check(made)
    return Problem(study="s", spec=made, seed=seed)


class Run:
    """A study that is told as it asks; the history grows as the service's does."""

    def __init__(self, of: Problem) -> None:
        self.one = law.Study(of)
        made = law.make(get("zo"), of)
        assert isinstance(made, Descent)
        self.suggester = made
        self._history = self.one.history()

    def ask(self, count: int = 1) -> list[Observation]:
        """New trials, running."""
        numbers = [self.one.start(s) for s in self.suggester.suggest(self._history, count)]
        self.seen(*numbers)
        return [self.one.trials[n] for n in numbers]

    def seen(self, *numbers: int) -> None:
        """The history takes in trials that changed."""
        changed = [self.one.trials[n] for n in numbers]
        self._history.update(changed, seq=self.one.seq, next_number=len(self.one.trials) + 1)

    def tell(self, number: int, value: float = 0.0, state: TrialState = TrialState.COMPLETED) -> None:
        """An outcome."""
        self.one.tell(number, value, state)
        self.seen(number)

    def answer(self, trial: Observation, outcome: Outcome) -> None:
        """The metrics of a point."""
        metrics = outcome(trial.parameters)
        self.one.tell(trial.number, 0.0, TrialState.COMPLETED, feedback=None, examples=None, **metrics)
        self.seen(trial.number)

    def until(self, trials: int, outcome: Outcome, count: int = 1) -> Run:
        """Tell so many trials in all, `count` at a time."""
        while len(self.one.trials) < trials:
            for trial in self.ask(count):
                self.answer(trial, outcome)
        return self

    @property
    def recommended(self) -> dict[str, Any]:
        """The point that would be reported now."""
        self.suggester.suggest(self._history, 1)
        steps = self.suggester._steps
        return self.suggester._coordinates.point(steps.scheme.recommend())

    @property
    def steps(self) -> int:
        """Gradient steps taken."""
        self.suggester.suggest(self._history, 1)
        return self.suggester._steps.step

    @property
    def x(self) -> np.ndarray:
        """The iterate."""
        self.suggester.suggest(self._history, 1)
        return self.suggester._steps.scheme.x


def sphere(p: dict[str, Any]) -> dict[str, float]:
    """Minimum 0 at the zero vector."""
    return {"loss": float(np.square(p["w"]).sum())}


def squares(p: dict[str, Any]) -> dict[str, float]:
    """Minimum 0 at (2, 3, 4)."""
    return {"loss": float((p["x"] - 2) ** 2 + (p["y"] - 3) ** 2 + (p["z"] - 4) ** 2)}


def path(of: Problem, how: str, tell: Callable[[law.Study, int], None], *, calls: int, most: int) -> list[Any]:
    """The points of a study in which outcomes come out of order, restarted between the calls.

    Args:
        how: the suggester is restored from what it "saved" before each call, "lost" at every ninth, or lives on.
        tell: the outcome of a trial.
        calls: asks, each for one point to `most`.
    """
    one, suggester, running, found = law.Study(of), law.make(get("zo"), of), list[int](), []
    for n in range(calls):
        if how == "saved":
            suggester = law.make(get("zo"), of, law.save(suggester))
        elif how == "lost" and n % 9 == 0:
            suggester = law.make(get("zo"), of)
        for suggestion in suggester.suggest(one.history(), 1 + n % most):
            found.append(suggestion.parameters)
            running.append(one.start(suggestion))
        while len(running) > 4:
            tell(one, running.pop(n * 7919 % len(running)))
    return found


def ending(number: int, usual: TrialState = TrialState.COMPLETED) -> TrialState:
    """How a trial of a `path` ends: every ninth in one of the other ways, in turn."""
    return usual if number % 9 else list(TrialState)[-1 - number // 9 % 4]

"""Studies of searches that go one step after another, without a service: told one by one, or in any order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import rosenbrock
from workers.suggesters.registry import get

CELLS: list[dict[str, Any]] = [
    {"name": "n", "type": "int", "min": 0, "max": 50},
    {"name": "kind", "type": "categorical", "choices": ["a", "b", "c", "d"]},
    {"name": "x", "type": "float", "min": 0, "max": 1},
]


def from_best_cell(point: list[Any]) -> float:
    """How far a point of `CELLS` is from its best one, at 37, c, 0.2."""
    n, kind, x = point
    return float(abs(n - 37) + 10 * (kind != "c") + (x - 0.2) ** 2)


def problem(name: str, d: int = 3, seed: int = 5, options: dict[str, Any] | None = None, **fields: Any) -> law.Problem:
    """A study of a suggester over d numbers from 0 to 1, or over the given parameters."""
    parameters = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]
    fields = {"parameters": parameters} | fields
    made = study(suggester={"name": name, "options": options or {}}, seed=seed, **fields)
    return law.Problem(study="s", spec=made, seed=seed)


def fresh(of: law.Problem) -> law.Suggester:
    """The study's suggester, just made."""
    return law.make(get(of.spec.suggester.name), of)


def optimise(of: law.Problem, outcome: Callable[[list[Any]], Any], trials: int) -> law.Study:
    """Tell one after another what comes of a point's values: a value, a document of metrics, or a state."""
    one, suggester = law.Study(of), fresh(of)
    history = one.history()
    for _ in range(trials):
        found = suggester.suggest(history, 1)
        if not found:
            break
        number = one.start(found[0])
        told = outcome(values(one, number))
        if isinstance(told, TrialState):
            one.tell(number, 0.0, told)
        else:
            one.tell(number, 0.0, **(told if isinstance(told, dict) else {"loss": told}))
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one


def values(one: law.Study, number: int) -> list[Any]:
    """Of a trial's parameters."""
    return list(one.trials[number].parameters.values())


def lowest(one: law.Study) -> float:
    """The best feasible value."""
    return min(t.metrics["loss"] for t in one.trials.values() if t.metrics and t.feasible is not False)


def ask(one: law.Study, count: int = 1) -> list[int]:
    """Trials of a suggester that was just made."""
    return [one.start(s) for s in fresh(one.problem).suggest(one.history(), count)]


def path(of: law.Problem, rounds: int, running: int, every: int) -> list[dict[str, Any]]:
    """The points where outcomes come out of order, a ninth of them none, and the suggester is lost after every so many asks.

    Args:
        running: trials out at one time.
    """
    one, found, out = law.Study(of), list[dict[str, Any]](), list[int]()
    suggester, history = fresh(of), one.history()
    for n in range(rounds):
        if n % every == 0:
            suggester, history = fresh(of), one.history()
        suggestion = suggester.suggest(history, 1)[0]
        found.append(suggestion.parameters)
        out.append(one.start(suggestion))
        while len(out) > running:
            number = out.pop(n * 7919 % len(out))
            state = TrialState.COMPLETED if number % 9 else list(TrialState)[-1 - number // 9 % 4]
            one.tell(number, rosenbrock(values(one, number)), state, c=math.cos(number))
        history.update(one.trials.values(), seq=one.seq, next_number=len(one.trials) + 1)
    return found

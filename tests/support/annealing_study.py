"""Studies of annealing, told one after another."""

from __future__ import annotations

from typing import Any

from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.registry import get


def problem(
    parameters: list[dict[str, Any]], seed: int = 5, options: dict[str, Any] | None = None, **fields: Any
) -> Any:
    """A study of annealing."""
    made = study(parameters=parameters, suggester={"name": "annealing", "options": options or {}}, seed=seed, **fields)
    made.check()
    return law.Problem(study="s", spec=made, seed=seed)


def run(of: Any, score: Any, trials: int) -> law.Study:
    """Trials one after another; `score` gives a value or metrics."""
    one, suggester = law.Study(of), law.make(get("annealing"), of)
    history = one.history()
    for _ in range(trials):
        suggestion = suggester.suggest(history, 1)[0]
        number, told = one.start(suggestion), score(suggestion.parameters)
        one.tell(number, 0.0, **told) if isinstance(told, dict) else one.tell(number, told)
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one


def best(one: law.Study) -> float:
    """The lowest loss of feasible trials."""
    return min(t.metrics["loss"] for t in one.trials.values() if t.feasible is not False)

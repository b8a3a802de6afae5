"""A catalogue entry on a function: asked for one trial after the other as the service would ask it, without the service."""

from __future__ import annotations

import json

import numpy as np

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from workers.suggesters.registry import get

from .functions import LOWER, UPPER, Function


def study(name: str, options: dict[str, object], dimension: int, seed: int, budget: int | None) -> StudySpec:
    """A study over the box."""
    made = StudySpec.model_validate_json(
        json.dumps(
            {
                "name": "bbob",
                "parameters": [
                    {"name": f"x{j:02}", "type": "float", "min": LOWER, "max": UPPER} for j in range(dimension)
                ],
                "objectives": [{"metric": "f"}],
                "suggester": {"name": name, "options": options},
                "seed": seed,
                "limits": {} if budget is None else {"max_trials": budget},
            }
        )
    )
    made.check()
    return made


def run(entry: str, function: Function, told: int | None, seed: int) -> None:
    """Minimise until the function says that it is done.

    Args:
        entry: `NAME` or `NAME{JSON options}`.
        told: the budget that the study knows, None if it knows none.
    """
    name, brace, rest = entry.partition("{")
    spec = get(name)
    of = study(name, json.loads(brace + rest) if brace else {}, function.dimension, seed, told)
    suggester = spec.create(Problem(study="bbob", spec=of, seed=seed), spec.parse_options(of.suggester.options), None)
    history, number = History(of), 0
    history.update([], seq=0, next_number=1)
    while True:
        (suggestion,) = suggester.suggest(history, 1)
        number += 1
        value = function(np.array([suggestion.parameters[p.name] for p in of.parameters]))
        trial = Observation(
            number=number, told_seq=number, state=TrialState.COMPLETED, parameters=suggestion.parameters,
            metrics={"f": value}, origin=suggestion.origin, suggester=suggestion.suggester, feasible=True,
        )  # fmt: skip
        history.update([trial], seq=number, next_number=number + 1)

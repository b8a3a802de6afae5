"""Prompts beside numbers: one study tunes a prompt, a temperature, a model and the order of demonstrations together."""

from __future__ import annotations

import functools
from collections import Counter
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm
from workers.models.merit import scored
from workers.suggesters.beside import Beside
from workers.suggesters.registry import get

START = "Read the review with care, think about its tone, and say in one word whether the writer was happy."
PARAMETERS = [
    {"name": "prompt", "type": "text", "initial": [START]},
    {"name": "temperature", "type": "float", "min": 0, "max": 2},
    {"name": "model", "type": "categorical", "choices": ["small", "medium", "large"]},
    {"name": "shots", "type": "permutation", "items": ["a", "b", "c"]},
    {"name": "top_p", "type": "float", "min": 0, "max": 1, "when": {"model": ["large"]}},
]


def problem(name: str = "plum", **fields: Any) -> Problem:
    document = {"parameters": PARAMETERS, "objectives": [{"metric": "score", "goal": "maximize"}], "seed": 5}
    spec = study(**{**document, "suggester": {"name": name}, **fields})
    get(name).check(spec)
    return Problem(study="s", spec=spec, seed=spec.seed or 0)


def parts(point: dict[str, Any]) -> dict[str, float]:
    """What each parameter adds."""
    words = point["prompt"].casefold().split()
    return {
        "prompt": -0.05 * len(words) + 0.5 * ("review" in words),
        "temperature": -abs(point["temperature"] - 0.3),
        "model": {"small": 0.0, "medium": 0.6, "large": 0.3}[point["model"]],
        "shots": 0.3 * (point["shots"][0] == "c"),
    }


def run(of: Problem, trials: int, llm: ScriptedLlm | None = None) -> law.Study:
    one = law.Study(of, llm)
    suggester = law.make(get(of.spec.suggester.name), of)
    for _ in range(trials):
        (found,) = one.ask(suggester, 1)
        number = one.start(found)
        one.tell(number, sum(parts(found.parameters).values()))
    return one


@functools.cache
def tuned() -> law.Study:
    """A study of a hundred trials, to be read only."""
    return run(problem(), 100)


def test_every_part_gets_better() -> None:
    one = tuned()
    best = max(one.trials.values(), key=lambda t: t.metrics["score"]).parameters
    reached, start = parts(best), parts(one.trials[1].parameters)
    assert reached["prompt"] > start["prompt"] + 0.15
    assert reached["model"] == 0.6
    assert reached["shots"] == 0.3
    assert reached["temperature"] > -0.1


def test_about_half_of_the_trials_move_the_texts_and_half_the_rest() -> None:
    turns = Counter(bool(t.origin.get("rest")) for t in tuned().trials.values())
    assert 25 < turns[True] < 75


def test_a_turn_changes_one_side_only() -> None:
    one = tuned()
    for trial in one.trials.values():
        before = [t for t in one.trials.values() if t.number < trial.number]
        if not before:
            continue
        best = max(before, key=lambda t: (t.metrics["score"], -t.number)).parameters
        mine = {name: value for name, value in trial.parameters.items() if name != "prompt"}
        theirs = {name: value for name, value in best.items() if name != "prompt"}
        assert trial.parameters["prompt"] == best["prompt"] if trial.origin.get("rest") else mine == theirs


def test_parameter_constraints_and_conditions_hold() -> None:
    of = problem(
        parameters=[*PARAMETERS, {"name": "budget", "type": "int", "min": 1, "max": 10}],
        parameter_constraints=["budget * temperature <= 4"],
    )
    one = run(of, 40)
    for trial in one.trials.values():
        assert trial.parameters["budget"] * trial.parameters["temperature"] <= 4
        assert ("top_p" in trial.parameters) == (trial.parameters["model"] == "large")


def test_several_components_of_text_are_rewritten_in_turns() -> None:
    texts = [
        {"name": "system", "type": "text", "initial": ["You are a careful critic of films."]},
        {
            "name": "question",
            "type": "text",
            "initial": ["Was the writer of {review} happy?"],
            "placeholders": ["{review}"],
        },
    ]
    of = problem("opro", parameters=[*texts, PARAMETERS[1]], llm={"profile": "p"})
    one = law.Study(of)
    suggester = law.make(get("opro"), of)
    for _ in range(40):
        (found,) = one.ask(suggester, 1)
        one.tell(one.start(found), float(len(found.parameters["system"])))
    for name in ("system", "question"):
        assert len({t.parameters[name] for t in one.trials.values()}) > 4
    assert all(t.parameters["question"].count("{review}") == 1 for t in one.trials.values())


def test_a_text_counts_with_the_best_that_it_reached() -> None:
    """A good text that was tried with bad values first is not lost once better values were found for it."""
    one = tuned()
    of = one.problem
    again = law.make(get("plum"), of)
    history = one.history()
    assert isinstance(again, Beside)
    seen = again._seen_by_method(history, scored(history))
    reached: dict[str, float] = {}
    for trial in one.trials.values():
        text = trial.parameters["prompt"]
        reached[text] = max(reached.get(text, -np.inf), trial.metrics["score"])
    for trial in seen.trials:
        assert trial.metrics["score"] == reached[trial.parameters["prompt"]]


def test_failed_and_infeasible_trials_are_no_best_to_build_on() -> None:
    of = problem()
    one = law.Study(of)
    suggester = law.make(get("plum"), of)
    for n in range(30):
        (found,) = one.ask(suggester, 1)
        state = (TrialState.COMPLETED, TrialState.FAILED, TrialState.INFEASIBLE)[n % 3]
        one.tell(one.start(found), float(n), state)
    assert len({t.parameters["prompt"] for t in one.trials.values()}) > 5


@pytest.mark.parametrize("name", ["plum", "opro", "directional", "evoprompt", "promptbreeder", "zopo", "instinct"])
def test_a_conditional_text_is_refused_by_name(name: str) -> None:
    conditional = [{**PARAMETERS[0], "when": {"model": ["large"]}}, PARAMETERS[2]]
    fields = {"llm": {"profile": "p"}} if get(name).honours.llm == "required" else {}
    with pytest.raises(Invalid) as error:
        problem(name, parameters=conditional, **fields)
    assert error.value.errors[0].pointer == "/parameters/0/when"

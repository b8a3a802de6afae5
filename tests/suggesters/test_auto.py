"""`auto` picks by what the study is and what was told, and says why."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from services.domain.history import History, Observation
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from workers.suggesters.auto import choose
from workers.suggesters.registry import get

TEXT = {"name": "t", "type": "text", "initial": ["Say with care whether the review is good."]}
TOKENS = {"name": "trigger", "type": "tokens", "vocabulary": [f"t{i}" for i in range(2000)], "max_length": 5}
VECTOR = {"name": "v", "type": "vector", "length": 400, "min": -5, "max": 5}
IDS = {"train": ["a", "b", "c"], "validation": ["d", "e"]}
CATEGORY = {"name": "kind", "type": "categorical", "choices": ["a", "b", "c"]}


def floats(count: int) -> list[dict[str, Any]]:
    return [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(count)]


def picked(told: int, suggesters: Any = lambda i: "gp", value: Any = lambda i: 1.0 / (i + 1), **fields: Any) -> str:
    """What is picked after so many completed trials."""
    spec = study(**fields)
    history = History(spec)
    point = dict(law.make(get("random"), law.Problem(study="s", spec=spec, seed=1)).suggest(history, 1)[0].parameters)
    trials = [
        Observation(
            number=i + 1, told_seq=i + 1, state=TrialState.COMPLETED, parameters=point, feasible=True,
            metrics=dict.fromkeys(spec.required_metrics, value(i)), suggester=suggesters(i),
        )
        for i in range(told)
    ]  # fmt: skip
    history.update(trials, seq=told, next_number=told + 1)
    name, why = choose(spec, history)
    assert why
    return name


@pytest.mark.parametrize(
    ("told", "fields", "expected"),
    [
        (0, {"parameters": floats(5)}, "gp"),
        (400, {"parameters": [*floats(5), CATEGORY]}, "gp"),
        (400, {"parameters": floats(5), "constraints": [{"metric": "c", "max": 1}]}, "gp"),
        (400, {"parameters": floats(5), "objectives": [{"metric": "a"}, {"metric": "b"}]}, "gp"),
        (400, {"parameters": floats(5), "objectives": [{"metric": "a", "noisy": True}]}, "gp"),
        (400, {"parameters": floats(5), "limits": {"max_trials": 1000}}, "cmaes"),
        (100, {"parameters": floats(5), "limits": {"max_trials": 1000}}, "gp"),
        (0, {"parameters": floats(150)}, "turbo"),
        (0, {"parameters": floats(400)}, "cmaes"),
        (0, {"parameters": floats(400), "constraints": [{"metric": "c", "max": 1}]}, "turbo"),
        (2001, {"parameters": [*floats(5), CATEGORY]}, "turbo"),
        (0, {"parameters": [*floats(2), TEXT]}, "plum"),
        (0, {"parameters": [*floats(2), TEXT], "llm": {"profile": "p"}}, "opro"),
        (0, {"parameters": [TEXT], "llm": {"profile": "p"}, "examples": IDS}, "opro"),
        (0, {"parameters": [TEXT], "llm": {"profile": "p", "share_examples": True}, "examples": IDS}, "gepa"),
        (0, {"parameters": [TEXT], "objectives": [{"metric": "a"}, {"metric": "b"}]}, "random"),
        (0, {"parameters": [{**TEXT, "when": {"kind": ["a"]}}, CATEGORY]}, "random"),
        (0, {"parameters": [TOKENS, CATEGORY]}, "claps"),
        (0, {"parameters": [{**TOKENS, "vocabulary": ["a", "b", "c"]}]}, "gp"),
        (0, {"parameters": [{**VECTOR, "name": name} for name in "vw"]}, "bbt"),
        (0, {"parameters": [VECTOR]}, "cmaes"),
    ],
)
def test_the_study_decides(told: int, fields: dict[str, Any], expected: str) -> None:
    assert picked(told, **fields) == expected


def test_in_many_dimensions_the_better_of_two_goes_on() -> None:
    wide = {"parameters": floats(30)}
    assert picked(300, **wide) == "gp"
    assert picked(310, **wide) == "turbo"
    after = {"suggesters": lambda i: "gp" if i < 300 else "turbo"}
    assert picked(360, **after, value=lambda i: 10.0 if i < 300 else 1.0, **wide) == "turbo"
    assert picked(360, **after, value=lambda i: 10.0 - i / 300 if i < 300 else 11.0, **wide) == "gp"


def test_the_reason_stands_on_the_trial() -> None:
    spec = get("auto")
    of = law.problem(spec, "mixed")
    suggestion = law.make(spec, of).suggest(law.Study(of).history(), 1)[0]
    assert "auto: trials are dear" in suggestion.reason
    assert suggestion.suggester == "gp"


def test_failures_are_no_reason_to_leave_the_model() -> None:
    spec = get("auto")
    of = law.problem(spec, "mixed")
    one, suggester = law.Study(of), None
    rng = np.random.default_rng(0)
    for i in range(25):
        suggester = suggester or law.make(spec, of)
        suggestion = suggester.suggest(one.history(), 1)[0]
        failed = i % 3 == 0
        one.tell(one.start(suggestion), float(rng.random()), TrialState.FAILED if failed else TrialState.COMPLETED)
    assert suggestion.suggester == "gp"
    assert "expected improvement" in suggestion.reason


def test_feedback_in_the_first_outcomes_asks_for_a_method_that_reads_it() -> None:
    spec = study(parameters=[TEXT], llm={"profile": "p", "share_examples": True})

    def after(feedback: str | None) -> str:
        history = History(spec)
        told = Observation(
            number=1, told_seq=1, state=TrialState.COMPLETED, parameters={"t": "x"}, metrics={"loss": 1.0},
            feedback=feedback,
        )  # fmt: skip
        history.update([told], seq=1, next_number=2)
        return choose(spec, history)[0]

    assert after("name the film") == "directional"
    assert after(None) == "opro"


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({"parameters": floats(5)}, False),
        ({"parameters": [TEXT]}, True),
        ({"parameters": [TEXT], "llm": {"profile": "p"}}, False),
        ({"parameters": [TEXT], "llm": {"profile": "p", "share_examples": True}}, False),
        ({"parameters": [TEXT], "llm": {"profile": "p", "share_examples": True}, "examples": IDS}, True),
    ],
)
def test_it_runs_out_where_the_method_for_the_texts_does(fields: dict[str, Any], ends: bool) -> None:
    spec = study(**fields)
    assert get("auto").runs_out(spec) is ends
    assert get(picked(0, **fields)).runs_out(spec) is ends


def test_a_language_model_without_a_text_is_refused() -> None:
    from services.domain.errors import Invalid

    with pytest.raises(Invalid) as error:
        get("auto").check(study(llm={"profile": "p"}))
    assert error.value.errors[0].pointer == "/llm"

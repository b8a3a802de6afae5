"""`auto` picks by what the study is and what was told, and says why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from services.domain.history import History, Observation
from services.domain.suggester import Suggestion
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
        (0, {"parameters": floats(5), "limits": {"max_trials": 249}}, "gp"),
        (0, {"parameters": floats(5), "limits": {"max_trials": 250}}, "cobyla"),
        (25, {"parameters": floats(5), "limits": {"max_trials": 250}}, "cmaes"),
        (600, {"parameters": floats(5), "limits": {"max_trials": 1000}}, "cmaes"),
        (39, {"parameters": floats(2), "limits": {"max_trials": 100}}, "gp"),
        (40, {"parameters": floats(2), "limits": {"max_trials": 100}}, "cmaes"),
        (149, {"parameters": floats(5)}, "gp"),
        (500, {"parameters": [*floats(1), {"name": "c", "type": "float", "min": 1, "max": 1}]}, "gp"),
        (149, {"parameters": floats(30), "limits": {"max_trials": 1500}}, "cobyla"),
        (150, {"parameters": floats(30), "limits": {"max_trials": 1500}}, "cmaes"),
        (150, {"parameters": floats(5)}, "cmaes"),
        (600, {"parameters": floats(5)}, "step"),
        (600, {"parameters": floats(5), "limits": {"max_trials": 2000}}, "step"),
        (600, {"parameters": [{"name": n, "type": "int", "min": 0, "max": 40} for n in "ab"]}, "cmaes"),
        (
            400,
            {"parameters": floats(5), "objectives": [{"metric": "a", "noisy": True}], "limits": {"max_trials": 1000}},
            "gp",
        ),
        (0, {"parameters": floats(150)}, "turbo"),
        (0, {"parameters": floats(400)}, "one-plus-one"),
        (0, {"parameters": floats(400), "objectives": [{"metric": "a", "noisy": True}]}, "cmaes"),
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
        (3999, {"parameters": [VECTOR]}, "one-plus-one"),
        (4000, {"parameters": [VECTOR]}, "cmaes"),
        (25_000, {"parameters": [{**VECTOR, "length": 2500}]}, "snes"),
        (0, {"parameters": [{**VECTOR, "length": 2500}, CATEGORY]}, "one-plus-one"),
        (0, {"parameters": [{**VECTOR, "length": 2500}], "objectives": [{"metric": "a"}, {"metric": "b"}]}, "sobol"),
    ],
)
def test_the_study_decides(told: int, fields: dict[str, Any], expected: str) -> None:
    assert picked(told, **fields) == expected


def test_in_many_dimensions_the_better_of_two_goes_on() -> None:
    wide = {"parameters": [*floats(29), CATEGORY]}
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


def drive(of: law.Problem, trials: int, value: Any, batch: int = 1, fresh_at: Sequence[int] = ()) -> law.Study:
    """Ask, tell in turn; at each of `fresh_at` trials a suggester that is made from saved state takes over."""
    spec = get("auto")
    one, suggester = law.Study(of), law.make(spec, of)
    history = one.history()
    while len(one.trials) < trials:
        if len(one.trials) in fresh_at:
            suggester = law.make(spec, of, law.save(suggester))
        numbers = [one.start(s) for s in suggester.suggest(history, batch)]
        history.update([one.trials[n] for n in numbers], seq=one.seq, next_number=len(one.trials) + 1)
        for number in numbers:
            one.tell(number, value(np.array(list(one.trials[number].parameters.values()))))
        history.update([one.trials[n] for n in numbers], seq=one.seq, next_number=len(one.trials) + 1)
    return one


def cheap(d: int, budget: int) -> law.Problem:
    spec = study(parameters=floats(d), suggester={"name": "auto"}, limits={"max_trials": budget}, seed=3)
    return law.Problem(study="s", spec=spec, seed=3)


def rugged(x: np.ndarray[Any, Any]) -> float:
    z = 10 * (x - np.linspace(0.21, 0.83, len(x)))
    return float(np.sum(z**2 - 10 * np.cos(2 * np.pi * z) + 10))


def by_whom(one: law.Study) -> list[str]:
    return [one.trials[n].suggester for n in sorted(one.trials)]


def test_the_coordinates_have_one_turn_that_solves_a_rugged_sum_and_then_the_population_goes_on() -> None:
    one = drive(cheap(4, 1300), 1000, rugged)
    whom = by_whom(one)
    values = [one.trials[n].metrics["loss"] for n in sorted(one.trials)]
    turn = [i for i, name in enumerate(whom) if name == "step"]
    assert whom[:400] == ["cobyla"] * 20 + ["cmaes"] * 380
    assert turn == list(range(400, turn[-1] + 1))
    assert set(whom[turn[-1] + 1 :]) == {"cmaes"}
    assert min(values[:400]) > 0.5
    assert min(values[: 400 + 4 * 71 + 1]) < 1e-6


def test_in_many_dimensions_some_coordinates_in_their_best_valleys_do_not_end_the_turn() -> None:
    of = cheap(20, 20_000)
    one, suggester, rng = law.Study(of), law.make(get("auto"), of), np.random.default_rng(2)
    valleys = np.linspace(0.21, 0.83, 20) + np.where(np.arange(20) < 4, 0.0, 0.1)
    points = [valleys, *rng.random((1999, 20))]
    for x in points:
        found = Suggestion(parameters={f"x{j}": float(x[j]) for j in range(20)}, reason="", suggester="cmaes")
        one.tell(one.start(found), rugged(x))
    history = one.history()
    for _ in range(20 * 71 + 1):
        (suggestion,) = suggester.suggest(history, 1)
        number = one.start(suggestion)
        one.tell(number, rugged(np.array(list(suggestion.parameters.values()))))
        history.update([one.trials[number]], seq=one.seq, next_number=len(one.trials) + 1)
    assert min(t.metrics["loss"] for t in one.trials.values()) < 1e-6


def test_a_search_that_the_coordinates_cannot_help_is_hardly_delayed() -> None:
    spread = np.linspace(1, 30, 6)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    one = drive(cheap(6, 2400), 900, lambda x: float(np.sum(spread * np.abs(rotation @ (x - 0.4)))))
    assert by_whom(one).count("step") < 6 * 71


def test_a_saved_state_goes_on_as_if_it_had_not_been_saved() -> None:
    of = cheap(2, 700)
    whole = drive(of, 260, rugged)
    again = drive(of, 260, rugged, fresh_at=(120, 230))
    assert [dict(t.parameters) for t in again.trials.values()] == [dict(t.parameters) for t in whole.trials.values()]


def test_with_many_clients_the_coordinates_and_the_population_go_side_by_side() -> None:
    whom = by_whom(drive(cheap(2, 4000), 600, rugged, batch=8))
    later = whom[208:]
    assert "step" not in whom[:200]
    assert later.count("step") == len(later) // 8
    assert later.count("cmaes") == len(later) - len(later) // 8


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


def test_what_a_single_point_found_in_many_dimensions_is_where_the_population_starts() -> None:
    spec = study(parameters=[{**VECTOR, "length": 301}], suggester={"name": "auto"}, seed=3)
    one = drive(law.Problem(study="s", spec=spec, seed=3), 3110, lambda x: float(np.sum((x - 1.5) ** 2)), batch=10)
    whom, values = by_whom(one), [one.trials[n].metrics["loss"] for n in sorted(one.trials)]
    assert whom == ["one-plus-one"] * 3010 + ["cmaes"] * 100
    found = min(values[:3010])
    assert found < 0.2 * values[0]
    assert max(values[3010:]) < 3 * found
    assert min(values[3010:]) < found

"""nevergrad by name: every served optimizer repeats itself, nothing blocks or leaks, and what is not served says why."""

from __future__ import annotations

import gc
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise, sphere
from workers.models.nevergrad_catalogue import NEEDS_TWO, SEQUENTIAL, SERVED
from workers.suggesters.registry import get

REALS = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(2)]


def problem(options: dict[str, Any] | None = None, seed: int = 5, **fields: Any) -> law.Problem:
    """A study of two numbers, or of the given parameters."""
    fields = {"parameters": REALS} | fields
    made = study(suggester={"name": "nevergrad", "options": options or {}}, seed=seed, **fields)
    return law.Problem(study="s", spec=made, seed=seed)


def optimise(of: law.Problem, outcome: Callable[[dict[str, Any]], Any], trials: int) -> law.Study:
    """Tell one after another: a value or a state."""
    one, suggester = law.Study(of), law.make(get("nevergrad"), of)
    history = one.history()
    for _ in range(trials):
        number = one.start(suggester.suggest(history, 1)[0])
        told = outcome(dict(one.trials[number].parameters))
        one.tell(number, *((0.0, told) if isinstance(told, TrialState) else (told,)))
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return one


# -- every name goes on exactly where it stopped


@pytest.mark.parametrize("name", ["OnePlusOne", "CMA", "Portfolio", "Cobyla", "NgIohTuned"])
def test_a_study_goes_on_after_a_restart_at_any_moment(name: str) -> None:
    of = problem({"optimizer": name}, limits={"max_trials": 60})

    def run(every: int) -> list[Any]:
        one, suggester, found, running = law.Study(of), law.make(get("nevergrad"), of), [], list[int]()
        history = one.history()
        for n in range(36):
            np.random.random(3)
            if n % every == every - 1:
                suggester, history = law.make(get("nevergrad"), of), one.history()
            suggestion = suggester.suggest(history, 1)[0]
            found.append(suggestion.parameters)
            running.append(one.start(suggestion))
            if n % 9 == 4:
                one.tell(one.add({"x0": n / 40, "x1": 0.5}), 0.3)
            while len(running) > 2:
                number = running.pop(n % len(running))
                state = TrialState.COMPLETED if number % 7 else list(TrialState)[-1 - number // 7 % 4]
                one.tell(number, sphere(list(one.trials[number].parameters.values())), state)
            history.update(one.trials.values(), seq=one.seq, next_number=len(one.trials) + 1)
        return found

    assert run(100) == run(5)


def test_suggestions_that_never_became_trials_are_forgotten() -> None:
    of = problem({"optimizer": "OnePlusOne"})
    one, suggester = law.Study(of), law.make(get("nevergrad"), of)
    first = suggester.suggest(one.history(), 3)
    one.start(first[0])
    again = suggester.suggest(one.history(), 2)
    assert again == law.make(get("nevergrad"), of).suggest(one.history(), 2)
    assert suggester.suggest(one.history(), 2) == again


def test_a_trial_that_other_arithmetic_proposed_is_told_as_the_users() -> None:
    of = problem({"optimizer": "OnePlusOne"})
    one, suggester = law.Study(of), law.make(get("nevergrad"), of)
    for suggestion in suggester.suggest(one.history(), 3):
        number = one.start(suggestion)
        one.trials[number] = replace(one.trials[number], parameters={"x0": 0.123, "x1": 0.3 + number / 100})
        one.tell(number, 1.0)
    assert (
        "3 trials were proposed by other arithmetic"
        in law.make(get("nevergrad"), of).suggest(one.history(), 1)[0].reason
    )


def test_another_budget_begins_anew_with_what_is_known() -> None:
    one = law.Study(problem({"optimizer": "OnePlusOne", "budget": 50}))
    for _ in range(10):
        suggestion = law.make(get("nevergrad"), one.problem).suggest(one.history(), 1)[0]
        one.tell(one.start(suggestion), sphere(list(suggestion.parameters.values())))
    one.problem = problem({"optimizer": "OnePlusOne", "budget": 90})
    following = law.make(get("nevergrad"), one.problem).suggest(one.history(), 1)[0]
    assert "budget=90" in following.origin["run"]
    assert "numpy=" in following.origin["run"]


# -- blocking solvers


@pytest.mark.parametrize("name", sorted(SEQUENTIAL))
def test_a_solver_that_waits_never_blocks_an_ask_and_leaves_no_thread(name: str) -> None:
    before = threading.active_count()
    one = law.Study(problem({"optimizer": name}))
    suggester = law.make(get("nevergrad"), one.problem)
    found = suggester.suggest(one.history(), 4)
    assert [bool(s.origin.get("outside")) for s in found] == [False, True, True, True]
    assert "waits for trial 1" in found[1].reason
    numbers = [one.start(s) for s in found]
    for number in numbers[1:]:
        one.tell(number, 1.0)
    assert suggester.suggest(one.history(), 1)[0].origin["outside"]
    one.tell(numbers[0], 0.0, TrialState.FAILED)  # the solver is told something bad instead and goes on
    assert "outside" not in suggester.suggest(one.history(), 1)[0].origin
    assert all(t.daemon for t in threading.enumerate() if "MessagingThread" in type(t).__name__)
    del suggester
    gc.collect()
    deadline = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert threading.active_count() <= before


# -- points and values


def test_figures_of_the_literature_card() -> None:
    """Sphere, 5 dimensions, 200 trials: CMA below 1e-4 and the quadratic model far below."""
    assert minimise("nevergrad", sphere, 200, 1, 5, optimizer="CMA", budget=200) < 1e-4
    assert minimise("nevergrad", sphere, 200, 1, 5, optimizer="MetaModel", budget=200) < 1e-12


def test_categories_are_found() -> None:
    parameters = [{"name": f"k{i}", "type": "categorical", "choices": list("abcd")} for i in range(5)]
    for name in ("DiscreteOnePlusOne", "NGOpt"):
        one = optimise(
            problem({"optimizer": name}, parameters=parameters), lambda p: sum(v != "c" for v in p.values()), 150
        )
        assert min(t.metrics["loss"] for t in one.trials.values()) == 0


def test_outcomes_without_a_number_rank_behind() -> None:
    of = problem({"optimizer": "OnePlusOne"}, constraints=[{"metric": "c", "max": 0.0}])
    one, suggester = law.Study(of), law.make(get("nevergrad"), of)
    told: list[tuple[str, float]] = []
    for n, (state, value, c) in enumerate(
        [
            (TrialState.COMPLETED, 1.0, -1.0),
            (TrialState.COMPLETED, 3.0, -1.0),
            (TrialState.PRUNED, -5.0, -1.0),
            (TrialState.COMPLETED, 0.0, 4.0),
            (TrialState.INFEASIBLE, 0.0, 0.0),
            (TrialState.FAILED, 0.0, 0.0),
        ],
        1,
    ):
        one.start(suggester.suggest(one.history(), 1)[0])
        one.tell(n, value, state, c=c)
    suggester.suggest(one.history(), 1)
    history = one.history()
    told = [(t.state.value, suggester._value(history, t)) for t in one.trials.values()]  # type: ignore[attr-defined]
    assert told == [
        ("completed", 1.0), ("completed", 3.0), ("pruned", math.nextafter(3.0, 4.0)),
        ("completed", pytest.approx(3.0 + 2 * 1.8)), ("infeasible", 9.0), ("failed", None),
    ]  # fmt: skip


def test_a_users_better_point_is_taken_up() -> None:
    one = law.Study(problem({"optimizer": "OnePlusOne"}))
    suggester = law.make(get("nevergrad"), one.problem)
    one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 5.0)
    one.tell(one.add({"x0": 0.9, "x1": 0.1}), 0.0)
    points = []
    for _ in range(12):
        suggestion = suggester.suggest(one.history(), 1)[0]
        points.append(list(suggestion.parameters.values()))
        one.tell(one.start(suggestion), 1.0)
    assert np.median(np.linalg.norm(np.array(points) - [0.9, 0.1], axis=1)) < 0.35


def test_extreme_values_and_parameter_constraints() -> None:
    for name in ("CMA", "Cobyla", "Portfolio"):
        of = problem({"optimizer": name}, parameter_constraints=["x0 + x1 <= 0.8"])
        one = optimise(of, lambda p: 1e300 if p["x0"] > 0.4 else -1e300, 25)
        assert len(one.trials) == 25
        assert all(t.parameters["x0"] + t.parameters["x1"] <= 0.8 for t in one.trials.values())


# -- what is served


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("CmaFmin2", "clock"),
        ("Carola8", "clock"),
        ("NLOPT_LN_SBPLX", "nlopt"),
        ("FCMA", "fcmaes"),
        ("SMAC3", "library"),
        ("NeuralMetaModel", "scikit-learn"),
        ("VoxelizeMetaModelOnePlusOne", "clock time"),
        ("Shiwa", "measured"),
        ("NoSuchThing", "measured"),
    ],
)
def test_an_optimizer_that_is_not_served_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(Invalid) as error:
        get("nevergrad").check(problem({"optimizer": name}).spec)
    assert error.value.errors[0].pointer == "/suggester/options/optimizer"
    assert why in error.value.errors[0].message
    assert "NGOpt" in error.value.errors[0].message


def test_limits_are_refused_by_name() -> None:
    one = [{"name": "x", "type": "float", "min": 0, "max": 1}]
    for name in NEEDS_TWO:
        with pytest.raises(Invalid):
            get("nevergrad").check(problem({"optimizer": name}, parameters=one).spec)
    with pytest.raises(Invalid) as error:
        get("nevergrad").check(problem(limits={"max_trials": 20_001}).spec)
    assert error.value.errors[0].pointer == "/limits/max_trials"


def test_every_served_name_stands_in_the_registry_and_in_the_schema() -> None:
    import nevergrad as ng

    assert set(SERVED) <= set(ng.optimizers.registry)
    schema = get("nevergrad").options.model_json_schema()["properties"]["optimizer"]
    assert schema["enum"] == list(SERVED)
    assert all(f"{name}: {what}" in schema["description"] for name, what in SERVED.items())


def test_the_reason_says_what_was_chosen_and_how_many_workers_it_was_told() -> None:
    parameters = [{"name": "w", "type": "vector", "length": 5, "min": 0, "max": 1}]
    of = problem({"budget": 400}, parameters=parameters)
    reason = law.make(get("nevergrad"), of).suggest(law.Study(of).history(), 1)[0].reason
    assert reason.startswith("nevergrad NGOpt (")
    assert "told 2 workers" in reason

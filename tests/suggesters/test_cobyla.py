"""COBYLA as a suggester: constraints, restarts, several searches at once, and trials that do not come back."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize

from services.domain.errors import Invalid
from services.domain.trial import TrialState
from tests.suggesters import law, local_study
from tests.suggesters.local_study import ask, fresh, lowest, optimise, path, values
from tests.support.objectives import ellipsoid, sphere
from workers.models.local_runs import LocalRuns
from workers.suggesters.registry import get

Objective = Callable[[Sequence[float]], float]


problem = partial(local_study.problem, "cobyla")


def first_below(values: Sequence[float], target: float) -> float:
    """Evaluations until a value is below the target."""
    return next((n for n, v in enumerate(values, 1) if v < target), math.inf)


# -- what it reaches


@pytest.mark.parametrize("d", [2, 5, 10])
def test_evaluations_to_the_target_are_near_scipys(d: int) -> None:
    weights = 10.0 ** np.linspace(0, 1, d)

    def f(x: Sequence[float]) -> float:
        return float(weights @ (np.array(x) - 0.3) ** 2)

    one = optimise(problem(d), f, 250)
    values: list[float] = []

    def noted(x: np.ndarray) -> float:
        values.append(f(list(x)))
        return values[-1]

    options = {"rhobeg": 0.3, "tol": 1e-6, "maxiter": 250}
    minimize(noted, np.full(d, 0.5), method="COBYLA", bounds=[(0, 1)] * d, options=options)
    ours = first_below([t.metrics["loss"] for t in one.trials.values()], 1e-3)
    assert ours <= 1.5 * first_below(values, 1e-3) + 5


def test_smooth_constraints_are_kept_at_the_optimum() -> None:
    of = problem(2, constraints=[{"metric": "c", "max": 0.0}])
    one = optimise(of, lambda x: {"loss": sphere(x), "c": 1.4 - sum(x)}, 40)
    assert one.trials[1].feasible is False
    feasible = [t.metrics["loss"] for t in one.trials.values() if t.metrics["c"] <= 1e-6]
    assert min(feasible) == pytest.approx(0.32, abs=1e-5)


def test_a_band_and_a_goal_to_maximize() -> None:
    of = problem(
        2, objectives=[{"metric": "loss", "goal": "maximize"}], constraints=[{"metric": "c", "min": 0.5, "max": 0.6}]
    )
    one = optimise(of, lambda x: {"loss": x[0] + 2 * x[1], "c": x[0] ** 2 + x[1] ** 2}, 60)
    best = max(t.metrics["loss"] for t in one.trials.values() if 0.5 - 1e-6 <= t.metrics["c"] <= 0.6 + 1e-6)
    assert best == pytest.approx(math.sqrt(5 * 0.6), abs=1e-4)


def test_parameter_constraints_cost_no_trials() -> None:
    found = []
    for seed in range(5):
        of = problem(3, seed, parameter_constraints=["x0 + x1 + x2 <= 0.6", "x0 >= x1"])
        one = optimise(of, lambda x: sum((v - 0.5) ** 2 for v in x), 40)
        assert not any(of.space.broken(t.parameters) for t in one.trials.values())
        found.append(lowest(one))
    assert np.median(found) == pytest.approx(0.27, abs=1e-5)


def test_a_curved_edge_of_what_is_allowed_is_followed() -> None:
    for seed in range(3):
        one = optimise(
            problem(2, seed, parameter_constraints=["x0*x0 + x1*x1 <= 0.25"]), lambda x: -x[0] - 2 * x[1], 50
        )
        assert lowest(one) == pytest.approx(-0.5 * math.sqrt(5), abs=1e-4)


def test_a_converged_search_is_followed_by_another_elsewhere() -> None:
    def two_valleys(x: Sequence[float]) -> float:
        return min(sphere(x), (x[0] - 0.9) ** 2 + (x[1] - 0.9) ** 2 - 0.1)

    one = optimise(problem(2, options={"final_radius": 1e-3}), two_valleys, 200)
    assert max(t.origin["round"] for t in one.trials.values()) >= 2
    assert lowest(one) < -0.0999


def test_whole_numbers_and_levels_are_reached() -> None:
    parameters = [
        {"name": "n", "type": "int", "min": 0, "max": 50},
        {"name": "size", "type": "ordinal", "choices": ["s", "m", "l"]},
        {"name": "on", "type": "bool"},
    ]
    rank = {"s": 0, "m": 1, "l": 2}
    of = problem(parameters=parameters, options={"initial_radius": 0.5})
    one = optimise(of, lambda x: abs(x[0] - 37) + 4 * (2 - rank[str(x[1])]) + 3 * (not x[2]), 100)
    assert lowest(one) <= 1


# -- many workers, bad days


def test_a_second_search_begins_when_the_first_waits() -> None:
    one = law.Study(problem(3, options={"chains": 3}))
    numbers = ask(one, 5)
    assert [one.trials[n].origin.get("chain") for n in numbers] == [0, 1, 2, None, None]
    for number in numbers:
        one.tell(number, sphere(values(one, number)))
    assert [one.trials[n].origin.get("chain") for n in ask(one, 3)] == [0, 1, 2]


def test_a_trial_that_never_comes_back_blocks_no_ask() -> None:
    one = law.Study(problem(2))
    ask(one, 1)
    for _ in range(40):
        number = ask(one, 1)[0]
        one.tell(number, sphere(values(one, number)))
    assert lowest(one) < 1e-3


def test_failed_trials_are_tried_again_and_infeasible_ones_are_walls() -> None:
    tries: dict[str, int] = {}

    def outcome(x: list[float]) -> Any:
        tries[str(x)] = tries.get(str(x), 0) + 1
        if tries[str(x)] == 1 and int(1e6 * x[0]) % 2:
            return TrialState.FAILED
        return TrialState.INFEASIBLE if x[0] > 0.7 else -x[0] + (x[1] - 0.4) ** 2

    one = optimise(problem(2), outcome, 120)
    assert lowest(one) < -0.69
    assert max(tries.values()) <= 2


def test_values_without_bounds_and_plateaus_do_not_stop_it() -> None:
    for f in (lambda x: 1.0, lambda x: 1e300 if x[0] > 0.5 else -1e300, lambda x: 1e-300 * x[0]):
        one = optimise(
            problem(3, constraints=[{"metric": "c", "max": 0.0}]), lambda x, f=f: {"loss": f(x), "c": f(x)}, 40
        )
        assert len(one.trials) == 40
    assert max(t.origin["round"] for t in optimise(problem(3), lambda x: 1.0, 200).trials.values()) >= 1


@pytest.mark.parametrize("fields", [{}, {"constraints": [{"metric": "c", "max": 0.5}]}], ids=["free", "bounded"])
def test_restarts_change_nothing_over_many_steps(fields: dict[str, Any]) -> None:
    of = problem(3, options={"chains": 2, "final_radius": 0.01}, **fields)

    assert path(of, 90, 2, 1000) == path(of, 90, 2, 7) == path(of, 90, 2, 1)


def test_a_running_study_that_turns_to_it_goes_on_from_the_best_trial() -> None:
    one = law.Study(problem(5))
    for value in (3.0, 1.0, 2.0):
        one.tell(one.add({f"x{i}": value / 4 for i in range(5)}), value)
    number = ask(one, 1)[0]
    assert one.trials[number].origin["from"] == 2
    assert values(one, number) == pytest.approx([0.55, 0.25, 0.25, 0.25, 0.25])


def test_ill_conditioning_is_its_limit() -> None:
    """Linear models do not see curvature: plain steps, many of them (condition 1e6, five dimensions)."""
    assert lowest(optimise(problem(5), ellipsoid, 300)) > 1e-2


def test_what_it_cannot_use_is_refused() -> None:
    for fields, pointer in (
        ({"objectives": [{"metric": "loss", "noisy": True}]}, "/objectives"),
        ({"parameters": [{"name": "w", "type": "vector", "length": 201, "min": 0, "max": 1}]}, "/parameters"),
        ({"parameters": [{"name": "k", "type": "categorical", "choices": ["a", "b"]}]}, "/parameters/0/type"),
    ):
        with pytest.raises(Invalid) as error:
            get("cobyla").check(problem(**fields).spec)
        assert error.value.errors[0].pointer == pointer


def test_where_all_is_known_few_searches_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    of = problem(parameters=[{"name": "n", "type": "int", "min": 0, "max": 40}], options={"chains": 30})
    one, suggester, begun = law.Study(of), fresh(of), list[int]()
    for _ in range(32):
        found = suggester.suggest(one.history(), 1)[0]
        one.tell(one.start(found), float(found.parameters["n"] % 7))
    started = LocalRuns._started
    monkeypatch.setattr(LocalRuns, "_started", lambda self, *a: begun.append(1) or started(self, *a))
    assert len(suggester.suggest(one.history(), 20)) == 9
    assert len(begun) < 10

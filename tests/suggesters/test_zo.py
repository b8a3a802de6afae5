"""Zeroth-order descent as a service: who asks, tells, fails or comes late, and what a restart changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.suggesters.zo_study import Run, ending, floats, path, problem, sphere, squares, vector
from workers.suggesters.registry import get

FAILED, INFEASIBLE, PRUNED = TrialState.FAILED, TrialState.INFEASIBLE, TrialState.PRUNED
COMBINATIONS: list[dict[str, Any]] = [
    {},
    {"rule": "spsa"},
    {"estimator": "orth2", "directions": 3, "rule": "cautious(adam)"},
    {"estimator": "coord", "directions": 3, "rule": "lbfgs"},
    {"estimator": "forward", "directions": 2, "rule": "dog"},
    {"estimator": "one-point", "rule": "momentum", "lr": 0.001},
    {"estimator": "es-rank", "directions": 3},
    {"estimator": "sign"},
    {"estimator": "guided", "directions": 2},
    {"estimator": "gauss2", "rule": "sophia-zo", "rule_options": {"period": 2}},
    {"rule": "u-dog"},
    {"rule": "torch:Lion"},
    {"scheme": "conservative"},
    {"scheme": "frank-wolfe"},
    {"scheme": "online-to-nonconvex"},
    {"scheme": "smooth-acceleration", "directions": 2},
    {"variance_reduction": "spider", "directions": 3},
    {"variance_reduction": "sarah", "directions": 3},
    {"variance_reduction": "storm", "directions": 2},
]


# -- what is handed out


def test_both_halves_of_a_pair_go_out_back_to_back_on_both_sides_of_one_point() -> None:
    run = Run(problem(vector(4), directions=2, evaluate=0))
    trials = run.ask(6)
    assert [t.origin["row"] for t in trials] == [0, 1, 2, 3, 4, 5]
    empty = law.Study(run.one.problem)
    labels = [(s.receipt or {})["probe"] for s in empty.ask(law.make(get("zo"), empty.problem), 6)]
    assert labels == ["+0", "-0", "+1", "-1", "+2", "-2"]
    for plus, minus in zip(trials[::2], trials[1::2], strict=True):
        middle = (np.array(plus.parameters["w"]) + np.array(minus.parameters["w"])) / 2
        np.testing.assert_allclose(middle, 0.0, atol=1e-12)
        reach = np.linalg.norm(np.array(plus.parameters["w"])) / 10
        assert reach == pytest.approx(1e-3 * 2)  # the default radius times the root of n, in shares of the range


def test_a_lost_answer_is_made_again_and_further_asks_open_further_directions() -> None:
    of = problem(vector(4))
    run = Run(of)
    first = run.ask(7)
    again = law.make(get("zo"), of)
    assert [s.parameters for s in again.suggest(law.Study(of).history(), 7)] == [t.parameters for t in first]
    assert len({tuple(t.parameters["w"]) for t in first}) == 7


def test_directions_are_half_of_the_running_trials_and_few_enough_for_some_steps() -> None:
    for limits, wanted in [({"max_running": 9}, 5), ({}, 1), ({"max_running": 400, "max_trials": 80}, 10)]:
        run = Run(problem(vector(4), fields={"limits": limits}))
        assert run.ask()[0].origin["directions"] == wanted


def test_every_so_many_steps_and_last_of_all_the_recommended_point_is_tried() -> None:
    run = Run(problem(vector(3), fields={"limits": {"max_trials": 90}}, evaluate=5)).until(90, sphere)
    special = [t for t in run.one.trials.values() if t.origin["row"] <= -2]
    assert len(special) == 9
    assert special[-1].number == 90
    silent = Run(problem(vector(3), evaluate=0)).until(60, sphere)
    assert all(t.origin["row"] >= 0 for t in silent.one.trials.values())


# -- how a step closes


def test_a_step_waits_for_all_its_directions_but_not_for_a_straggler() -> None:
    run = Run(problem(vector(4), directions=4, evaluate=0))
    trials = run.ask(12)
    for trial in trials[1:8]:
        run.answer(trial, sphere)
    assert run.steps == 0  # three of four directions: the fourth may still come
    run.answer(trials[8], sphere)
    assert run.steps == 1  # as many outcomes as four directions need


def test_a_failed_half_is_replaced_by_another_direction() -> None:
    run = Run(problem(vector(4), directions=2, evaluate=0))
    first = run.ask()[0]
    run.tell(first.number, 0.0, FAILED)
    second = run.ask()[0]
    assert second.origin["row"] == 2  # the other half of the failed pair is of no use
    for trial in [second, *run.ask(3)]:
        run.answer(trial, sphere)
    assert run.steps == 1


def test_half_a_step_failed_and_the_descent_goes_on() -> None:
    run = Run(problem(vector(5, default=1.0), directions=4, lr=0.02, rule="adam"))
    while len(run.one.trials) < 600:
        for trial in run.ask(8):
            lost = trial.number % 2 == 0 if trial.number % 4 else trial.number % 8 == 0
            run.tell(trial.number, 0.0, FAILED) if lost else run.answer(trial, sphere)
    assert sphere(run.recommended)["loss"] < 0.5  # from 5


def test_infeasible_sides_push_away_and_blocked_steps_become_shorter() -> None:
    run = Run(problem(floats("x", "y"), rule="adam", fields={"limits": {"max_trials": 300}}))
    while len(run.one.trials) < 300:
        for trial in run.ask():
            p = trial.parameters
            is_open = p["x"] <= 0.6
            run.tell(
                trial.number, (p["x"] - 0.9) ** 2 + (p["y"] - 0.2) ** 2, TrialState.COMPLETED if is_open else INFEASIBLE
            )
    assert run.recommended["x"] == pytest.approx(0.6, abs=0.05)
    assert run.recommended["y"] == pytest.approx(0.2, abs=0.05)


def test_where_nothing_can_be_evaluated_it_returns_to_where_something_could() -> None:
    run = Run(problem(floats("x"), rule="sgd", lr=0.3, evaluate=0, directions=2))
    here = run.x.copy()
    for trial in run.ask(4):
        run.tell(trial.number, -trial.parameters["x"])
    assert run.x[0] > here[0] + 0.2
    for trial in run.ask(4):
        run.tell(trial.number, 0.0, INFEASIBLE)
    np.testing.assert_array_equal(run.x, here)
    assert run.suggester._steps._learner.damping == 0.5
    for trial in run.ask(4):
        run.tell(trial.number, -trial.parameters["x"])
    assert run.steps == 3
    assert run.suggester._steps._learner.damping == pytest.approx(2**-0.75)


def test_a_pruned_probe_is_never_better_than_the_middle() -> None:
    run = Run(problem(floats("x", "y"), directions=3, estimator="coord", evaluate=0, rule="sgd", lr=0.01))
    for trial in run.ask(6):
        state = PRUNED if trial.origin["row"] == 0 else TrialState.COMPLETED
        run.tell(trial.number, -1e6 if state is PRUNED else 1.0, state)
    np.testing.assert_allclose(run.x, 0.5, rtol=1e-14)  # -1e6 of a stopped trial counts as just behind 1


@pytest.mark.parametrize("options", [{}, {"rule": "spsa"}, {"estimator": "es-rank", "directions": 3}, {"rule": "dog"}])
def test_equal_values_move_nothing_and_break_nothing(options: dict[str, Any]) -> None:
    run = Run(problem(vector(3), **options)).until(80, lambda p: {"loss": 7.0})
    np.testing.assert_allclose(run.x, 0.5, atol=1e-12)
    run.until(400, sphere)
    assert np.all(np.isfinite(run.x))


@pytest.mark.parametrize("options", COMBINATIONS)
def test_huge_values_break_nothing(options: dict[str, Any]) -> None:
    run = Run(problem(vector(3), **options))
    run.until(60, lambda p: {"loss": 1e308 if p["w"][0] > 0 else -1e308})
    assert np.all(np.isfinite(run.x))
    run.until(90, lambda p: {"loss": 1e308 * np.sign(p["w"][1])})
    assert np.all((run.x >= 0) & (run.x <= 1))


def test_an_outlier_does_not_throw_the_iterate_away() -> None:
    run = Run(problem(vector(5, default=1.0), rule="sgd", lr=1e-4, evaluate=0)).until(200, sphere)
    before = run.x.copy()
    for trial in run.ask(2):
        run.tell(trial.number, 1e200 if trial.origin["row"] == 0 else 0.0)
    assert run.steps == 101
    assert np.linalg.norm(run.x - before) < 0.2


# -- late and foreign


def test_a_late_direction_still_counts_a_little_while_the_iterate_is_near() -> None:
    def path(late: bool, moved: float) -> np.ndarray:
        run = Run(problem(vector(4, default=1.0), directions=4, rule="sgd", lr=moved, evaluate=0))
        trials = run.ask(10)
        straggler = trials[0]
        for trial in trials[1:]:
            run.answer(trial, sphere)
        assert run.steps == 1
        if late:
            run.tell(straggler.number, 50.0)
        for trial in run.ask(8):
            run.answer(trial, sphere)
        assert run.steps == 2
        return run.x

    assert not np.array_equal(path(True, 1e-6), path(False, 1e-6))
    np.testing.assert_array_equal(path(True, 1.0), path(False, 1.0))  # the iterate has left its reach


def test_tells_from_three_steps_ago_and_more_corrupt_nothing() -> None:
    run = Run(problem(vector(4, default=1.0), directions=2))
    stragglers = []
    while len(run.one.trials) < 600:
        trials = run.ask(5)
        stragglers.append(trials[0])
        for trial in trials[1:]:
            run.answer(trial, sphere)
        if len(stragglers) > 4:
            late = stragglers.pop(0)
            run.answer(late, sphere)
    assert sphere(run.recommended)["loss"] < 0.05


def test_a_users_own_points_do_not_enter_the_gradient() -> None:
    def path(own: bool) -> np.ndarray:
        run = Run(problem(vector(3), evaluate=0))
        for n in range(40):
            if own and n % 3 == 0:
                number = run.one.add({"w": [4.0, -4.0, 1.0]})
                run.seen(number)
                run.tell(number, -1e9)
            trial = run.ask()[0]
            run.answer(trial, sphere)
        return run.x

    np.testing.assert_array_equal(path(True), path(False))


# -- restarts


def telling(value: Callable[[dict[str, Any]], dict[str, float]]) -> Callable[[law.Study, int], None]:
    """Outcomes by the loss of a point."""
    return lambda one, number: one.tell(number, value(one.trials[number].parameters)["loss"], ending(number))


@pytest.mark.parametrize("options", COMBINATIONS)
def test_a_restart_between_any_two_calls_changes_nothing(options: dict[str, Any]) -> None:
    of = problem(vector(3, default=1.5), **options)
    never = path(of, "never", telling(sphere), calls=70, most=2)
    assert path(of, "saved", telling(sphere), calls=70, most=2) == never
    assert path(of, "lost", telling(sphere), calls=70, most=2) == never


def test_a_restart_changes_nothing_in_a_finite_space_either() -> None:
    of = problem([{"name": name, "type": "int", "min": 0, "max": 9} for name in "xyz"])
    never = path(of, "never", telling(squares), calls=70, most=2)
    assert path(of, "saved", telling(squares), calls=70, most=2) == never
    assert path(of, "lost", telling(squares), calls=70, most=2) == never


def test_a_study_whose_limits_change_in_mid_step_goes_on() -> None:
    run = Run(problem(vector(3), estimator="sphere2", fields={"limits": {"max_running": 8}}))
    run.until(30, sphere)
    trials = run.ask(3)
    of = problem(vector(3), estimator="sphere2", fields={"limits": {"max_running": 2}})
    changed = law.make(get("zo"), of, law.save(run.suggester))
    history = run.one.history()
    assert changed.suggest(history, 1)[0].origin["directions"] == trials[0].origin["directions"] == 4
    assert law.make(get("zo"), of).suggest(history, 1)[0].parameters == changed.suggest(history, 1)[0].parameters


def test_a_study_whose_method_changes_goes_on_from_where_it_stood() -> None:
    run = Run(problem(vector(4, default=2.0), rule="dog")).until(200, sphere)
    there = sphere(run.recommended)["loss"]
    of = problem(vector(4, default=2.0), estimator="orth2", directions=4, rule="adam", lr=0.001)
    changed = law.make(get("zo"), of, law.save(run.suggester))
    found = changed.suggest(run.one.history(), 2)
    middle = {"w": np.mean([s.parameters["w"] for s in found], axis=0)}
    assert sphere(middle)["loss"] == pytest.approx(there, abs=1e-6)
    again = law.make(get("zo"), of, law.save(changed))
    assert again.suggest(run.one.history(), 2) == found


def test_trials_of_another_method_that_the_study_had_before_are_none_of_its_own() -> None:
    run = Run(problem(vector(3), evaluate=0))
    first = run.suggester.suggest(run.one.history(), 1)[0]
    number = run.one.start(replace(first, origin={"generation": 0, "row": 0}))  # as cmaes writes it
    run.seen(number)
    run.tell(number, 3.0)
    assert run.ask()[0].origin["row"] == 0
    assert run.until(30, sphere).steps > 10

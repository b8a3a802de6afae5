"""The cross-entropy method and MPPI: what the distribution learns from, whoever asks in whatever order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law, local_study
from tests.suggesters.local_study import optimise
from tests.support.objectives import minimise, sphere, wins
from workers.models.cross_entropy import path_integral_weights
from workers.models.generations import MOST_ROWS
from workers.suggesters.cem import CrossEntropy
from workers.suggesters.registry import get


def problem(d: int = 4, seed: int = 5, options: dict[str, Any] | None = None, **fields: Any) -> law.Problem:
    """A numeric study, or one of the given parameters."""
    return local_study.problem("cem", d, seed, options, **fields)


def made(of: law.Problem) -> CrossEntropy:
    """A fresh suggester."""
    found = law.make(get("cem"), of)
    assert isinstance(found, CrossEntropy)
    return found


def lowest(one: law.Study) -> float:
    """The best feasible value."""
    return min(t.metrics["loss"] for t in one.trials.values() if t.metrics and t.feasible is not False)


def rows(suggestions: list[Suggestion]) -> np.ndarray:
    """(n, d) their points."""
    return np.array([list(s.parameters.values()) for s in suggestions])


def fill(one: law.Study, suggester: Any, outcome: Callable[[int, np.ndarray], float], size: int) -> list[int]:
    """Ask a whole generation and tell it; the numbers of its trials."""
    suggestions = suggester.suggest(one.history(), size)
    numbers = [one.start(s) for s in suggestions]
    for k, (number, row) in enumerate(zip(numbers, rows(suggestions), strict=True)):
        one.tell(number, outcome(k, row))
    return numbers


# -- the ledger


def test_the_next_generation_is_fitted_to_the_elite() -> None:
    of = problem(3, options={"population": 10, "elite": 0.2, "smoothing": 1.0, "min_sigma": 0})
    one, suggester = law.Study(of), made(of)
    points = rows(suggester.suggest(one.history(), 10))
    fill(one, suggester, lambda k, row: abs(k - 3.4), 10)  # rows 3 and 4 are the best
    suggester.suggest(one.history(), 1)
    saved = suggester.state()
    assert saved is not None
    np.testing.assert_allclose(saved.arrays["mean"], points[3:5].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(saved.arrays["deviation"], points[3:5].std(axis=0), rtol=1e-9)


def test_an_mppi_step_is_the_weighted_mean_and_keeps_the_deviation() -> None:
    of = problem(3, options={"mode": "mppi", "population": 12, "temperature": 0.3})
    one, suggester = law.Study(of), made(of)
    points = rows(suggester.suggest(one.history(), 12))
    values = [sphere(list(p)) for p in points]
    fill(one, suggester, lambda k, row: values[k], 12)
    suggester.suggest(one.history(), 1)
    weights = np.exp(-np.array(values) / 0.3)
    saved = suggester.state()
    assert saved is not None
    np.testing.assert_allclose(saved.arrays["mean"], weights @ points / weights.sum(), rtol=1e-9)
    np.testing.assert_allclose(saved.arrays["deviation"], 0.3)


def test_a_pruned_trial_weighs_as_one_just_behind_the_median() -> None:
    of = problem(2, options={"mode": "mppi", "population": 4, "smoothing": 1.0, "temperature": 0.5})
    one, suggester = law.Study(of), made(of)
    suggestions = suggester.suggest(one.history(), 4)
    for suggestion, value in zip(suggestions, (1.0, 2.0, 3.0, -9.0), strict=True):
        one.tell(one.start(suggestion), value, TrialState.PRUNED if value < 0 else TrialState.COMPLETED)
    suggester.suggest(one.history(), 1)
    saved = suggester.state()
    assert saved is not None
    weights = path_integral_weights(np.array([1.0, 2.0, 3.0, 2.0]), 0.5, 1.0)
    np.testing.assert_allclose(saved.arrays["mean"], weights @ rows(suggestions), rtol=1e-9)


def test_a_late_outcome_joins_the_generation_in_which_it_comes() -> None:
    of = problem(3, options={"population": 6, "elite": 0.34, "smoothing": 1.0})
    one, suggester = law.Study(of), made(of)
    numbers = [one.start(s) for s in suggester.suggest(one.history(), 8)]
    for number in numbers[2:]:
        one.tell(number, float(number))
    before = suggester.suggest(one.history(), 1)[0]
    assert before.origin["generation"] == 1
    one.tell(numbers[0], -1e9)  # late for generation 0: the open one does not move
    assert suggester.suggest(one.history(), 1)[0].parameters == before.parameters
    fill(one, suggester, lambda k, row: 1.0 + k, 6)
    assert suggester.suggest(one.history(), 1)[0].origin["generation"] == 2
    straggler = np.array(list(one.trials[numbers[0]].parameters.values()))
    best = np.array(list(one.trials[9].parameters.values()))
    third = np.array(list(one.trials[10].parameters.values()))
    saved = suggester.state()
    assert saved is not None
    np.testing.assert_allclose(saved.arrays["mean"], (straggler + best + third) / 3, rtol=1e-9)


def test_half_a_generation_that_fails_is_replaced_and_infeasible_trials_are_no_elite() -> None:
    of = problem(2, options={"population": 10})
    one, suggester = law.Study(of), made(of)
    states = [TrialState.COMPLETED, TrialState.FAILED, TrialState.INFEASIBLE, TrialState.CANCELLED]
    for n in range(19):  # completed and infeasible ones come to ten
        suggestion = suggester.suggest(one.history(), 1)[0]
        assert suggestion.origin == {"generation": 0, "row": n, "size": 10}
        one.tell(one.start(suggestion), float(n), states[n % 4])
    assert suggester.suggest(one.history(), 1)[0].origin == {"generation": 1, "row": 0}
    saved = suggester.state()
    assert saved is not None
    best = np.array([list(one.trials[n].parameters.values()) for n in (1, 5)])
    np.testing.assert_allclose(saved.arrays["mean"], 0.3 * 0.5 + 0.7 * best.mean(axis=0), rtol=1e-9)


def test_a_generation_in_which_nothing_could_be_measured_changes_nothing() -> None:
    of = problem(2, options={"population": 4})
    one, suggester = law.Study(of), made(of)
    for _ in range(4):
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 0.0, TrialState.INFEASIBLE)
    assert suggester.suggest(one.history(), 1)[0].origin["generation"] == 1
    saved = suggester.state()
    assert saved is not None
    np.testing.assert_array_equal(saved.arrays["mean"], 0.5)
    np.testing.assert_array_equal(saved.arrays["deviation"], 0.3)


def test_a_plateau_widens_the_deviation() -> None:
    of = problem(2, options={"population": 4})
    one, suggester = law.Study(of), made(of)
    fill(one, suggester, lambda k, row: 1.0, 4)
    suggester.suggest(one.history(), 1)
    saved = suggester.state()
    assert saved is not None
    np.testing.assert_allclose(saved.arrays["deviation"], 0.375)


@pytest.mark.parametrize(("limits", "size"), [({"max_trials": 30}, 15), ({"max_trials": 5}, 4), ({}, 1000)])
def test_a_population_beyond_the_trials_of_the_study_leaves_room_for_a_second(
    limits: dict[str, int], size: int
) -> None:
    of = problem(2, options={"population": 1000}, limits=limits)
    assert f" {size} trials," in made(of).suggest(law.Study(of).history(), 1)[0].reason


def test_the_usual_population_fits_workers_and_budget() -> None:
    for limits, size in (({}, 18), ({"max_running": 40}, 40), ({"max_running": 40, "max_trials": 100}, 10)):
        of = problem(4, limits=limits)
        assert f" {size} trials," in made(of).suggest(law.Study(of).history(), 1)[0].reason


def test_generations_shrink_to_twice_the_elite_and_kept_elites_compete_again() -> None:
    of = problem(2, options={"population": 20, "elite": 0.2, "shrink": 1.25, "keep_elites": 0.5})
    one, suggester = law.Study(of), made(of)
    sizes, best = [], {}
    for _ in range(6):
        size = int(suggester.suggest(one.history(), 1)[0].reason.split(", ")[1].split()[0])
        sizes.append(size)
        for n in fill(one, suggester, lambda k, row: sphere(list(row)), size):
            best[n] = one.trials[n].metrics["loss"]
    assert sizes == [20, 16, 13, 11, 9, 8]
    suggester.suggest(one.history(), 1)
    saved = suggester.state()
    assert saved is not None
    assert sorted(saved.document["kept"]) == sorted(sorted(best, key=lambda n: best[n])[:2])


# -- what it reaches


@pytest.mark.parametrize("options", [{}, {"mode": "mppi", "fit_sigma": True}], ids=["cem", "mppi"])
def test_it_beats_random_search(options: dict[str, Any]) -> None:
    ours = [minimise("cem", sphere, 200, seed, 5, **options) for seed in range(5)]
    random = [minimise("random", sphere, 200, seed, 5) for seed in range(5)]
    assert wins(ours, random) >= 4
    assert np.median(ours) < 0.2 * np.median(random)


def test_constraints_are_met_first_and_then_the_objective_falls() -> None:
    for seed in range(3):
        of = problem(2, seed, constraints=[{"metric": "c", "max": 0.0}])
        one = optimise(of, lambda x: {"loss": sphere(x), "c": 1.4 - x[0] - x[1]}, 300)
        assert one.trials[1].feasible is False or one.trials[2].feasible is False
        assert lowest(one) == pytest.approx(0.32, abs=0.02)
        assert np.mean([t.feasible for n, t in one.trials.items() if n > 250]) > 0.3


def test_whole_numbers_and_categories_reach_the_best_cell() -> None:
    parameters = [
        {"name": "n", "type": "int", "min": 0, "max": 50},
        {"name": "m", "type": "int", "min": 1, "max": 1000, "scale": "log"},
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c", "d"]},
        {"name": "x", "type": "float", "min": 0, "max": 1},
    ]

    def value(point: list[Any]) -> float:
        n, m, kind, x = point
        return float(abs(n - 37) + abs(math.log(m / 90)) * 5 + 10 * (kind != "c") + (x - 0.2) ** 2)

    for seed in range(3):
        one = optimise(problem(parameters=parameters, seed=seed), value, 400)
        best = min(one.trials.values(), key=lambda t: t.metrics["loss"])
        assert best.parameters["kind"] == "c"
        assert best.metrics["loss"] < 1.5


def test_smooth_noise_finds_a_smooth_plan_sooner() -> None:
    """A vector of 30 time steps that must stay put as a whole: with white noise a mean of zero hides every good plan."""
    vector = [{"name": "u", "type": "vector", "length": 30, "min": -1, "max": 1}]

    def value(point: list[Any]) -> float:
        position = np.cumsum(point[0]) / 10
        return float(((position - np.linspace(0, 1.5, 30)) ** 2).mean())

    found = {}
    for colour in (0.0, 2.0):
        options = {"colour": colour, "population": 20}
        found[colour] = [
            lowest(optimise(problem(parameters=vector, seed=s, options=options), value, 200)) for s in range(3)
        ]
    assert wins(found[2.0], found[0.0]) == 3
    assert np.median(found[2.0]) < 0.5 * np.median(found[0.0])


def test_a_users_better_point_draws_the_mean() -> None:
    of = problem(2, options={"population": 6, "elite": 0.2, "smoothing": 1.0})
    one, suggester = law.Study(of), made(of)
    one.tell(one.add({"x0": 0.9, "x1": 0.9}), -5.0)
    numbers = fill(one, suggester, lambda k, row: 1.0 + k, 6)
    suggester.suggest(one.history(), 1)
    best = np.array(list(one.trials[numbers[0]].parameters.values()))
    saved = suggester.state()
    assert saved is not None
    np.testing.assert_allclose(saved.arrays["mean"], (best + 0.9) / 2, rtol=1e-9)


# -- bad days


@pytest.mark.parametrize("restart", ["saved", "lost"])
@pytest.mark.parametrize(
    "options",
    [{}, {"mode": "mppi", "fit_sigma": True}, {"keep_elites": 1.0, "shrink": 1.3}],
    ids=["cem", "mppi", "icem"],
)
def test_restarts_change_nothing_over_many_generations(options: dict[str, Any], restart: str) -> None:
    fields = {**law.SPACES["mixed"], "constraints": [{"metric": "c", "max": 0.5}]}
    of = problem(options={"population": 8} | options, **fields)

    def path(restart: str) -> list[dict[str, Any]]:
        one, suggester, found, running = law.Study(of), law.make(get("cem"), of), [], list[int]()
        for n in range(90):
            if restart == "saved":
                suggester = law.make(get("cem"), of, law.save(suggester))
            elif restart == "lost" and n % 9 == 0:
                suggester = law.make(get("cem"), of)
            suggestion = suggester.suggest(one.history(), 1)[0]
            found.append(suggestion.parameters)
            running.append(one.start(suggestion))
            while len(running) > 4:
                number = running.pop(n * 7919 % len(running))
                state = TrialState.COMPLETED if number % 9 else list(TrialState)[-1 - number // 9 % 4]
                one.tell(number, math.sin(number), state, c=math.cos(number))
        return found

    assert path(restart) == path("never")


def test_colour_without_a_vector_is_refused() -> None:
    with pytest.raises(Invalid) as error:
        get("cem").check(problem(2, options={"colour": 1.0}).spec)
    assert error.value.errors[0].pointer == "/suggester/options/colour"


def test_rows_that_are_all_known_are_looked_at_once_an_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    of = problem(
        parameters=[{"name": "n", "type": "int", "min": 0, "max": 60}], options={"sigma0": 1e-3, "min_sigma": 0.0}
    )
    drawn: list[int] = []
    row = CrossEntropy._row
    monkeypatch.setattr(CrossEntropy, "_row", lambda self, k: drawn.append(k) or row(self, k))
    assert len(made(of).suggest(law.Study(of).history(), 50)) == 50
    assert len(drawn) < 2 * MOST_ROWS

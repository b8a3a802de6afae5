"""SNES: the update as the paper has it, what a generation learns from, runs, and whoever asks in whatever order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.domain.suggester import Suggestion
from services.domain.trial import TrialState
from tests.suggesters import law, local_study
from tests.suggesters.local_study import CELLS, from_best_cell, lowest, optimise, path, values
from tests.support.objectives import sphere
from workers.suggesters.registry import get
from workers.suggesters.snes import Snes

Array = NDArray[np.float64]
COMPLETED, INFEASIBLE, FAILED = TrialState.COMPLETED, TrialState.INFEASIBLE, TrialState.FAILED


def problem(d: int = 4, seed: int = 5, options: dict[str, Any] | None = None, **fields: Any) -> law.Problem:
    return local_study.problem("snes", d, seed, options, **fields)


def made(of: law.Problem) -> Snes:
    found = local_study.fresh(of)
    assert isinstance(found, Snes)
    return found


def arrays(suggester: Snes) -> dict[str, Array]:
    saved = suggester.state()
    assert saved is not None
    return {name: np.array(array) for name, array in saved.arrays.items()}


def rows(suggestions: list[Suggestion]) -> Array:
    return np.array([list(s.parameters.values()) for s in suggestions])


def fill(one: law.Study, suggester: Snes, outcome: Callable[[int, Array], float]) -> list[int]:
    """Tell a whole generation; the numbers of its trials."""
    size = int(suggester.suggest(one.history(), 1)[0].reason.split(", ")[1].split()[0])
    suggestions = suggester.suggest(one.history(), size)
    numbers = [one.start(s) for s in suggestions]
    for k, (number, row) in enumerate(zip(numbers, rows(suggestions), strict=True)):
        one.tell(number, outcome(k, row))
    return numbers


# -- the update


def natural_gradient(mean: Array, deviation: Array, x: Array) -> tuple[Array, Array]:
    """Of log N(x; mean, diag(deviation²)) by (mean, log deviation): the Fisher matrix solved, all matrices dense."""
    n = len(mean)
    inverse = np.linalg.inv(np.diag(deviation**2))
    score = np.concatenate([inverse @ (x - mean), np.diag(np.outer(x - mean, x - mean) @ inverse) - 1])
    fisher = np.zeros((2 * n, 2 * n))
    fisher[:n, :n], fisher[n:, n:] = inverse, 2 * np.eye(n)
    found = np.linalg.solve(fisher, score)
    return found[:n], found[n:]


def test_a_study_follows_the_natural_gradient() -> None:
    n, population = 5, 8
    rate = (3 + math.log(n)) / (5 * math.sqrt(n))
    raw = [max(0.0, math.log(population / 2 + 1) - math.log(i)) for i in range(1, population + 1)]
    utility = [u / sum(raw) - 1 / population for u in raw]
    one, suggester = law.Study(problem(n, options={"sigma0": 0.05})), made(problem(n, options={"sigma0": 0.05}))
    mean, deviation = np.full(n, 0.5), np.full(n, 0.05)
    for _ in range(12):
        numbers = fill(one, suggester, lambda k, row: sphere(list(row)))
        assert len(numbers) == population
        points = np.array([values(one, number) for number in numbers])
        order = np.argsort([sphere(list(x)) for x in points])
        gradients = [natural_gradient(mean, deviation, points[i]) for i in order]
        to_mean = sum(u * g for u, (g, _) in zip(utility, gradients, strict=True))
        to_spread = sum(u * g for u, (_, g) in zip(utility, gradients, strict=True))
        mean, deviation = mean + to_mean, deviation * np.exp(rate * to_spread)
        suggester.suggest(one.history(), 1)
        np.testing.assert_allclose(arrays(suggester)["mean"], mean, rtol=1e-9)
        np.testing.assert_allclose(arrays(suggester)["deviation"], deviation, rtol=1e-8)
    assert np.linalg.norm(mean - 0.3) < 0.5 * np.linalg.norm(np.full(n, 0.2))


def test_only_the_order_of_values_counts_and_scales_of_coordinates_do_not() -> None:
    def run(value: Callable[[float], float], scale: float = 1.0) -> list[list[float]]:
        parameters = [{"name": n, "type": "float", "min": 0, "max": scale} for n in "xyz"]
        one = optimise(problem(parameters=parameters), lambda x: value(sphere([v / scale for v in x])), 60)
        return [[v / scale for v in values(one, number)] for number in one.trials]

    first = run(lambda v: v)
    assert run(lambda v: math.exp(9 * v) - 1e6) == first
    np.testing.assert_allclose(run(lambda v: v, 1e6), first, rtol=1e-12)


# -- what a generation learns from


def test_a_late_and_a_foreign_outcome_attract_and_never_repel() -> None:
    of = problem(3, options={"popsize": 6})

    def ends(*told: tuple[str, float]) -> dict[str, Array]:
        one, suggester = law.Study(of), made(of)
        numbers = [one.start(s) for s in suggester.suggest(one.history(), 7)]
        for number in numbers[1:]:
            one.tell(number, 10.0 + number)
        for who, value in told:
            number = numbers[0] if who == "late" else one.add({"x0": 0.9, "x1": 0.9, "x2": 0.9})
            one.tell(number, value)
        fill(one, suggester, lambda k, row: 1.0 + k)
        assert suggester.suggest(one.history(), 1)[0].origin["generation"] == 2
        return arrays(suggester)

    alone = ends()
    for who in ("late", "foreign"):
        good, bad = ends((who, -1.0)), ends((who, 99.0))
        assert np.linalg.norm(good["mean"] - alone["mean"]) > 0.01
        assert np.linalg.norm(bad["mean"] - alone["mean"]) < np.linalg.norm(good["mean"] - alone["mean"])
    assert (ends(("foreign", -1.0))["mean"] > alone["mean"]).all()


def test_failed_rows_are_replaced_and_too_few_outcomes_halve_the_deviation() -> None:
    of = problem(2, options={"popsize": 8})
    one, suggester = law.Study(of), made(of)
    for n in range(9):
        suggestion = suggester.suggest(one.history(), 1)[0]
        assert (suggestion.origin["generation"], suggestion.origin["row"]) == (0, n)
        one.tell(one.start(suggestion), float(n), (COMPLETED, FAILED)[n == 3] if n < 4 else INFEASIBLE)
    suggester.suggest(one.history(), 1)  # 3 of 8 were evaluated, fewer than half
    np.testing.assert_allclose(arrays(suggester)["deviation"], 0.15)
    np.testing.assert_allclose(arrays(suggester)["mean"], values(one, 1))


def test_rows_come_from_anywhere_until_something_can_be_evaluated() -> None:
    of = problem(2, options={"popsize": 4, "sigma0": 0.01})
    one, suggester = law.Study(of), made(of)
    for _ in range(8):
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), 0.0, INFEASIBLE)
    assert "anywhere" in suggester.suggest(one.history(), 1)[0].reason
    numbers = fill(one, suggester, lambda k, row: float(k))
    assert rows(suggester.suggest(one.history(), 4)).std() < 0.3
    np.testing.assert_allclose(arrays(suggester)["mean"], values(one, numbers[0]))
    np.testing.assert_allclose(arrays(suggester)["deviation"], 0.01)


def test_a_plateau_widens_and_a_generation_of_another_method_is_not_its_own() -> None:
    of = problem(2, options={"popsize": 4, "sigma0": 0.1})
    one, suggester = law.Study(of), made(of)
    for row in range(4):
        number = one.start(
            Suggestion(parameters={"x0": 0.1, "x1": 0.1}, reason="", origin={"generation": 0, "row": row})
        )
        one.tell(number, 1.0)
    fill(one, suggester, lambda k, row: 1.0)
    assert suggester.suggest(one.history(), 1)[0].origin["generation"] == 1
    np.testing.assert_allclose(arrays(suggester)["deviation"], 0.1 * 2 / 3 * 1.25)  # told points: a nearer start


@pytest.mark.parametrize(
    ("fields", "size"),
    [({}, 10), ({"max_running": 40}, 40), ({"max_running": 40, "max_trials": 60}, 20), ({"max_trials": 5}, 4)],
)
def test_the_population_fits_workers_and_budget(fields: dict[str, int], size: int) -> None:
    assert f" {size} trials" in made(problem(10, limits=fields)).suggest(law.Study(problem(10)).history(), 1)[0].reason


def test_noise_doubles_the_population() -> None:
    of = problem(10, objectives=[{"metric": "loss", "noisy": True}])
    assert " 20 trials" in made(of).suggest(law.Study(of).history(), 1)[0].reason


# -- where it starts, and starts again


def test_it_starts_at_the_best_that_is_told_at_defaults_or_in_the_middle_of_what_is_allowed() -> None:
    def start(one: law.Study) -> Array:
        return rows(made(one.problem).suggest(one.history(), 400)).mean(axis=0)

    tight = {"options": {"sigma0": 1e-3}}
    known = law.Study(problem(2, **tight))
    for place in (0.2, 0.7, 0.4):
        known.tell(known.add({"x0": place, "x1": place}), abs(place - 0.6))
    np.testing.assert_allclose(start(known), 0.7, atol=1e-3)
    for k in range(13):  # 8 n of them: as wide as the good ones are spread
        known.tell(known.add({"x0": 0.6 + k / 100, "x1": 0.6}), k / 100)
    wide = law.Study(problem(2))
    wide.trials, wide.seq = known.trials, known.seq
    assert rows(made(wide.problem).suggest(wide.history(), 400)).std(axis=0) == pytest.approx(
        0.5 * 0.025 / 2**0.5, rel=0.2
    )
    default = [{"name": n, "type": "float", "min": 0, "max": 1, "default": 0.2} for n in "xy"]
    np.testing.assert_allclose(start(law.Study(problem(parameters=default, **tight))), 0.2, atol=1e-3)
    corner = law.Study(problem(2, parameter_constraints=["x0 + x1 <= 0.3"], **tight))
    assert start(corner).sum() < 0.3


def test_a_run_that_is_over_begins_again_elsewhere_with_twice_the_population() -> None:
    def value(x: list[float]) -> float:
        return sphere(x) + 1.0  # soon all equal, for doubles hold no more digits

    one = optimise(problem(2, seed=1), value, 900)
    sizes = [4 + math.floor(3 * math.log(2))]
    generations = {t.origin["generation"] for t in one.trials.values()}
    told = [sum(t.origin["generation"] == g for t in one.trials.values()) for g in sorted(generations)]
    assert set(told[:-1]) <= {sizes[0] * 2**k for k in range(8)}
    assert max(told) >= 2 * sizes[0]
    stay = optimise(problem(2, seed=1, options={"restarts": "none"}), value, 900)
    assert {t.origin["row"] for t in stay.trials.values()} == set(range(sizes[0]))


# -- every kind of parameter, every kind of day


def test_whole_numbers_and_choices_reach_the_best_cell() -> None:
    for seed in range(3):
        assert lowest(optimise(problem(parameters=CELLS, seed=seed), from_best_cell, 300)) < 0.1


def test_an_optimum_on_the_border_and_in_a_corner_that_constraints_leave() -> None:
    assert lowest(optimise(problem(3), lambda x: sum(x), 250)) < 1e-2
    of = problem(2, constraints=[{"metric": "c", "max": 0.0}])
    one = optimise(of, lambda x: {"loss": sphere(x), "c": 1.4 - x[0] - x[1]}, 250)
    assert lowest(one) == pytest.approx(0.32, abs=0.02)


@pytest.mark.parametrize("restart", ["saved", "lost"])
def test_restarts_of_the_worker_change_nothing(restart: str) -> None:
    fields = {**law.SPACES["mixed"], "constraints": [{"metric": "c", "max": 0.5}]}
    of = problem(options={"popsize": 4}, **fields)

    def walk(restart: str) -> list[dict[str, Any]]:
        one, suggester, found, out = law.Study(of), local_study.fresh(of), [], list[int]()
        for n in range(80):
            if restart == "saved":
                suggester = law.make(get("snes"), of, law.save(suggester))
            elif restart == "lost" and n % 9 == 0:
                suggester = local_study.fresh(of)
            suggestion = suggester.suggest(one.history(), 1)[0]
            found.append(suggestion.parameters)
            out.append(one.start(suggestion))
            while len(out) > 3:
                number = out.pop(n * 7919 % len(out))
                state = COMPLETED if number % 9 else list(TrialState)[-1 - number // 9 % 4]
                one.tell(number, math.sin(number), state, c=math.cos(number))
        return found

    assert walk(restart) == walk("never")


def test_nor_do_they_across_runs_and_lost_leases() -> None:
    of = problem(1, options={"popsize": 4}, parameters=[{"name": "x0", "type": "float", "min": 0, "max": 1e-300}])
    assert path(of, 160, 2, 9) == path(of, 160, 2, 1000)
    of = problem(2, options={"popsize": 4})
    usual = law.with_lost_leases(of, "never", 20)
    assert law.with_lost_leases(of, "saved", 20) == usual
    assert law.with_lost_leases(of, "lost", 20) == usual


def test_ten_thousand_numbers_cost_two_arrays() -> None:
    vector = [{"name": "w", "type": "vector", "length": 10_000, "min": -1, "max": 1, "encoding": "float64"}]
    of = problem(parameters=vector)
    one, suggester = law.Study(of), made(of)
    told = of.space.by_name["w"]
    history = one.history()
    for _ in range(80):
        number = one.start(suggester.suggest(history, 1)[0])
        one.tell(number, float((told.numbers(one.trials[number].parameters["w"]) ** 2).sum()))
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    saved = arrays(suggester)
    assert sum(array.size for array in saved.values()) == 20_000
    assert saved["deviation"].mean() < 0.3

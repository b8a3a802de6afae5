"""CONFIG: as published on samples of its own prior; its verdict on whole problems, right and silent where it should be."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.reproduce_config import draw, run, sums
from services.domain.suggester import Suggestion
from tests.suggesters import law
from tests.support.builders import study
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel
from workers.models.optimistic import LeastViolation, LowerBound, Optimistic, next_on_grid
from workers.suggesters.registry import get

SQUARE = [{"name": n, "type": "float", "min": 0, "max": 6} for n in "xy"]


def test_infeasible_samples_of_the_prior_are_declared_when_published() -> None:
    steps = [run(*draw(np.random.default_rng([17, i]), feasible=False), "config", 30)[1] for i in range(15)]
    assert None not in steps
    assert 14 <= float(np.median([s for s in steps if s is not None])) <= 18
    assert max(s for s in steps if s is not None) <= 25


def test_feasible_samples_are_solved_and_never_declared() -> None:
    for i in range(6):
        objective, constraint = draw(np.random.default_rng([17, i]), feasible=True)
        asked, declared = run(objective, constraint, "config", 60)
        assert declared is None
        assert sums(objective, constraint, asked)[2] < 0.01


def test_bounds_have_the_gradients_of_finite_differences() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.random((20, 3)), Kernel.ard(np.zeros(3, dtype=bool))
    theta = Hyperparameters(np.array([0.3, 0.6, 1.0]), 1e-4, 0.1)
    first, second = (GaussianProcess(x, rng.normal(size=20), theta, kernel) for _ in range(2))
    bounds = [LowerBound(second, 3.0, shift=0.5), LowerBound(first, 1.0, sign=-1.0)]
    points = rng.random((6, 3))
    for function in (LowerBound(first, 3.0), LeastViolation(bounds), Optimistic(bounds[0], bounds, 10.0)):
        value, gradient = function.value_and_gradient(points)
        np.testing.assert_allclose(value, function.values(points))
        for j in range(3):
            step = 1e-6 * np.eye(3)[j]
            numeric = (function.values(points + step) - function.values(points - step)) / 2e-6
            np.testing.assert_allclose(gradient[:, j], numeric, rtol=1e-4, atol=1e-5)


def test_where_nothing_may_be_feasible_the_least_violating_point_is_next() -> None:
    assert next_on_grid(np.array([0.0, 5.0, -9.0]), np.array([[-1.0, -0.1, 0.2]])) == (0, True)
    assert next_on_grid(np.array([0.0, 5.0, -9.0]), np.array([[1.0, 0.3, 0.2], [0.0, 0.1, 0.5]])) == (1, False)


def solve(
    loss: Callable[..., float], constraint: Callable[..., float], trials: int, seed: int = 1, **fields: Any
) -> tuple[list[Suggestion], float, int]:
    """So many trials of `config`: its suggestions, the best feasible loss, how many trials broke the constraint."""
    made = study(
        parameters=fields.pop("parameters", SQUARE), constraints=[{"metric": "c", "max": 0.0}],
        suggester={"name": "config"}, seed=seed, **fields,
    )  # fmt: skip
    one = law.Study(law.Problem(study="s", spec=made, seed=seed))
    suggester, found, best, broken = law.make(get("config"), one.problem), [], math.inf, 0
    for _ in range(trials):
        suggestion = suggester.suggest(one.history(), 1)[0]
        values = {"loss": loss(**suggestion.parameters), "c": constraint(**suggestion.parameters)}
        number = one.start(suggestion)
        one.tell(number, 0.0)
        one.trials[number] = law.with_metrics(one.trials[number], values, values["c"] <= 0)
        best = min(best, values["loss"]) if values["c"] <= 0 else best
        broken += values["c"] > 0
        found.append(suggestion)
    return found, best, broken


def gardner(x: float, y: float) -> float:
    return math.cos(2 * x) * math.cos(y) + math.sin(x)


def test_the_published_two_dimensional_problem_is_solved() -> None:
    found, best, _ = solve(gardner, lambda x, y: math.cos(x + y) + 0.6, 45)
    assert best < -1.80  # -1.8342 at (4.600, 5.752); 29 % are feasible
    assert all(s.finding is None for s in found)
    assert "optimistic" in found[-1].reason
    assert found[-1].receipt is not None
    assert {"loss", "c"} <= found[-1].receipt["mean"].keys()


@pytest.mark.parametrize("radius", [2.0, 0.5])
def test_it_is_silent_on_feasible_problems_also_where_little_is_feasible(radius: float) -> None:
    """2 % of the square are feasible with the smaller radius."""
    found, best, _ = solve(gardner, lambda x, y: (x - 4.6) ** 2 + (y - 1.2) ** 2 - radius**2, 30, seed=3)
    assert all(s.finding is None for s in found)
    assert math.isfinite(best)


def test_an_infeasible_problem_is_declared_with_its_evidence() -> None:
    found, _, _ = solve(gardner, lambda x, y: 0.4 + 0.1 * (x - 3) ** 2 + 0.05 * math.sin(y), 25)
    declared = [s for s in found if s.finding is not None]
    assert declared
    finding = declared[0].finding
    assert finding is not None
    assert finding["kind"] == "infeasible_suspected"
    assert finding["evidence"]["least_bound"] > 0
    assert finding["evidence"]["beta"] == pytest.approx(4.5)
    assert found[-1].finding is not None  # it holds
    assert "no bound is feasible" in found[-1].reason


def test_mixed_spaces_and_step_grids_keep_the_constraint() -> None:
    parameters = [
        {"name": "x", "type": "float", "min": 0, "max": 6, "step": 0.25},
        {"name": "kind", "type": "categorical", "choices": ["a", "b", "c"]},
        {"name": "n", "type": "int", "min": 1, "max": 9},
    ]
    _, best, broken = solve(
        lambda x, kind, n: (x - 2) ** 2 + {"a": 0.0, "b": 1.0, "c": 2.0}[kind] + 0.1 * n,
        lambda x, kind, n: 3.5 - n - (kind == "b"),
        35,
        parameters=parameters,
    )
    assert best == pytest.approx(0.4)  # x = 2, kind a, n = 4
    assert broken < 25

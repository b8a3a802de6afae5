"""What `zo` reaches: measured figures, defaults, recursive estimates, several objectives, constraints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.history import Observation
from tests.suggesters.zo_study import Run, floats, problem, sphere, vector

NOISY = {"objectives": [{"metric": "loss", "noisy": True}]}


def w(trial: Observation) -> np.ndarray:
    """Its vector."""
    return np.array(trial.parameters["w"])


# -- SPSA


def test_spsa_on_the_sphere_reaches_what_was_measured() -> None:
    found = []
    for seed in range(3):
        run = Run(problem(vector(10, default=1.0), seed, {"limits": {"max_trials": 1000}}, rule="spsa"))
        found.append(sphere(run.until(1000, sphere).recommended)["loss"])
    assert np.median(found) < 1.8e-6


def test_spsa_on_a_noisy_sphere_reaches_what_was_measured() -> None:
    found = []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        run = Run(problem(vector(10, default=1.0), seed, NOISY | {"limits": {"max_trials": 1000}}))
        assert run.ask()[0].origin["directions"] == 5  # the pilot pairs
        run.until(1000, lambda p, rng=rng: {"loss": sphere(p)["loss"] + 0.1 * rng.normal()})  # type: ignore[misc]
        assert run.suggester._steps._learner.noise == pytest.approx(0.1, rel=0.9)
        found.append(sphere(run.recommended)["loss"])
    assert np.median(found) < 0.02


def test_the_radius_stands_out_of_the_noise_and_follows_it() -> None:
    def radius(noise: float, **std: Any) -> float:
        rng = np.random.default_rng(0)
        run = Run(problem(vector(10, default=1.0), 0, NOISY, rule="adam"))
        run.until(14, lambda p: {"loss": sphere(p)["loss"] + noise * rng.normal()})
        assert run.steps >= 2
        return run.suggester._steps.radius

    assert radius(0.0) == 1e-3 or radius(0.0) < 0.01  # curvature alone looks like a little noise
    assert 0.01 < radius(0.3) <= 0.1
    assert radius(100.0) == pytest.approx(0.1, abs=0.09)
    fixed = Run(problem(vector(10), 0, NOISY, rule="adam", radius=0.03)).until(40, sphere)
    assert fixed.suggester._steps.radius == 0.03


def test_a_told_standard_error_is_the_noise() -> None:
    run = Run(problem(vector(4, default=1.0), 0, NOISY, rule="adam"))
    for trial in run.ask(10):
        run.one.trials[trial.number] = replace(trial, std={"loss": 0.25})
        run.answer(run.one.trials[trial.number], sphere)
    assert run.steps == 1
    assert run.suggester._steps._learner.noise == 0.25


# -- defaults


@pytest.mark.parametrize(
    ("parameters", "fields", "options", "estimator", "rule"),
    [
        (vector(3), {}, {}, "sphere2", "schedule-free"),
        (vector(3), {"limits": {"max_trials": 100}}, {}, "sphere2", "cosine(adam)"),
        (vector(3), {"limits": {"max_running": 8}}, {}, "orth2", "schedule-free"),
        (vector(3000), {"limits": {"max_running": 8}}, {}, "sphere2", "schedule-free"),
        (vector(3), NOISY, {}, "spsa", "spsa"),
        ([*floats("x"), {"name": "b", "type": "bool"}], {}, {}, "coord", "schedule-free"),
        (vector(3), {}, {"scheme": "frank-wolfe"}, "gauss2", "frank-wolfe"),
        (vector(3), {}, {"variance_reduction": "spider"}, "sphere2", "sgd"),
    ],
)
def test_what_is_left_open_is_chosen_by_the_study(
    parameters: Any, fields: Any, options: Any, estimator: str, rule: str
) -> None:
    run = Run(problem(parameters, 1, fields, **options))
    receipt = run.suggester.suggest(run.one.history(), 1)[0].receipt or {}
    assert (receipt["estimator"], receipt["rule"]) == (estimator, rule)


@pytest.mark.parametrize(
    ("options", "below"),
    [
        ({"estimator": "orth2", "directions": 5}, 1e-2),
        ({"estimator": "coord", "directions": 10, "rule": "lbfgs"}, 1e-12),
        ({"estimator": "es-rank", "directions": 8}, 0.1),
        ({"estimator": "guided"}, 0.05),
        ({"rule": "dog"}, 1e-4),
        ({"rule": "averaged(cosine(adam))", "rule_options": {"total_steps": 400}}, 0.02),
        ({"scheme": "smooth-acceleration", "directions": 5}, 1e-4),
        ({"scheme": "online-to-nonconvex"}, 2.0),
        ({"scheme": "conservative", "rule": "sgd", "lr": 5e-4}, 0.5),
        ({"scheme": "frank-wolfe"}, 1.0),
        ({"variance_reduction": "storm", "lr": 0.005}, 1.0),
    ],
)
def test_estimators_rules_and_schemes_go_down_the_sphere(options: dict[str, Any], below: float) -> None:
    run = Run(problem(vector(10, default=1.0), **options)).until(800, sphere)
    assert sphere(run.recommended)["loss"] < below  # from 10


# -- recursive estimates and common random numbers

CRN = [{"name": "xi", "type": "int", "min": 0, "max": 2**31 - 1}]


def noisy_linear(p: dict[str, Any]) -> dict[str, float]:
    """A slope, and noise that depends on the random numbers only."""
    return {"loss": float(np.sum(p["w"])) + 10 * float(np.random.default_rng(p["xi"]).normal())}


def test_a_direction_has_its_own_random_numbers_at_all_its_probes() -> None:
    run = Run(problem(vector(3) + CRN, crn="xi", variance_reduction="storm", directions=2, evaluate=0))
    run.until(40, noisy_linear)
    steps: dict[tuple[int, int], set[int]] = {}
    for trial in run.one.trials.values():
        generation, row = trial.origin["generation"], trial.origin["row"]
        steps.setdefault((generation, row // (2 if generation == 0 else 4)), set()).add(trial.parameters["xi"])
    assert all(len(numbers) == 1 for numbers in steps.values())
    assert len({next(iter(numbers)) for numbers in steps.values()}) == len(steps)


@pytest.mark.parametrize("kind", ["spider", "sarah", "storm"])
def test_with_common_random_numbers_the_recursion_adds_no_noise(kind: str) -> None:
    run = Run(
        problem(
            vector(4) + CRN, crn="xi", variance_reduction=kind, directions=4, estimator="orth2", lr=1e-4, evaluate=0
        )
    )
    run.until(8, noisy_linear)  # four orthogonal directions: exact on a linear function
    assert run.steps == 1
    reduction = run.suggester._steps._learner.reduction
    assert reduction is not None
    np.testing.assert_allclose(reduction.v, 10.0, rtol=1e-6)
    run.until(60, noisy_linear)
    assert run.steps >= 4
    if kind == "storm":
        assert np.abs(reduction.v - 10.0).max() < 1e-5
    else:
        np.testing.assert_allclose(reduction.v, 10.0, rtol=1e-6)


def test_old_points_are_evaluated_again_and_say_why() -> None:
    run = Run(problem(vector(4), variance_reduction="spider", directions=4, evaluate=0)).until(8, sphere)
    suggestions = run.suggester.suggest(run.one.history(), 4)
    assert [(s.receipt or {})["probe"] for s in suggestions] == ["+0", "-0", "+0*", "-0*"]
    assert ["variance reduction" in s.reason for s in suggestions] == [False, False, True, True]
    start = np.mean([np.array(s.parameters["w"]) for s in suggestions[2:]], axis=0)
    np.testing.assert_allclose(start, 0.0, atol=1e-9)  # where the first step was taken


# -- several objectives, constraints


def test_several_objectives_are_lowered_together_until_no_direction_lowers_all() -> None:
    fields = {"objectives": [{"metric": "a"}, {"metric": "b", "goal": "maximize"}]}
    ends = [np.array([-2.0, 0.0, 0.0]), np.array([2.0, 0.0, 0.0])]

    def outcome(p: dict[str, Any]) -> dict[str, float]:
        x = np.array(p["w"])
        return {"a": float(np.square(x - ends[0]).sum()), "b": -1e4 * float(np.square(x - ends[1]).sum())}

    run = Run(problem(vector(3, default=3.0), 1, fields, estimator="orth2", directions=3, rule="sgd", lr=0.01))
    before = outcome({"w": [3.0] * 3})
    run.until(900, outcome)
    x = np.array(run.recommended["w"])
    assert np.abs(x[1:]).max() < 0.1  # the Pareto set is the segment between the two minima, whatever their units
    assert -2.1 < x[0] < 2.1
    after = outcome({"w": list(x)})
    assert after["a"] < before["a"]
    assert after["b"] > before["b"]


@pytest.mark.parametrize("unit", [1.0, 1e4])
@pytest.mark.parametrize("options", [{}, {"estimator": "forward"}])
def test_a_constraint_gets_its_price_whatever_its_unit(options: dict[str, Any], unit: float) -> None:
    fields = {"constraints": [{"metric": "c", "min": 0.16 * unit}]}
    chosen = {"directions": 2, "rule": "adam", "lr": 0.01} | options
    run = Run(problem(floats("x", "y"), 1, fields, **chosen))
    run.until(800, lambda p: {"loss": p["x"] + p["y"], "c": unit * p["x"] * p["y"]})
    points = [t.parameters for t in run.one.trials.values()][-200:]
    x, y = (float(np.mean([p[name] for p in points])) for name in "xy")
    assert x + y == pytest.approx(0.8, abs=0.06)
    assert x * y == pytest.approx(0.16, abs=0.03)
    prices = run.suggester._steps._learner.prices
    assert prices is not None
    assert 0.3 < prices.multipliers[0] < 3  # 1 by rights: the slopes of objective and bound are parallel there


@pytest.mark.parametrize("method", ["augmented", "dual"])
def test_a_binding_constraint_of_a_convex_problem_is_met(method: str) -> None:
    fields = {"constraints": [{"metric": "c", "max": 0.6}]}
    run = Run(
        problem(floats("x", "y"), 1, fields, directions=2, constraint_method=method, lr=0.02, rule="averaged(sgd)")
    )
    run.until(800, lambda p: {"loss": (p["x"] - 0.9) ** 2 + (p["y"] - 0.7) ** 2, "c": p["x"] + p["y"]})
    assert run.recommended["x"] == pytest.approx(0.4, abs=0.03)
    assert run.recommended["y"] == pytest.approx(0.2, abs=0.03)


def test_an_idle_constraint_costs_nothing() -> None:
    fields = {"constraints": [{"metric": "c", "max": 100.0}]}
    run = Run(problem(vector(3, default=1.0), 1, fields, rule="dog"))
    run.until(300, lambda p: sphere(p) | {"c": 1.0 + 0.001 * p["w"][0]})
    prices = run.suggester._steps._learner.prices
    assert prices is not None
    assert prices.multipliers[0] == 0.0
    assert sphere(run.recommended)["loss"] < 1e-3

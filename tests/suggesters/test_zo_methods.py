"""What `zo` reaches: measured figures, schemes, recursive estimates, several objectives, constraints, told derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.history import Observation
from tests.suggesters.zo_study import Run, floats, problem, sphere, vector
from workers.suggesters.zo.special import FrankWolfe

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


# -- Frank-Wolfe


@pytest.mark.parametrize("options", [{"estimator": "coord"}, {"directions": 4}, {}])
def test_iterates_never_leave_the_simplex(options: dict[str, Any]) -> None:
    run = Run(problem(vector(6, low=-0.5, high=2.0), scheme="frank-wolfe", domain="simplex", evaluate=1, **options))
    aim = np.array([0.7, 0.3, 0.0, 0.0, 0.0, 0.0])
    for _ in range(200):
        run.until(len(run.one.trials) + 2, lambda p: {"loss": float(np.square(np.array(p["w"]) - aim).sum())})
        z = -0.5 + 2.5 * run.x
        assert abs(z.sum() - 1) < 1e-12
        assert z.min() > -1e-12
    # The recommended points are iterates, so each of them may be used as it is.
    special = [w(t) for t in run.one.trials.values() if t.origin["row"] == -2]
    assert len(special) > 10
    assert max(abs(z.sum() - 1) for z in special) < 1e-12
    assert np.square(special[-1] - aim).sum() < 0.02


def test_the_l1_ball_holds_and_the_sparse_optimum_is_found() -> None:
    run = Run(
        problem(vector(8, low=-3, high=3), scheme="frank-wolfe", domain="l1", domain_size=2.0, directions=4, evaluate=0)
    )
    aim = np.zeros(8)
    aim[2] = -5.0
    run.until(600, lambda p: {"loss": float(np.square(np.array(p["w"]) - aim).sum())})
    z = -3 + 6 * run.x
    assert np.abs(z).sum() <= 2 + 1e-12
    assert z[2] < -1.9


def test_the_gap_falls_at_least_as_fast_as_published() -> None:
    n, steps = 100, 3000
    gaps = np.zeros(steps)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        aim = rng.dirichlet(np.ones(n))
        scheme = FrankWolfe(
            np.eye(n)[0], lambda wanted, x: wanted, domain="simplex", size=1.0, low=0.0, width=1.0, directions=1,
            is_coordinate=False,
        )  # fmt: skip
        for t in range(steps):
            z = rng.normal(size=n)
            scheme.move((z @ (scheme.x - aim)) * z, 0.0, t, 1.0, {})  # the central difference of a quadratic is exact
            gaps[t] += 0.5 * np.square(scheme.x - aim).sum()
    late = np.arange(300, steps)
    slope = np.polyfit(np.log(late), np.log(gaps[late]), 1)[0]
    assert slope < -1 / 3
    assert slope < -0.8  # measured: -1.1 between 300 and 10 000 steps


# -- careful, accelerated, non-convex


def test_a_conservative_descent_never_accepts_a_worse_point() -> None:
    run = Run(problem(vector(4, default=1.0), scheme="conservative", rule="sgd", lr=0.001, evaluate=0))
    best = sphere({"w": [1.0] * 4})["loss"]
    for _ in range(60):
        run.until(len(run.one.trials) + 1, sphere)
        here = sphere(run.recommended)["loss"]
        assert here <= best + 1e-12
        best = here
    assert best < 2.0
    labels = {t.origin["row"] for t in run.one.trials.values()}
    assert labels == {0, 1, 2}  # pairs, and candidates: ahead, back, and where we are only while its value is unknown


def test_a_conservative_step_must_be_better_than_the_noise() -> None:
    run = Run(problem(vector(2, default=1.0), scheme="conservative", rule="sgd", lr=1e-4, evaluate=0))
    before = run.x.copy()
    while run.suggester._steps.generation < 6:
        trial = run.ask()[0]
        run.one.trials[trial.number] = replace(trial, std={"loss": 1.0})
        run.answer(run.one.trials[trial.number], sphere)
        run.steps  # noqa: B018 - reading it closes what is full
    np.testing.assert_array_equal(run.x, before)


def test_acceleration_starts_anew_with_half_the_radius() -> None:
    run = Run(problem(vector(10, default=1.0), scheme="smooth-acceleration", directions=10, radius=0.05, evaluate=0))
    run.until(2000, lambda p: {"loss": float(np.abs(np.array(p["w"])).sum())}, count=20)
    scheme: Any = run.suggester._steps.scheme
    assert scheme.restarts >= 3
    assert run.suggester._steps.radius == max(0.05 * 0.5**scheme.restarts, 1e-6)
    assert np.abs(np.array(run.recommended["w"])).sum() < 0.1  # from 10


def test_online_learning_moves_by_short_increments_and_reports_an_average() -> None:
    run = Run(problem(vector(5, default=1.0), scheme="online-to-nonconvex", lr=0.01, evaluate=0))
    before = run.x.copy()
    for _ in range(100):
        run.until(len(run.one.trials) + 2, sphere)
        assert np.linalg.norm(run.x - before) <= 0.01 + 1e-12
        before = run.x.copy()
    assert not np.array_equal(run.suggester._steps.scheme.recommend(), run.x)
    assert sphere(run.recommended)["loss"] < sphere({"w": [1.0] * 5})["loss"]


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


# -- what clients can tell beside values


def test_a_told_derivative_along_the_carried_direction_is_enough() -> None:
    tangent = [{"name": "u", "type": "vector", "length": 5, "min": -1, "max": 1}]
    run = Run(
        problem(vector(5, default=1.0) + tangent, 1, {"limits": {"max_trials": 400}}, estimator="forward-grad",
                tangent="u", evaluate=0)
    )  # fmt: skip

    def outcome(p: dict[str, Any]) -> dict[str, float]:
        assert np.linalg.norm(p["u"]) == pytest.approx(1.0)
        return sphere(p) | {"jvp": float(2 * np.array(p["w"]) @ np.array(p["u"]))}

    run.until(398, outcome)
    assert sphere(run.recommended)["loss"] < 0.01
    silent = Run(problem(vector(5) + tangent, estimator="forward-grad", tangent="u", evaluate=0)).until(20, sphere)
    assert silent.steps == 0  # values alone are not what was asked for


def test_packed_vectors_carry_point_and_direction_and_a_matrix_gives_its_shape_to_the_rule() -> None:
    packed = {"type": "vector", "length": 6, "min": -1, "max": 1, "encoding": "float64"}
    parameters = [packed | {"name": "w", "shape": [2, 3], "default": [0.5] * 6}, packed | {"name": "u"}]
    run = Run(problem(parameters, 1, None, estimator="forward-grad", tangent="u", rule="asgo", lr=0.02))
    read = run.one.problem.space.by_name

    def outcome(p: dict[str, Any]) -> dict[str, float]:
        x, u = (np.asarray(read[name].numbers(p[name])) for name in "wu")  # type: ignore[union-attr]
        return {"loss": float(x @ x), "jvp": float(2 * x @ u)}

    run.until(300, outcome)
    assert outcome(run.recommended | {"u": [0.0] * 6})["loss"] < 0.1  # from 1.5


def test_forward_gradients_are_unbiased_in_the_clients_unit() -> None:
    tangent = [{"name": "u", "type": "vector", "length": 4, "min": -1, "max": 1}]
    a = np.array([1.0, -2.0, 0.5, 3.0])
    run = Run(
        problem(vector(4, low=0, high=10) + tangent, 1, None, estimator="forward-grad", tangent="u", rule="sgd",
                lr=1e-6, directions=2000, evaluate=0, rule_options={"clip": 1e9})
    )  # fmt: skip
    for trial in run.ask(2000):
        run.answer(trial, lambda p: {"loss": 0.0, "jvp": float(a @ np.array(p["u"]))})
    assert run.steps == 1
    g = (0.5 - run.x) / 1e-6 / 10  # back from shares of the range
    np.testing.assert_allclose(g, a, atol=5 * np.linalg.norm(a) * np.sqrt(4 / 2000))


def test_a_fixed_point_is_found_from_residuals_alone() -> None:
    rng = np.random.default_rng(0)
    m = rng.normal(size=(6, 6))
    m = np.eye(6) + 0.2 * (m @ m.T) / 6
    aim = rng.uniform(-1, 1, 6)
    run = Run(problem(vector(6), 1, None, estimator="residual", lr=0.5, evaluate=0))
    for _ in range(60):
        trial = run.ask()[0]
        residual = m @ w(trial) + 0.1 * np.sin(w(trial)) - aim
        run.one.trials[trial.number] = replace(trial, residual=tuple(float(v) for v in residual))
        run.tell(trial.number, float(residual @ residual))
    assert run.steps == 60
    assert run.one.trials[60].metrics["loss"] < 1e-12
    first, second = run.ask(2)
    assert first.parameters == second.parameters  # nobody waits for a lost answer
    run.one.trials[second.number] = replace(second, residual=(0.0,) * 5)
    run.tell(second.number, 0.0)
    assert run.steps == 60  # a residual of another length is none


@pytest.mark.parametrize("scale", [30.0, 1e5])
def test_a_residual_that_is_too_steep_for_lr_shortens_it(scale: float) -> None:
    rng = np.random.default_rng(0)
    m = rng.normal(size=(6, 6))
    m, aim = scale * (np.eye(6) + 0.3 * m @ m.T / 6), rng.uniform(-1, 1, 6)
    run = Run(problem(vector(6), 1, None, estimator="residual", evaluate=0))
    residual = np.zeros(6)
    for _ in range(120):
        trial = run.ask()[0]
        residual = m @ w(trial) - scale * aim
        run.one.trials[trial.number] = replace(trial, residual=tuple(float(v) for v in residual))
        run.tell(trial.number, float(residual @ residual))
    assert np.linalg.norm(residual) < 1e-9 * scale
    scheme: Any = run.suggester._steps.scheme
    assert scheme.lr < 2 / np.linalg.eigvalsh(m)[-1]


def test_a_noisy_residual_leaves_lr_as_it_is() -> None:
    rng, aim = np.random.default_rng(0), np.ones(6)
    run = Run(problem(vector(6), 1, None, estimator="residual", evaluate=0))
    for _ in range(200):
        trial = run.ask()[0]
        residual = w(trial) - aim + 0.1 * rng.normal(size=6)
        run.one.trials[trial.number] = replace(trial, residual=tuple(float(v) for v in residual))
        run.tell(trial.number, float(residual @ residual))
    scheme: Any = run.suggester._steps.scheme
    assert scheme.lr == 0.1
    assert np.linalg.norm(np.array(run.recommended["w"]) - aim) < 0.2

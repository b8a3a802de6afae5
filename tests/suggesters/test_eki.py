"""The ensemble methods: what they converge to in closed form, and the same through a study, whoever asks in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.trial import Outcome, TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import minimise
from workers.models.ensemble_kalman import (
    climb,
    conditioned,
    emulator,
    information_bounds,
    kalman_step,
    langevin_step,
    spread_out,
    step_size,
)
from workers.suggesters.registry import get

TIMES = np.linspace(0, 2, 10)
ABC = [
    {"name": "a", "type": "float", "min": 0.01, "max": 5},
    {"name": "b", "type": "float", "min": 0.01, "max": 5},
    {"name": "c", "type": "float", "min": -1, "max": 5},
]
TRUTH = {"a": 1.3, "b": 0.7, "c": 0.2}
RESIDUAL = [f"r{i}" for i in range(10)]


def problem(parameters: list[Any], options: dict[str, Any], seed: int = 1, **fields: Any) -> law.Problem:
    """A study for `eki`."""
    made = study(parameters=parameters, suggester={"name": "eki", "options": options}, seed=seed, **fields)
    get("eki").check(made)
    return law.Problem(study="s", spec=made, seed=seed)


def tell(one: law.Study, number: int, metrics: dict[str, float]) -> None:
    """An outcome with several metrics."""
    one.tell(number, 0.0, **metrics)


def run(
    of: law.Problem, outcome: Callable[[dict[str, Any]], dict[str, float]], trials: int, count: int = 1
) -> law.Study:
    """Tell `count` at a time."""
    one, suggester = law.Study(of), law.make(get("eki"), of)
    history = one.history()
    while len(one.trials) < trials:
        numbers = [one.start(s) for s in suggester.suggest(history, count)]
        for number in numbers:
            tell(one, number, outcome(one.trials[number].parameters))
        history.update([one.trials[n] for n in numbers], seq=one.seq, next_number=numbers[-1] + 1)
    return one


def receipt(one: law.Study) -> dict[str, Any]:
    """What a suggester made anew believes."""
    return dict(law.make(get("eki"), one.problem).suggest(one.history(), 1)[0].receipt or {})


# -- the formulas


def linear(seed: int = 0, d: int = 3, m: int = 5) -> tuple[Any, ...]:
    """A linear-Gaussian problem in whitened units: matrix, data, posterior mean and covariance."""
    rng = np.random.default_rng(seed)
    a, y = rng.normal(size=(m, d)), 2 * rng.normal(size=m)
    covariance = np.linalg.inv(a.T @ a + np.eye(d))
    return a, y, covariance @ a.T @ y, covariance


def test_the_langevin_particles_have_the_exact_posterior() -> None:
    a, y, mean, covariance = linear()
    rng = np.random.default_rng(1)
    z, seen = spread_out(rng.standard_normal((60, 3))), []
    for t in range(1500):
        z = langevin_step(z, z @ a.T - y, rng.standard_normal((60, 60)))
        if t > 100:
            seen.append(z)
    found = np.concatenate(seen)
    assert np.abs((found.mean(axis=0) - mean) / np.sqrt(np.diag(covariance))).max() < 0.05
    assert np.linalg.norm(np.cov(found.T) - covariance) < 0.05 * np.linalg.norm(covariance)


def test_a_longer_step_leaves_the_posterior_where_it_is() -> None:
    a, y, _, covariance = linear()
    for longest in (0.1, 1.0):
        rng, seen = np.random.default_rng(2), []
        z = spread_out(rng.standard_normal((100, 3)))
        for t in range(1500):
            z = langevin_step(z, z @ a.T - y, rng.standard_normal((100, 100)), longest)
            if t > 200:
                seen.append(np.cov(z.T))
        assert np.linalg.norm(np.mean(seen, axis=0) - covariance) < 0.08 * np.linalg.norm(covariance)


def test_kalman_steps_up_to_time_one_reach_the_posterior() -> None:
    a, y, mean, covariance = linear()
    rng, time = np.random.default_rng(3), 0.0
    z = spread_out(rng.standard_normal((1000, 3)))
    while time < 1 - 1e-9:
        r = z @ a.T - y
        h = step_size(r, 1 - time)
        z, time = kalman_step(z, r, h, rng.standard_normal(r.shape)), time + h
    assert np.abs((z.mean(axis=0) - mean) / np.sqrt(np.diag(covariance))).max() < 0.1
    assert np.linalg.norm(np.cov(z.T) - covariance) < 0.05 * np.linalg.norm(covariance)


def test_the_ensemble_space_form_is_the_kalman_gain() -> None:
    rng = np.random.default_rng(4)
    z, r, noise, h = rng.normal(size=(9, 4)), rng.normal(size=(9, 6)), rng.normal(size=(9, 6)), 0.3
    dz, dr = z - z.mean(axis=0), r - r.mean(axis=0)
    gain = dz.T @ dr / 9 @ np.linalg.inv(dr.T @ dr / 9 + np.eye(6) / h)
    np.testing.assert_allclose(kalman_step(z, r, h, noise), z - (r + noise / np.sqrt(h)) @ gain.T, atol=1e-12)


def test_both_bounds_are_the_information_of_a_linear_experiment() -> None:
    a, _, _, _ = linear(5)
    exact = 0.5 * np.linalg.slogdet(np.eye(5) + a @ a.T)[1]
    z = np.random.default_rng(5).standard_normal((2000, 3))
    assert information_bounds(z, z @ a.T) == pytest.approx((exact, exact), rel=0.02)
    z = spread_out(z)
    assert information_bounds(z, z @ a.T) == pytest.approx((exact, exact), rel=1e-6)
    bent = z @ a.T + 0.5 * (z @ a.T) ** 2  # the bounds part where the model bends
    lower, upper = information_bounds(z, bent)
    assert lower < upper


def test_conditioning_has_the_posterior_in_the_sample() -> None:
    a, y, mean, covariance = linear()
    z = conditioned(-y, a, np.random.default_rng(6).standard_normal((20, 3)))
    np.testing.assert_allclose(z.mean(axis=0), mean, atol=1e-10)
    np.testing.assert_allclose(np.cov(z.T, bias=True), covariance, atol=1e-10)
    level, slopes = emulator(z, 0.7 + z @ a.T)
    np.testing.assert_allclose(level, 0.7, atol=1e-9)
    np.testing.assert_allclose(slopes, a, atol=1e-9)


def test_designs_climb_and_stay_in_the_box() -> None:
    rng = np.random.default_rng(7)
    designs = rng.random((10, 2))
    for _ in range(20):
        gains = -((designs - [0.9, 0.2]) ** 2).sum(axis=1)
        designs = climb(designs, gains, rng.standard_normal((10, 2)))
        assert ((designs >= 0) & (designs <= 1)).all()
    assert np.abs(designs.mean(axis=0) - [0.9, 0.2]).max() < 0.15


# -- calibration through a study


def simulate(p: dict[str, Any]) -> np.ndarray:
    """A decay and a wave."""
    return np.asarray(p["a"] * np.exp(-p["b"] * TIMES) + p["c"] * np.sin(5 * TIMES))


def fitted(p: dict[str, Any]) -> dict[str, float]:
    """Its residual against the data of `TRUTH`, as metrics."""
    r = simulate(p) - simulate(TRUTH)
    return {"loss": float(r @ r)} | dict(zip(RESIDUAL, map(float, r), strict=True))


def test_inversion_finds_what_made_the_data() -> None:
    for seed in range(3):
        one = run(problem(ABC, {"residual": RESIDUAL, "noise": 0.01}, seed), fitted, 150)
        best = min(one.trials.values(), key=lambda t: t.metrics["loss"])
        assert best.metrics["loss"] < 1e-4
        assert best.parameters == pytest.approx(TRUTH, abs=0.02)
        alone = minimise(
            "cmaes",
            lambda x: fitted({k: 5 * v for k, v in zip("abc", x, strict=True)})["loss"],
            150,
            seed,
            3,
            surrogate="none",
        )
        assert best.metrics["loss"] < alone  # a vector says more than its square


def test_targets_are_subtracted_and_noise_can_differ() -> None:
    names = [f"y{i}" for i in range(10)]
    options = {"residual": names, "targets": simulate(TRUTH).tolist(), "noise": [0.01] * 5 + [0.02] * 5}
    of = problem(ABC, options)
    one = run(of, lambda p: {"loss": 0.0} | dict(zip(names, map(float, simulate(p)), strict=True)), 150)
    last = one.trials[150].parameters
    assert last == pytest.approx(TRUTH, abs=0.05)


def told_as_vector(of: law.Problem, trials: int) -> law.Study:
    """As `run`, the residual told as one vector; every tenth trial forgets it, every other tenth tells too short a one."""
    one, suggester = law.Study(of), law.make(get("eki"), of)
    for n in range(trials):
        number = one.start(suggester.suggest(one.history(), 1)[0])
        metrics = fitted(one.trials[number].parameters)
        residual = tuple(metrics.pop(name) for name in RESIDUAL)
        one.tell(number, 0.0, loss=metrics["loss"])
        told = {3: None, 8: residual[:4]}.get(n % 10, residual)
        one.trials[number] = replace(one.trials[number], residual=told)
    return one


def test_a_residual_told_as_a_vector_moves_the_ensemble_as_its_metrics_do() -> None:
    of = problem(ABC, {"residual": "told", "noise": 0.01})
    named = run(problem(ABC, {"residual": RESIDUAL, "noise": 0.01}), fitted, 60)
    one, suggester = law.Study(of), law.make(get("eki"), of)
    for number in range(1, 61):
        point = suggester.suggest(one.history(), 1)[0].parameters
        assert point == named.trials[number].parameters
        metrics = fitted(point)
        one.tell(one.start(suggester.suggest(one.history(), 1)[0]), metrics["loss"])
        one.trials[number] = replace(one.trials[number], residual=tuple(metrics[name] for name in RESIDUAL))


def test_tells_without_the_vector_or_with_a_short_one_do_not_move_the_ensemble() -> None:
    one = told_as_vector(problem(ABC, {"residual": "told", "noise": 0.01}), 200)
    assert min(t.metrics["loss"] for t in one.trials.values()) < 1e-3
    targets = {"residual": "told", "noise": [0.01] * 10, "targets": [0.0] * 10}
    assert told_as_vector(problem(ABC, targets), 40).trials[40].parameters == one.trials[40].parameters


def test_posterior_mode_samples_the_posterior() -> None:
    rng = np.random.default_rng(8)
    a = rng.normal(size=(4, 2))
    y = a @ [0.5, -0.3]
    names = ["y0", "y1", "y2", "y3"]
    parameters = [{"name": n, "type": "float", "min": -10, "max": 10} for n in "uv"]
    prior = {"u": {"mean": 1.0, "std": 0.5}, "v": {"mean": 0.0, "std": 1.0}}
    options = {
        "mode": "posterior",
        "residual": names,
        "targets": y.tolist(),
        "noise": 0.7,
        "prior": prior,
        "ensemble": 20,
    }
    of = problem(parameters, options)
    one = run(of, lambda p: {"loss": 0.0} | dict(zip(names, (a @ [p["u"], p["v"]]).tolist(), strict=True)), 3000, 20)
    precision = a.T @ a / 0.49 + np.diag([4.0, 1.0])
    mean = np.linalg.solve(precision, a.T @ y / 0.49 + [4.0, 0.0])
    found = np.array([[t.parameters["u"], t.parameters["v"]] for t in one.trials.values() if t.number > 300])
    spread = np.sqrt(np.diag(np.linalg.inv(precision)))
    assert np.abs((found.mean(axis=0) - mean) / spread).max() < 0.1
    np.testing.assert_allclose(found.std(axis=0), spread, rtol=0.1)


def test_without_a_residual_the_objective_itself_goes_to_zero() -> None:
    of = problem(ABC[:2], {"noise": 0.1})
    one = run(of, lambda p: {"loss": p["a"] + p["b"] - 3.0}, 120)
    assert np.mean([abs(one.trials[n].metrics["loss"]) for n in range(109, 121)]) < 0.3  # 2.5 in the first generation


def test_broken_constraints_are_residuals_too() -> None:
    of = problem(ABC[:2], {"noise": 0.05}, constraints=[{"metric": "c", "max": 0.0}])
    one = run(of, lambda p: {"loss": p["a"] - 1.0, "c": 20 * (p["b"] - 1.0)}, 120)
    last = [t.parameters for t in one.trials.values() if t.number > 96]
    assert np.mean([max(0.0, p["b"] - 1) for p in last]) < 0.15  # of 1.6 under the prior
    assert np.mean([abs(p["a"] - 1) for p in last]) < 0.2


def test_infeasible_and_failed_particles_are_replaced() -> None:
    of = problem(ABC, {"residual": RESIDUAL, "noise": 0.01})
    one, suggester = law.Study(of), law.make(get("eki"), of)
    for n in range(160):
        number = one.start(suggester.suggest(one.history(), 1)[0])
        state = {3: TrialState.FAILED, 5: TrialState.INFEASIBLE}.get(n % 8)
        if state is not None:
            one.tell(number, 0.0, state)
        else:
            tell(one, number, fitted(one.trials[number].parameters))
    assert one.trials[160].origin["generation"] == 11  # 140 evaluated ones fill 11 generations of 12
    assert min(t.metrics["loss"] for t in one.trials.values() if t.metrics) < 0.05  # 2 in the first generation


def test_the_receipt_says_what_is_left_of_the_spread() -> None:
    one = run(problem(ABC, {"residual": RESIDUAL, "noise": 0.01, "mode": "posterior"}), fitted, 200)
    found = receipt(one)
    assert found["time"] == pytest.approx(1.0)
    assert found["ensemble"]["mean"]["a"] == pytest.approx(1.3, abs=0.1)
    assert 0 < found["ensemble"]["std"]["a"] < 0.2


# -- design of experiments through a study

DESIGN = [
    {"name": "kind", "type": "categorical", "choices": ["simulate", "experiment"]},
    {"name": "xi", "type": "float", "min": 0, "max": 5},
    {"name": "u", "type": "float", "min": -20, "max": 20, "when": {"kind": ["simulate"]}},
    {"name": "v", "type": "float", "min": -20, "max": 20, "when": {"kind": ["simulate"]}},
]
BELIEF = {"u": {"mean": 0.5, "std": 1.0}, "v": {"mean": 0.0, "std": 0.5}}
OPTIONS = {
    "kind": "kind",
    "residual": ["y"],
    "noise": 0.3,
    "prior": BELIEF,
    "ensemble": 8,
    "designs": 8,
    "design_steps": 8,
}


def sensitivity(xi: float) -> np.ndarray:
    """What an experiment at xi measures of (u, v)."""
    return np.array([xi * np.exp(-xi), 0.3 * np.sin(xi)])


def measured(p: dict[str, Any]) -> dict[str, float]:
    """A simulation, or the experiment with the true values."""
    theta = [p["u"], p["v"]] if p["kind"] == "simulate" else [0.9, -0.2]
    return {"y": float(sensitivity(p["xi"]) @ theta)}


def test_the_chosen_experiment_tells_most_and_its_outcome_is_learnt_exactly() -> None:
    one = run(problem(DESIGN, OPTIONS, objectives=[{"metric": "y"}]), measured, 3 * (8 * 8 * 8 + 1))
    experiments = [t for t in one.trials.values() if t.parameters["kind"] == "experiment"]
    assert len(experiments) == 3
    assert all("u" not in t.parameters for t in experiments)
    precision, shift = np.diag([1.0, 4.0]), np.array([0.5, 0.0])
    for trial in experiments:
        covariance = np.linalg.inv(precision)

        def gain(xi: float, covariance: np.ndarray = covariance) -> float:
            a = sensitivity(xi)
            return float(0.5 * np.log1p(a @ covariance @ a / 0.09))

        xi = trial.parameters["xi"]
        assert gain(xi) > 0.98 * max(gain(x) for x in np.linspace(0, 5, 201))
        a = sensitivity(xi)
        precision = precision + np.outer(a, a) / 0.09
        shift = shift + a * trial.metrics["y"] / 0.09
    found = receipt(one)["posterior"]
    assert found["parameters"] == ["u", "v"]
    np.testing.assert_allclose(found["mean"], np.linalg.solve(precision, shift), atol=1e-6)
    np.testing.assert_allclose(found["covariance"], np.linalg.inv(precision), atol=1e-6)


def test_while_the_experiment_is_out_simulations_go_on_and_a_failed_one_is_asked_again() -> None:
    options = OPTIONS | {"design_steps": 1}
    one = run(problem(DESIGN, options, objectives=[{"metric": "y"}]), measured, 64)
    suggester = law.make(get("eki"), one.problem)
    first, *others = [one.start(s) for s in suggester.suggest(one.history(), 4)]
    assert one.trials[first].parameters["kind"] == "experiment"
    assert {one.trials[n].parameters["kind"] for n in others} == {"simulate"}
    assert {one.trials[n].parameters["xi"] for n in others} == {one.trials[first].parameters["xi"]}
    one.tell(first, 0.0, TrialState.FAILED)
    again = one.start(suggester.suggest(one.history(), 1)[0])
    assert one.trials[again].parameters == one.trials[first].parameters
    tell(one, again, {"y": 0.2})
    following = suggester.suggest(one.history(), 1)[0]
    assert following.origin["round"] == 1
    assert following.parameters["kind"] == "simulate"


@pytest.mark.parametrize(
    ("parameters", "options", "place"),
    [
        (ABC, {"residual": ["r"], "targets": [1.0, 2.0]}, "targets"),
        (ABC, {"residual": ["r"], "noise": [1.0, 2.0]}, "noise"),
        (ABC, {"prior": {"nobody": {"mean": 0, "std": 1}}}, "prior/nobody"),
        (ABC, {"kind": "a"}, "kind"),
        (DESIGN[:2], {"kind": "kind"}, "kind"),
        (ABC, {"residual": "told", "noise": [1.0, 2.0], "targets": [0.0]}, "targets"),
        (DESIGN, {"kind": "kind", "residual": "told"}, "residual"),
    ],
)
def test_options_that_do_not_fit_the_study_are_refused(parameters: Any, options: Any, place: str) -> None:
    with pytest.raises(Invalid) as error:
        problem(parameters, options)
    assert error.value.errors[0].pointer == f"/suggester/options/{place}"


@pytest.mark.parametrize("restart", ["saved", "lost"])
@pytest.mark.parametrize("options", [{"ensemble": 6}, {"ensemble": 6, "mode": "posterior"}, "design"])
def test_restarts_change_nothing(options: Any, restart: str) -> None:
    is_design = options == "design"
    chosen = OPTIONS | {"designs": 4, "design_steps": 2, "ensemble": 5} if is_design else options
    parameters, metric = (DESIGN, "y") if is_design else (ABC, "loss")

    def path(how: str) -> list[Any]:
        of = problem(parameters, chosen, objectives=[{"metric": metric}])
        one, suggester, running, found = law.Study(of), law.make(get("eki"), of), [], []
        for n in range(130):
            if how == "saved":
                suggester = law.make(get("eki"), of, law.save(suggester))
            elif how == "lost" and n % 5 == 0:
                suggester = law.make(get("eki"), of)
            suggestion = suggester.suggest(one.history(), 1)[0]
            found.append(suggestion.parameters)
            running.append(one.start(suggestion))
            while len(running) > 3:
                number = running.pop(n * 7919 % len(running))
                state = TrialState.COMPLETED if number % 11 else list(TrialState)[-1 - number // 11 % 4]
                one.tell(number, sum(v for v in one.trials[number].parameters.values() if isinstance(v, float)), state)
        return found

    assert path(restart) == path("never")


@pytest.mark.parametrize(
    ("options", "told", "places"),
    [
        ({"residual": ["a", "b"]}, {"metrics": {"loss": 1.0, "a": 1.0}}, ["/metrics/b"]),
        ({"residual": "told"}, {"metrics": {"loss": 1.0}}, ["/residual"]),
        ({"residual": "told", "kind": None}, {"metrics": {"loss": 1.0}}, ["/residual"]),
        ({"residual": "told", "targets": [1.0, 2.0]}, {"metrics": {"loss": 1.0}, "residual": [1.0]}, ["/residual"]),
        ({"residual": "told"}, {"metrics": {"loss": 1.0}, "residual": [1.0]}, []),
        ({"residual": "told"}, {"state": "infeasible"}, []),
        ({}, {"metrics": {"loss": 1.0}}, []),
    ],
)
def test_an_outcome_without_its_residual_is_refused_by_name(
    options: dict[str, Any], told: dict[str, Any], places: list[str]
) -> None:
    spec = problem(ABC, options).spec
    if not places:
        get("eki").check_outcome(spec, {}, Outcome.read_value(told))
        return
    with pytest.raises(Invalid) as refused:
        get("eki").check_outcome(spec, {}, Outcome.read_value(told))
    assert [error.pointer for error in refused.value.errors] == places

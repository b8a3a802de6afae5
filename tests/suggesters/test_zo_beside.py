"""What `zo` probes beside the iterate: a cheap proxy, steps ahead; and what a drift does to pairs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from services.domain.errors import Invalid
from services.domain.history import Observation
from services.domain.trial import Outcome, TrialState
from tests.suggesters import law
from tests.suggesters.zo_study import Run, ending, path, problem, sphere, vector
from workers.suggesters.zo.ahead import Ahead

FIDELITY = [{"name": "fidelity", "type": "ordinal", "choices": ["proxy", "full"]}]
TWO = {"scheme": "two-losses", "fidelity": "fidelity"}


def w(trial: Observation) -> np.ndarray:
    """Its vector."""
    return np.array(trial.parameters["w"])


# -- two losses


class Losses:
    """A quadratic, and a cheap proxy with another minimum and a little other curvature."""

    def __init__(self, n: int, other: float = 0.1, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        a, d = rng.normal(size=(n, n)), rng.normal(size=(n, n))
        self.h = a @ a.T / n + np.eye(n)
        self.proxy_h = self.h + other * (d + d.T) / 2
        self.aim = rng.normal(size=n)
        self.parameters = [*vector(n), *FIDELITY]

    def loss(self, x: np.ndarray) -> float:
        """The expensive one."""
        return float(0.5 * (x - self.aim) @ self.h @ (x - self.aim))

    def proxy(self, x: np.ndarray) -> float:
        """The cheap one."""
        return float(0.5 * (x - 0.5 * self.aim) @ self.proxy_h @ (x - 0.5 * self.aim))

    def answer(self, run: Run, trial: Observation) -> bool:
        """Tell what a trial is for; whether it was the expensive loss."""
        if trial.parameters["fidelity"] == "full":
            run.answer(trial, lambda p: {"loss": self.loss(np.array(p["w"]))})
            return True
        told_proxy(run, trial, self.proxy(w(trial)))
        return False


def told_proxy(run: Run, trial: Observation, value: float, state: TrialState = TrialState.PRUNED) -> None:
    """The proxy alone, as a client tells it."""
    Outcome(metrics={"proxy": value}, state="pruned").check(run.one.spec)
    run.one.seq += 1
    run.one.trials[trial.number] = replace(trial, state=state, metrics={"proxy": value}, told_seq=run.one.seq)
    run.seen(trial.number)


def test_both_losses_are_looked_at_now_and_then_and_in_between_the_proxy_alone() -> None:
    losses = Losses(4)
    run = Run(problem(losses.parameters, 1, None, directions=4, estimator="orth2", rule="sgd", lr=1e-4, period=3,
                      reach=0.2, evaluate=2, rule_options={"clip": 1e9}, **TWO))  # fmt: skip
    reasons = [s.reason for s in run.suggester.suggest(run.one.history(), 3)]
    assert ["for the proxy" in reason for reason in reasons] == [False, False, True]
    trials = run.ask(16)
    assert [t.parameters["fidelity"] for t in trials] == ["full", "full", "proxy", "proxy"] * 4
    for full, proxy in zip(trials[0::4], trials[2::4], strict=True):
        assert full.parameters["w"] == proxy.parameters["w"]
    for trial in trials:
        losses.answer(run, trial)
    assert run.steps == 1
    two = run.suggester._steps._learner.two
    assert two is not None
    f = -10 * losses.h @ losses.aim  # gradients in shares of the range
    np.testing.assert_allclose(two.correction, f + 10 * losses.proxy_h @ (0.5 * losses.aim), rtol=1e-6)
    assert two.pull == pytest.approx(np.linalg.norm(f) / (0.2 * 2))
    np.testing.assert_allclose(run.x, 0.5 - 1e-4 * f, rtol=1e-9)
    before = run.x.copy()
    inner = run.ask(8)
    assert {t.parameters["fidelity"] for t in inner} == {"proxy"}
    for trial in inner:
        losses.answer(run, trial)
    x = -5 + 10 * before
    g = 10 * losses.proxy_h @ (x - 0.5 * losses.aim) + two.correction + two.pull * (before - 0.5)
    np.testing.assert_allclose(run.x, before - 1e-4 * g, rtol=1e-9)
    special = run.ask()[0]
    assert (special.origin["row"], special.parameters["fidelity"]) == (-2, "full")


def test_a_few_directions_correct_what_they_see_and_keep_the_rest() -> None:
    losses = Losses(6, other=0.0)
    run = Run(problem(losses.parameters, 1, None, directions=2, estimator="orth2", rule="sgd", lr=1e-9, period=2,
                      evaluate=0, **TWO))  # fmt: skip
    exact = -5 * losses.h @ losses.aim  # of a difference that is linear
    errors = []
    for _ in range(400):
        losses.answer(run, run.ask()[0])
        two = run.suggester._steps._learner.two
        assert two is not None
        errors.append(float(np.linalg.norm(two.correction - exact) / np.linalg.norm(exact)))
    assert all(later <= sooner + 1e-6 for sooner, later in pairwise(errors))
    assert errors[-1] < 1e-3


def test_with_a_proxy_the_expensive_loss_is_asked_for_less() -> None:
    losses, found = Losses(20), []
    for seed in range(2):
        run, full = Run(problem(losses.parameters, seed, None, directions=4, evaluate=0, **TWO)), 0
        while full < 160:
            full += losses.answer(run, run.ask()[0])
        found.append(losses.loss(np.array(run.recommended["w"])))
    plain = [
        losses.loss(np.array(run.recommended["w"]))
        for lr in (0.02, 0.05, 0.1)
        for run in [Run(problem(vector(20), 1, None, directions=1, lr=lr, evaluate=0))]
        if run.until(160, lambda p: {"loss": losses.loss(np.array(p["w"]))})
    ]
    assert np.median(found) < 1.0  # measured: 0.7, from 25
    assert np.median(found) < 0.7 * min(plain)


def test_a_proxy_that_was_not_told_is_no_outcome_and_an_infeasible_one_pushes_away() -> None:
    losses = Losses(3)
    run = Run(problem(losses.parameters, 1, None, directions=1, evaluate=0, **TWO))
    trials = run.ask(4)
    for trial in trials[:3]:
        losses.answer(run, trial)
    run.answer(trials[3], lambda p: {"loss": 1.0})  # completed, but without the proxy
    assert run.steps == 0
    for trial in run.ask(8):
        losses.answer(run, trial)
    assert run.steps >= 1
    for trial in run.ask(40):
        run.tell(trial.number, 0.0, TrialState.INFEASIBLE)
    assert np.all(np.isfinite(run.x))
    for value in (1e308, -1e308):
        for trial in run.ask(40):
            told_proxy(run, trial, value) if trial.parameters["fidelity"] == "proxy" else run.tell(trial.number, -value)
    assert np.all((run.x >= 0) & (run.x <= 1))


# -- steps ahead

AHEAD: dict[str, Any] = {"estimator": "orth2", "directions": 4, "ahead": 3, "evaluate": 0}


def test_the_rule_steps_from_the_predicted_points_with_their_true_gradients() -> None:
    h = np.array([1.0, 2.0, 5.0, 0.5])
    run = Run(problem(vector(4, low=0, high=1, default=0.9), 1, None, rule="sgd", lr=0.05,
                      rule_options={"clip": 1e9}, **AHEAD))  # fmt: skip
    memory, x = Ahead(4, 3), np.full(4, 0.9)
    for step in range(6):
        points = [x]
        for _ in range(2 if step else 0):
            points.append(points[-1] - 0.05 * memory.predicted(points[-1]))
        asked = run.ask(8 * len(points))
        middles = [(w(a) + w(b)) / 2 for a, b in zip(asked[::2], asked[1::2], strict=True)]
        for place, middle in enumerate(middles):
            np.testing.assert_allclose(middle, points[place % len(points)], atol=1e-12)
        for trial in asked:
            run.answer(trial, lambda p: {"loss": float(0.5 * h @ np.square(p["w"]))})
        for point in points:
            memory.remember(point, h * point)
        x = points[-1] - 0.05 * h * points[-1]
        assert run.steps == step + 1
        np.testing.assert_allclose(run.x, x, atol=1e-9)
    reasons = [s.reason for s in run.suggester.suggest(run.one.history(), 1)]
    assert reasons == ["probe +0, step 6, orth2 with sgd, radius 0.001"]


def test_known_gradients_are_predicted_and_a_smooth_field_between_them() -> None:
    rng = np.random.default_rng(0)
    m, memory = rng.normal(size=(3, 3)), Ahead(3, 2)
    for _ in range(30):
        at = rng.uniform(size=3)
        memory.remember(at, m @ at)
    assert len(memory.at) == 20  # the latest
    np.testing.assert_allclose(memory.predicted(memory.at[7]), m @ memory.at[7], atol=1e-3)
    middle = memory.at.mean(axis=0)
    np.testing.assert_allclose(memory.predicted(middle), m @ middle, atol=0.05)
    one = Ahead(3, 2)
    one.remember(np.zeros(3), np.ones(3))
    one.remember(np.zeros(3), np.ones(3))
    np.testing.assert_allclose(one.predicted(np.zeros(3)), 1.0, atol=1e-5)  # the same point twice


@pytest.mark.parametrize(("rule", "lr"), [("schedule-free", 0.1), ("adam", 0.01), ("nesterov", 0.002)])
def test_steps_ahead_save_rounds(rule: str, lr: float) -> None:
    bends = np.logspace(0, 2, 10)

    def outcome(p: dict[str, Any]) -> dict[str, float]:
        return {"loss": float(bends @ np.square(np.array(p["w"]) - 0.7))}

    found = []
    for ahead in (1, 4):
        options = {"estimator": "orth2", "directions": 10, "rule": rule, "lr": lr, "ahead": ahead, "evaluate": 0}
        run = Run(problem(vector(10, low=0, high=1), 1, None, **options))
        for round_ in range(25):
            for trial in run.ask(20 * (ahead if round_ else 1)):
                run.answer(trial, outcome)
        assert run.steps == 25
        found.append(outcome(run.recommended)["loss"])
    assert found[1] < 0.02 * found[0]


# -- restarts, drift, refusals


def told_either(one: law.Study, number: int) -> None:
    """The outcome of a trial that may be one of the proxy."""
    point = one.trials[number].parameters
    value = sphere(point)["loss"]
    usual = TrialState.PRUNED if point.get("fidelity") == "proxy" else TrialState.COMPLETED
    one.tell(number, value, ending(number, usual), proxy=1.1 * value)


@pytest.mark.parametrize(
    ("more", "options"),
    [
        (FIDELITY, TWO | {"directions": 2, "period": 3}),
        (FIDELITY, TWO | {"estimator": "coord", "rule": "dog", "period": 2}),
        ([{"name": "k", "type": "int", "min": 0, "max": 1}], {"variance_reduction": "svrg", "crn": "k", "period": 3}),
        ([], {"estimator": "orth2", "directions": 3, "ahead": 3}),
        ([], {"estimator": "coord", "directions": 3, "ahead": 2, "rule": "cautious(adam)"}),
        ([], {"estimator": "orth2", "directions": 3, "ahead": 2, "rule": "torch:Lion"}),
    ],
)
def test_a_restart_between_any_two_calls_changes_nothing(more: Any, options: dict[str, Any]) -> None:
    of = problem(vector(3, default=1.5) + more, **options)
    never = path(of, "never", told_either, calls=60, most=3)
    assert len(never) == 120
    assert path(of, "saved", told_either, calls=60, most=3) == never
    assert path(of, "lost", told_either, calls=60, most=3) == never


def test_a_drift_that_both_halves_share_does_not_stop_the_descent() -> None:
    for rule in ("adam", "schedule-free"):
        run = Run(problem(vector(5, default=1.0), 1, None, rule=rule, directions=2, radius=0.02, evaluate=0))
        while len(run.one.trials) < 800:
            for trial in run.ask(2):
                drift = 0.05 * trial.number  # 40 in all, where there are 5 to gain
                run.answer(trial, lambda p, drift=drift: {"loss": sphere(p)["loss"] + drift})  # type: ignore[misc]
        assert sphere(run.recommended)["loss"] < 0.1


@pytest.mark.parametrize(
    ("more", "options", "fields", "pointer"),
    [
        (FIDELITY, {"scheme": "two-losses"}, {}, "fidelity"),
        (FIDELITY, {"fidelity": "fidelity"}, {}, "fidelity"),
        ([], TWO, {}, "fidelity"),
        ([FIDELITY[0] | {"choices": ["low", "full"]}], TWO, {}, "fidelity"),
        (FIDELITY, TWO | {"estimator": "forward"}, {}, "estimator"),
        (FIDELITY, TWO | {"rule": "spsa"}, {}, "rule"),
        (FIDELITY, TWO | {"rule": "polyak", "rule_options": {"target": 0}}, {}, "rule"),
        (FIDELITY, TWO | {"rule": "sophia-zo", "estimator": "gauss2"}, {}, "rule"),
        (FIDELITY, TWO | {"variance_reduction": "spider"}, {}, "variance_reduction"),
        (FIDELITY, TWO | {"ahead": 2, "estimator": "orth2", "directions": 3}, {}, "ahead"),
        (FIDELITY, TWO, {"constraints": [{"metric": "c", "max": 0}]}, "scheme"),
        ([], {"variance_reduction": "svrg"}, {}, "crn"),
        ([{"name": "k", "type": "int", "min": 0, "max": 5000}], {"variance_reduction": "svrg", "crn": "k"}, {}, "crn"),
        ([], {"ahead": 2}, {}, "ahead"),
        ([], {"ahead": 2, "estimator": "sphere2", "directions": 3}, {}, "ahead"),
        ([], {"ahead": 2, "estimator": "orth2", "directions": 2}, {}, "ahead"),
        ([], {"ahead": 2, "estimator": "orth2", "directions": 3}, {"limits": {"max_trials": 20}}, "ahead"),
        ([], {"ahead": 2, "estimator": "coord", "directions": 3, "rule": "sophia-zo"}, {}, "rule"),
        ([], {"ahead": 2, "estimator": "coord", "directions": 3, "rule": "plateau(adam)"}, {}, "rule"),
        ([], {"rule": "lbfgs"}, {}, "rule"),
        ([], {"rule": "cautious(lbfgs)", "estimator": "orth2", "directions": 2}, {}, "rule"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(more: Any, options: Any, fields: Any, pointer: str) -> None:
    with pytest.raises(Invalid) as error:
        problem(vector(3) + more, fields=fields, **options)
    assert error.value.errors[0].pointer == f"/suggester/options/{pointer}"

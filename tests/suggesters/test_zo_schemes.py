"""Schemes of `zo` with a step of their own: Frank-Wolfe, careful, accelerated, non-convex."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from services.domain.history import Observation
from tests.suggesters.zo_study import Run, problem, sphere, vector
from workers.suggesters.zo.domains import Domain
from workers.suggesters.zo.special import FrankWolfe

NOISY = {"objectives": [{"metric": "loss", "noisy": True}]}


def w(trial: Observation) -> np.ndarray:
    """Its vector."""
    return np.array(trial.parameters["w"])


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


@pytest.mark.parametrize("options", [{"estimator": "coord"}, {"directions": 4}, {"estimator": "es-rank"}])
@pytest.mark.parametrize("fields", [None, NOISY], ids=["exact", "noisy"])
@pytest.mark.parametrize(("domain", "size"), [("simplex", 1.0), ("l1", 0.3)])
def test_no_probe_leaves_the_set(
    domain: str, size: float, fields: dict[str, Any] | None, options: dict[str, Any]
) -> None:
    of = problem(
        vector(6, low=-1, high=2.0), 1, fields, scheme="frank-wolfe", domain=domain, domain_size=size, **options
    )
    run = Run(of).until(150, lambda p: {"loss": float(np.square(np.array(p["w"]) - 0.4).sum())})
    for z in map(w, run.one.trials.values()):
        assert np.abs(z).sum() <= size + 1e-12
        assert domain == "l1" or (abs(z.sum() - size) < 1e-12 and z.min() > -1e-12)


@pytest.mark.parametrize("kind", ["simplex", "l1"])
def test_a_pair_at_the_edge_is_moved_inside_and_its_difference_is_the_slope(kind: Any) -> None:
    rng, n = np.random.default_rng(0), 5
    domain, a = Domain(kind, 2.0, -3.0, 6.0, is_noisy=False), rng.normal(size=n)
    x = domain.vertex(a)  # as far out as it goes
    g = np.zeros(n)
    for u in np.eye(n):
        offset, share = domain.fitted(0.1 * u)
        centre = domain.centre(x, offset)
        for sign in (1, -1):
            np.testing.assert_allclose(domain.inside(centre + sign * offset), centre + sign * offset, atol=1e-15)
        assert np.abs(centre - x).sum() <= 2.5 * np.abs(offset).sum()
        g += (a @ (centre + offset) - a @ (centre - offset)) / 2 * u / (0.1 * share)
    np.testing.assert_allclose(g, a - a.mean() if kind == "simplex" else a, atol=1e-9)


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
        domain = Domain("simplex", 1.0, 0.0, 1.0, is_noisy=False)
        scheme = FrankWolfe(np.eye(n)[0], lambda wanted, x: wanted, domain=domain, directions=1, is_coordinate=False)
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

"""COBYLA with constraints: the subproblem is solved, known optima are reached about as soon as by SciPy, nothing stops it."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from workers.models.constrained_cobyla import Measured, constrained_cobyla, lowest_step

Array = NDArray[np.float64]
Problem = Callable[[Array], tuple[float, Array]]


def rosen_suzuki(x: Array) -> tuple[float, Array]:
    """Minimum -44 at (0, 1, 2, -1); three constraints, two of them active."""
    a, b, c, d = x
    value = a * a + b * b + 2 * c * c + d * d - 5 * a - 5 * b - 21 * c + 7 * d
    kept = [
        a * a + b * b + c * c + d * d + a - b + c - d - 8,
        a * a + 2 * b * b + c * c + 2 * d * d - a - d - 10,
        2 * a * a + b * b + c * c + 2 * a - b - d - 5,
    ]
    return value, np.array(kept)


def product_in_a_disc(x: Array) -> tuple[float, Array]:
    """Minimum -1/2 where x = -y on the unit circle (Powell's first test problem)."""
    return float(x[0] * x[1]), np.array([x @ x - 1])


def corner_of_two(x: Array) -> tuple[float, Array]:
    """Minimum -√2 at (1, 1)/√2; a parabola and a circle."""
    return float(-x[0] - x[1]), np.array([x[0] ** 2 - x[1], x @ x - 1])


def run(f: Problem, start: Array, count: int, most: int = 400) -> tuple[list[float], list[Array], list[Array]]:
    """Values, constraints and points of one search in the box ±3."""
    bound = np.full(len(start), 3.0)
    search = constrained_cobyla(start, 0.5, 1e-6, -bound, bound, count)
    values, kept, points = list[float](), list[Array](), list[Array]()
    point = next(search)
    while len(points) < most:
        value, violations = f(point)
        points.append(point.copy())
        values.append(value)
        kept.append(violations)
        try:
            point = search.send(Measured(value, violations))
        except StopIteration:
            break
    return values, kept, points


def soonest(values: list[float], kept: list[Array], target: float) -> float:
    """Evaluations until a point that keeps the constraints to 1e-5 is as good as the target."""
    good = (n for n, (v, k) in enumerate(zip(values, kept, strict=True), 1) if k.max() <= 1e-5 and v <= target)
    return next(good, math.inf)


@pytest.mark.parametrize(
    ("f", "n", "count", "optimum"),
    [(rosen_suzuki, 4, 3, -44.0), (product_in_a_disc, 2, 1, -0.5), (corner_of_two, 2, 2, -math.sqrt(2))],
    ids=lambda v: v.__name__ if callable(v) else "",
)
def test_known_optima_are_reached_about_as_soon_as_by_scipy(f: Problem, n: int, count: int, optimum: float) -> None:
    ours, theirs = [], []
    for seed in range(5):
        start = np.random.default_rng(seed).uniform(-1.5, 1.5, n)
        values, kept, points = run(f, start, count)
        assert np.abs(points).max() <= 3
        ours.append(soonest(values, kept, optimum + 1e-3 * abs(optimum)))
        noted: list[tuple[float, Array]] = []

        def objective(x: Array, noted: list[tuple[float, Array]] = noted) -> float:
            noted.append(f(x))
            return noted[-1][0]

        minimize(
            objective, start, method="COBYLA", bounds=[(-3, 3)] * n,
            constraints=[{"type": "ineq", "fun": lambda x, k=k: -f(x)[1][k]} for k in range(count)],
            options={"rhobeg": 0.5, "tol": 1e-6, "maxiter": 400},
        )  # fmt: skip
        theirs.append(soonest([v for v, _ in noted], [k for _, k in noted], optimum + 1e-3 * abs(optimum)))
    assert max(ours) < 150
    assert np.median(ours) <= 1.3 * np.median(theirs)


def test_the_step_solves_its_subproblem() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        n, m = int(rng.integers(1, 6)), int(rng.integers(0, 5))
        slopes, room = rng.normal(size=(m, n)), np.abs(rng.normal(size=m)) * 0.3
        slope, box = rng.normal(size=n), np.full(n, 0.4)
        step = lowest_step(slope, 0.5, slopes, -room, -box, box)
        peer = minimize(
            lambda z, g=slope: g @ z, np.full(n, 1e-3), jac=lambda z, g=slope: g, bounds=[(-0.4, 0.4)] * n, method="SLSQP",
            constraints=[
                {"type": "ineq", "fun": lambda z, a=slopes, b=room: b - a @ z},
                {"type": "ineq", "fun": lambda z: 0.25 - z @ z},
            ],
            options={"ftol": 1e-12, "maxiter": 500},
        )  # fmt: skip
        assert (slopes @ step <= room + 1e-5).all()
        assert np.linalg.norm(step) <= 0.5 + 1e-9
        assert slope @ step <= peer.fun + 1e-3 * abs(peer.fun)


def test_where_no_step_keeps_the_constraints_it_goes_towards_the_nearest_that_does() -> None:
    box = np.full(2, 5.0)
    step = lowest_step(np.array([0.0, 1.0]), 0.5, np.array([[-1.0, 0.0]]), np.array([2.0]), -box, box)
    np.testing.assert_allclose(step, [0.5, 0.0])
    contradiction = lowest_step(
        np.array([0.0, 1.0]), 0.5, np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([1.0, 3.0]), -box, box
    )
    np.testing.assert_allclose(contradiction, [0.5, 0.0])  # the worse of the two first


def test_what_is_not_known_is_left_to_the_models() -> None:
    """Half of the plane is never measured: its points keep their distance, the optimum on the line is reached."""
    search = constrained_cobyla(np.array([0.5, 0.5]), 0.3, 1e-6, np.zeros(2), np.ones(2), 1)
    point, best, seen = next(search), math.inf, 0
    for _ in range(300):
        margin = np.array([1.4 - point.sum()])
        if margin[0] > 0:
            told = Measured(math.nan, margin, allowed=False)
        else:
            seen += 1
            value = float(((point - 0.3) ** 2).sum())
            best, told = min(best, value), Measured(value, margin)
        try:
            point = search.send(told)
        except StopIteration:
            break
    assert best == pytest.approx(0.32, abs=1e-5)
    assert seen < 80


@pytest.mark.parametrize(
    "f",
    [
        lambda x: (1.0, np.array([1.0])),
        lambda x: (1e200 * float(np.sign(x[0] - 0.3)), np.array([1e90 * float(np.sign(x[1]))])),
        lambda x: (float(x.sum()), np.array([math.nan])),
    ],
    ids=["plateau", "cliffs", "no constraint known"],
)
def test_it_ends_whatever_it_is_told(f: Problem) -> None:
    with np.errstate(all="ignore"):
        values, _, points = run(f, np.full(3, -1.0), 1, most=2000)
    assert 4 <= len(values) < 2000
    assert np.isfinite(points).all()


def test_told_the_same_it_asks_the_same() -> None:
    first, again = run(rosen_suzuki, np.zeros(4), 3)[2], run(rosen_suzuki, np.zeros(4), 3)[2]
    assert np.array_equal(first, again)

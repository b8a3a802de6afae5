"""COBYLA by linear interpolation: inside its bounds, as good as scipy's, replayable."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize

from workers.models.cobyla import cobyla

Array = NDArray[np.float64]
Objective = Callable[[Array], float]
WEIGHTS = 10.0 ** np.linspace(0, 2, 5)


def sphere(x: Array) -> float:
    return float(((x - 0.3) ** 2).sum())


def ellipsoid(x: Array) -> float:
    return float((WEIGHTS[: len(x)] * (x - 0.3) ** 2).sum())


def corner(x: Array) -> float:
    return float((x * np.where(np.arange(len(x)) % 2, 1.0, -1.0)).sum())


def run(
    f: Objective, start: Array, final: float = 1e-4, most: int = 5000, radius: float = 0.5
) -> tuple[list[Array], list[float]]:
    """Points and values of one search in the box ±2."""
    bound = np.full(len(start), 2.0)
    search, points, values = cobyla(start, radius, final, -bound, bound), [], []
    point = next(search)
    while len(points) < most:
        points.append(point.copy())
        values.append(f(point))
        try:
            point = search.send(values[-1])
        except StopIteration:
            break
    return points, values


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("f", [sphere, ellipsoid, corner], ids=lambda f: f.__name__)
def test_it_ends_near_the_minimum_about_as_soon_as_scipys(f: Objective, d: int) -> None:
    for seed in range(3):
        start = np.random.default_rng(seed).uniform(-1, 1, d)
        points, values = run(f, start)
        peer = minimize(
            f, start, method="COBYLA", bounds=[(-2, 2)] * d, options={"rhobeg": 0.5, "tol": 1e-4, "maxiter": 5000}
        )
        lowest = -2.0 * d if f is corner else 0.0
        assert min(values) - lowest <= max(2e-3, 2 * (peer.fun - lowest))
        assert len(points) <= 4 * peer.nfev + 20
        assert np.abs(points).max() <= 2


def test_the_first_simplex_is_a_step_along_each_axis_from_the_best_so_far() -> None:
    points, _ = run(sphere, np.array([0.0, 1.0, 1.9]), most=4)
    np.testing.assert_allclose(points, [[0, 1, 1.9], [0.5, 1, 1.9], [0.5, 1.5, 1.9], [0.5, 1, 1.4]])


def test_told_the_same_it_asks_the_same() -> None:
    start = np.array([0.5, -0.5, 1.0])
    first, _ = run(ellipsoid, start)
    again, _ = run(ellipsoid, start)
    assert np.array_equal(first, again)


def test_a_factor_on_the_values_changes_nothing() -> None:
    start = np.array([0.5, -0.5, 1.0])
    small, _ = run(sphere, start)
    large, _ = run(lambda x: 2.0**40 * sphere(x), start)
    np.testing.assert_allclose(small, large, rtol=1e-9)


@pytest.mark.parametrize(
    "f", [lambda x: 1.0, lambda x: 1e300 * float(np.sign(x[0] - 0.3)), lambda x: float(np.abs(x - 2).sum())]
)
def test_it_ends_on_plateaus_cliffs_and_in_corners(f: Objective) -> None:
    with np.errstate(all="ignore"):
        points, _ = run(f, np.full(4, -2.0))
    assert 5 <= len(points) < 1000
    assert np.isfinite(points).all()
    assert np.abs(points).max() <= 2


def test_a_narrow_box_makes_the_first_radius_small() -> None:
    bound = np.array([2.0, 0.1])
    search = cobyla(np.zeros(2), 1.0, 1e-3, -bound, bound)
    points = [next(search).copy()]
    for _ in range(10):
        points.append(search.send(sphere(points[-1])).copy())
    assert (np.abs(points) <= bound).all()
    assert points[1].tolist() == [0.1, 0.0]

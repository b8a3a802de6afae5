"""Acquisition functions against BoTorch, high precision, Monte Carlo and finite differences; climbs against SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.domain.pareto import hypervolume, non_dominated
from workers.models.acquisition import (
    log_expected_hypervolume_improvement,
    log_expected_improvement,
    log_h,
    log_mean_exp,
    log_probability_below,
)
from workers.models.ascent import climb
from workers.models.boxes import free_boxes
from workers.models.warping import LAMBDAS, bending, kumaraswamy, kumaraswamy_slopes, standardising


def test_log_h_keeps_its_digits_far_into_the_tail() -> None:
    import mpmath

    mpmath.mp.dps = 60
    for u in (5.0, 0.0, -0.999, -1.0, -1.001, -10.0, -30.0):
        exact = mpmath.log(mpmath.npdf(u) + u * mpmath.ncdf(u))
        assert float(log_h(np.array([u]))[0]) == pytest.approx(float(exact), rel=1e-9)
    for u in (-100.0, -1e4, -1e7):
        asymptotic = -0.5 * u * u - 0.5 * math.log(2 * math.pi) - 2 * math.log(-u)
        assert float(log_h(np.array([u]))[0]) == pytest.approx(asymptotic, rel=1e-4)


def test_log_expected_improvement_is_that_of_botorch() -> None:
    import torch
    from botorch.acquisition.analytic import _log_ei_helper

    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=50) * 5, np.exp(rng.normal(size=50))
    u = torch.tensor((-1.0 - mean) / std)
    expected = (torch.log(torch.tensor(std)) + _log_ei_helper(u)).numpy()
    np.testing.assert_allclose(log_expected_improvement(mean, std, -1.0).value, expected, rtol=1e-8, atol=1e-10)


def test_derivatives_are_those_of_finite_differences() -> None:
    rng = np.random.default_rng(1)
    mean, std = rng.normal(size=(20, 3)) * 3, np.exp(rng.normal(size=20))
    best = np.array([-1.0, 0.0, 2.0])
    for function, target in ((log_expected_improvement, best), (log_probability_below, 0.3)):
        found = function(mean, std, target)  # type: ignore[operator]
        e = 1e-6
        by_mean = (function(mean + e, std, target).value - function(mean - e, std, target).value) / (2 * e)  # type: ignore[operator]
        by_std = (function(mean, std + e, target).value - function(mean, std - e, target).value) / (2 * e)  # type: ignore[operator]
        np.testing.assert_allclose(found.by_mean, by_mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found.by_std, by_std, rtol=1e-4, atol=1e-6)


def front(k: int, n: int, seed: int = 0) -> np.ndarray:
    """A non-dominated set in the unit cube."""
    points = np.random.default_rng(seed).random((n, k))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = 1 - points
    return points[non_dominated(points)]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_boxes_cover_the_free_region_once(k: int) -> None:
    points, reference = front(k, 40), np.full(k, 1.05)
    low, high = free_boxes(points, reference)
    at = np.random.default_rng(1).random((5000, k)) * 1.3 - 0.1
    free = np.all(at < reference, axis=1) & ~np.any(np.all(points[None] <= at[:, None], axis=2), axis=1)
    covered = np.all((at[:, None] > low) & (at[:, None] < high), axis=2).sum(1)
    np.testing.assert_array_equal(covered, free.astype(int))
    volume = (high - np.maximum(low, -0.1)).prod(1).sum()
    assert volume == pytest.approx(1.15**k - hypervolume(points, list(reference)), rel=1e-9)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_expected_hypervolume_improvement_is_that_of_botorch(k: int) -> None:
    import torch
    from botorch.acquisition.multi_objective.analytic import ExpectedHypervolumeImprovement
    from botorch.models.deterministic import GenericDeterministicModel
    from botorch.posteriors import GPyTorchPosterior
    from botorch.utils.multi_objective.box_decompositions.non_dominated import NondominatedPartitioning
    from gpytorch.distributions import MultitaskMultivariateNormal

    points, reference = front(k, 15), np.full(k, 1.05)
    rng = np.random.default_rng(2)
    means, stds = rng.random((6, k)), 0.05 + 0.3 * rng.random((6, k))

    class Fixed(GenericDeterministicModel):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(f=lambda x: x, num_outputs=k)

        def posterior(self, x: torch.Tensor, **_: object) -> GPyTorchPosterior:
            place = int(x[0, 0, 0])
            covariance = torch.diag(torch.tensor(stds[place] ** 2))[None]
            return GPyTorchPosterior(MultitaskMultivariateNormal(-torch.tensor(means[place])[None, None], covariance))

    worst = -torch.tensor(reference)
    partitioning = NondominatedPartitioning(ref_point=worst, Y=-torch.tensor(points))
    exact = ExpectedHypervolumeImprovement(Fixed(), ref_point=worst.tolist(), partitioning=partitioning)
    expected = [math.log(float(exact(torch.full((1, 1, 1), i, dtype=torch.float64)))) for i in range(6)]
    value, by_mean, by_std = log_expected_hypervolume_improvement(
        list(means.T), list(stds.T), free_boxes(points, reference)
    )
    np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)
    for j in range(k):
        for of, slopes in ((means, by_mean), (stds, by_std)):
            of[:, j] += 1e-6
            up = log_expected_hypervolume_improvement(list(means.T), list(stds.T), free_boxes(points, reference))[0]
            of[:, j] -= 2e-6
            down = log_expected_hypervolume_improvement(list(means.T), list(stds.T), free_boxes(points, reference))[0]
            of[:, j] += 1e-6
            np.testing.assert_allclose(slopes[j], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


def test_log_mean_exp_survives_what_overflows() -> None:
    values = np.array([[1000.0, 1000.0], [-1e308, 0.0], [-np.inf, -np.inf]])
    found, weights = log_mean_exp(values)
    assert found[0] == pytest.approx(1000.0)
    assert found[1] == pytest.approx(-math.log(2))
    assert np.all(np.isfinite(weights[:2]))


def test_climbs_reach_the_maxima_that_lbfgs_reaches() -> None:
    from scipy.optimize import minimize

    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(6, 6))
    matrix = matrix @ matrix.T + 0.1 * np.eye(6)
    centre = np.array([0.3, 0.7, -0.2, 0.5, 1.3, 0.4])  # two coordinates end at a bound

    def evaluate(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        away = x - centre
        return -0.5 * np.einsum("ij,jk,ik->i", away, matrix, away), -away @ matrix

    starts = rng.random((5, 6))
    x, values = climb(evaluate, starts, np.ones((5, 6)), 100)
    best = minimize(
        lambda v: -evaluate(v[None])[0][0], starts[0], jac=lambda v: -evaluate(v[None])[1][0], bounds=[(0, 1)] * 6
    )
    np.testing.assert_allclose(values, -best.fun, rtol=1e-4)
    assert np.all((x >= 0) & (x <= 1))
    frozen = np.ones((5, 6))
    frozen[:, 2] = 0.0
    held, _ = climb(evaluate, starts, frozen, 20)
    np.testing.assert_array_equal(held[:, 2], starts[:, 2])


def test_transforms_lead_back_and_their_slopes_are_right() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(2 * rng.normal(size=200)) * 1e3
    plain = standardising(values, 1e6)
    for kind in ("yeo-johnson", "box-cox"):
        bent = bending(values, plain, kind)  # type: ignore[arg-type]
        assert bent is not None
        assert LAMBDAS[0] <= bent.power <= LAMBDAS[1]
        targets = bent(values)
        assert abs(float(targets.mean())) < 1e-9
        assert float(targets.std()) == pytest.approx(1.0)
        np.testing.assert_allclose(bent.inverse(targets), values, rtol=1e-6)
        e = 1e-4 * values
        numeric = np.log((bent(values + e) - bent(values - e)) / (2 * e / bent.unit))
        some = np.argsort(values)[:150]  # the ceiling has no slope
        np.testing.assert_allclose(bent.log_slope(values)[some], numeric[some], atol=1e-3)
    assert bending(-values, standardising(-values, 5.0), "box-cox") is None


def test_the_power_of_lognormal_values_is_a_logarithm() -> None:
    values = np.exp(np.random.default_rng(1).normal(size=500))
    bent = bending(values, standardising(values, 1e6), "box-cox")
    assert bent is not None
    assert abs(bent.power) < 0.1


def test_extreme_values_give_finite_targets() -> None:
    for values in (np.array([1e300, -1e300, 0.0, 1e-300, 1.0, 2.0]), np.full(6, 7.0), np.array([1e-320, 0.0, 1e-310])):
        plain = standardising(values, 5.0)
        assert np.all(np.isfinite(plain(values)))
        for kind in ("yeo-johnson", "box-cox"):
            bent = bending(values, plain, kind)  # type: ignore[arg-type]
            assert bent is None or np.all(np.isfinite(bent(values)))


def test_warping_slopes_are_those_of_finite_differences() -> None:
    x = np.random.default_rng(2).uniform(0.05, 0.95, (10, 3))
    a, b = np.array([0.5, 1.0, 2.0]), np.array([1.5, 1.0, 0.6])
    by_x, by_a, by_b = kumaraswamy_slopes(x, a, b)
    e = 1e-6
    np.testing.assert_allclose(by_x, (kumaraswamy(x + e, a, b) - kumaraswamy(x - e, a, b)) / (2 * e), rtol=1e-5)
    up, down = math.exp(e), math.exp(-e)
    np.testing.assert_allclose(
        by_a, (kumaraswamy(x, a * up, b) - kumaraswamy(x, a * down, b)) / (2 * e), rtol=1e-5, atol=1e-9
    )
    np.testing.assert_allclose(
        by_b, (kumaraswamy(x, a, b * up) - kumaraswamy(x, a, b * down)) / (2 * e), rtol=1e-5, atol=1e-9
    )

"""The Gaussian process is right by reference, and better than random search."""

from __future__ import annotations

import math

import numpy as np
import pytest

from services.domain.trial import TrialState
from tests.suggesters import law
from tests.support.builders import study
from tests.support.objectives import branin, hartmann6, minimise, wins
from workers.models.acquisition import (
    log_expected_improvement,
    log_expected_improvement_gradient,
    log_h,
    log_probability_below_gradient,
)
from workers.models.gaussian_process import GaussianProcess, Hyperparameters, fit, log_posterior, matern52
from workers.suggesters.registry import get

RNG = np.random.default_rng(0)
CATEGORICAL = np.array([False, False, False, True])


def data(n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Mixed inputs, standardised targets."""
    x = np.random.default_rng(1).random((n, 4))
    x[:, 3] = (np.floor(x[:, 3] * 3) + 0.5) / 3
    y = np.sin(5 * x[:, 0]) + x[:, 1] ** 2 + x[:, 3]
    return x, (y - y.mean()) / y.std()


def dense(x: np.ndarray, y: np.ndarray, at: np.ndarray, theta: Hyperparameters) -> tuple[np.ndarray, np.ndarray]:
    """The posterior by the textbook, with loops and a general inverse."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        r2 = sum(
            ((a[j] != b[j]) if CATEGORICAL[j] else (a[j] - b[j]) ** 2) / theta.lengthscales[j] ** 2
            for j in range(len(a))
        )
        r = math.sqrt(5 * r2)
        return (1 + r + r * r / 3) * math.exp(-r)

    k = np.array([[kernel(a, b) for b in x] for a in x]) + theta.noise * np.eye(len(x))
    cross = np.array([[kernel(a, b) for b in x] for a in at])
    inverse = np.linalg.inv(k)
    mean = theta.mean + cross @ inverse @ (y - theta.mean)
    return mean, np.sqrt(1 - np.einsum("ij,jk,ik->i", cross, inverse, cross))


def test_the_posterior_is_that_of_a_dense_reference() -> None:
    x, y = data()
    theta = Hyperparameters(np.array([0.3, 0.8, 2.0, 1.1]), 0.01, 0.2)
    at = data(12)[0] * 0.9
    mean, std = GaussianProcess(x, y, theta, CATEGORICAL).predict(at)
    expected_mean, expected_std = dense(x, y, at, theta)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-10)
    np.testing.assert_allclose(std, expected_std, atol=1e-9)


def test_the_posterior_is_that_of_gpytorch() -> None:
    import gpytorch
    import torch

    x, y = data()
    x, theta = x[:, :3], Hyperparameters(np.array([0.3, 0.8, 2.0]), 0.01, 0.2)
    kernel = gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=3).double()
    kernel.lengthscale = torch.tensor(theta.lengthscales)
    at = np.random.default_rng(2).random((10, 3))
    with torch.no_grad():
        k = kernel(torch.tensor(x)).to_dense().numpy() + theta.noise * np.eye(len(x))
        cross = kernel(torch.tensor(at), torch.tensor(x)).to_dense().numpy()
    mean, _ = GaussianProcess(x, y, theta, np.zeros(3, dtype=bool)).predict(at)
    np.testing.assert_allclose(mean, theta.mean + cross @ np.linalg.solve(k, y - theta.mean), atol=1e-8)


def test_likelihood_gradients_are_those_of_finite_differences() -> None:
    x, y = data()
    noise = np.full(len(x), 0.01)
    for fixed in (None, noise):
        vector = Hyperparameters.prior_mode(4).vector() + 0.3 * RNG.normal(size=6)
        _, gradient = log_posterior(vector, x, y, CATEGORICAL, fixed)
        steps = 1e-6 * np.eye(6)
        numeric = [
            (
                log_posterior(vector + s, x, y, CATEGORICAL, fixed)[0]
                - log_posterior(vector - s, x, y, CATEGORICAL, fixed)[0]
            )
            / 2e-6
            for s in steps
        ]
        np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)


def test_prediction_and_acquisition_gradients_are_those_of_finite_differences() -> None:
    x, y = data()
    process = GaussianProcess(x, y, fit(x, y, CATEGORICAL), CATEGORICAL)
    point = np.array([0.31, 0.62, 0.4, 0.5])
    mean, std, d_mean, d_std = process.predict_with_gradient(point)
    gradient = log_expected_improvement_gradient(mean, std, -1.0, d_mean, d_std)
    below = log_probability_below_gradient(mean, std, d_mean, d_std, 0.3)
    from scipy.special import log_ndtr

    for j in range(3):
        step = 1e-6 * np.eye(4)[j]
        (m1, s1), (m0, s0) = process.predict((point + step)[None]), process.predict((point - step)[None])
        assert d_mean[j] == pytest.approx((m1[0] - m0[0]) / 2e-6, rel=1e-5, abs=1e-7)
        assert d_std[j] == pytest.approx((s1[0] - s0[0]) / 2e-6, rel=1e-4, abs=1e-6)
        up, down = log_expected_improvement(m1, s1, -1.0)[0], log_expected_improvement(m0, s0, -1.0)[0]
        assert gradient[j] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-5)
        up, down = log_ndtr((0.3 - m1[0]) / s1[0]), log_ndtr((0.3 - m0[0]) / s0[0])
        assert below[j] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-5)


def test_log_h_keeps_its_digits_far_into_the_tail() -> None:
    import mpmath

    mpmath.mp.dps = 60
    for u in (5.0, 0.0, -0.999, -1.0, -1.001, -10.0, -30.0):
        exact = mpmath.log(mpmath.npdf(u) + u * mpmath.ncdf(u))
        assert float(log_h(np.array([u]))[0]) == pytest.approx(float(exact), rel=1e-9)
    for u in (-100.0, -1e4, -1e7):
        asymptotic = -0.5 * u * u - 0.5 * math.log(2 * math.pi) - 2 * math.log(-u)
        assert float(log_h(np.array([u]))[0]) == pytest.approx(asymptotic, rel=1e-4)


def test_intervals_cover_samples_of_the_prior() -> None:
    rng, inside, total = np.random.default_rng(4), 0, 0
    theta = Hyperparameters(np.full(6, 0.6), 1e-4, 0.0)
    for _ in range(12):
        x = rng.random((80, 6))
        gram = matern52(((x[:, None] - x[None]) ** 2 / 0.36).sum(-1)) + 1e-6 * np.eye(80)
        values = np.linalg.cholesky(gram) @ rng.normal(size=80)
        process = GaussianProcess(x[:40], values[:40], theta, np.zeros(6, dtype=bool))
        mean, std = process.predict(x[40:])
        inside += int((np.abs(values[40:] - mean) < 1.96 * std).sum())
        total += 40
    assert 0.90 < inside / total < 0.99


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "trials"), [(branin, 30), (hartmann6, 45)], ids=["branin", "hartmann6"])
def test_it_beats_random_search(objective: object, trials: int) -> None:
    gp = [minimise("gp", objective, trials, seed) for seed in range(5)]
    random = [minimise("random", objective, trials, seed) for seed in range(5)]
    assert wins(gp, random) == 5


def test_it_keeps_away_from_places_that_cannot_be_evaluated() -> None:
    spec = get("gp")
    of = law.problem(spec, "plane", seed=1)
    one, bad, best = law.Study(of), [], math.inf
    suggester = law.make(spec, of)
    for _ in range(40):
        suggestion = suggester.suggest(one.history(), 1)[0]
        x, y = suggestion.parameters["x"], suggestion.parameters["y"]
        bad.append(x > 1.3 or y < -1)  # about half of the square
        value = (x - 1) ** 2 + y**2
        best = best if bad[-1] else min(best, value)
        one.tell(one.start(suggestion), value, TrialState.INFEASIBLE if bad[-1] else TrialState.COMPLETED)
    assert any(bad)
    assert sum(bad[20:]) <= 5
    assert best < 0.01


def test_it_finds_the_feasible_side_of_a_constraint() -> None:
    spec = get("gp")
    made = study(
        parameters=[{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"],
        constraints=[{"metric": "c", "max": 0.0}],
        suggester={"name": "gp"},
        seed=2,
    )
    of = law.Problem(study="s", spec=made, seed=2)
    one, best = law.Study(of), math.inf
    suggester = law.make(spec, of)
    for _ in range(30):
        suggestion = suggester.suggest(one.history(), 1)[0]
        x, y = suggestion.parameters["x"], suggestion.parameters["y"]
        number = one.start(suggestion)
        loss, c = x + y, 0.5 - x * y * 4  # feasible where xy >= 1/8: best at x = y = sqrt(1/8), sum 0.7071
        one.tell(number, 0.0)
        one.trials[number] = law.with_metrics(one.trials[number], {"loss": loss, "c": c}, c <= 0)
        best = min(best, loss) if c <= 0 else best
    assert best < 0.78

"""Stochastic dual descent reaches what a Cholesky factor gives, in mean and in drawn functions, on the CPU and on an accelerator."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from services.domain.sampling import generator
from workers.models.dual_descent import DualDescent, Plan, learn, subset
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel
from workers.models.pathwise import Features, Path


def draws(purpose: str) -> np.random.Generator:
    """A fresh generator for each purpose, always the same."""
    return generator(1, 0, purpose)


def problem(n: int, d: int = 3, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray, Hyperparameters, Kernel]:
    """Standardised targets of a smooth function in the cube."""
    rng = np.random.default_rng(n)
    x = rng.random((n, d))
    y = np.sin(5 * x).sum(1) + x[:, 0] * x[:, 1] + math.sqrt(noise) * rng.standard_normal(n)
    theta = Hyperparameters(np.full(d, 0.4), noise, 0.0)
    return x, (y - y.mean()) / y.std(), theta, Kernel.ard(np.zeros(d, dtype=bool))


def error(found: np.ndarray, exact: GaussianProcess) -> float:
    """Relative error of the dual weights in the norm of the kernel (without noise)."""
    k = exact.lower @ exact.lower.T - exact.theta.noise * np.eye(len(exact.x))
    away = found - exact.alpha
    return float(math.sqrt(away @ k @ away / (exact.alpha @ k @ exact.alpha)))


def test_the_mean_is_that_of_cholesky() -> None:
    x, y, theta, kernel = problem(500)
    exact = GaussianProcess(x, y, theta, kernel)
    plan = Plan(iterations=20_000, batch=64, tolerance=0.0)
    found = DualDescent(x, y, theta, kernel, draws, samples=0, plan=plan, device="cpu")
    assert found.iterations == 20_000
    assert error(found.solution[:, 0], exact) < 2e-2
    at = np.random.default_rng(0).random((300, 3))
    mean, std = exact.predict(at)
    assert np.abs(found.predict(at)[0] - mean).max() < 0.02 * max(1.0, float(std.max()))
    assert found.residual < 0.01
    assert found.is_accepted


def test_the_published_toy_with_its_own_settings_overlaps_the_exact_curve() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(-1.5, -0.5, 100), rng.uniform(0.5, 1.5, 100)])[:, None]
    y = (np.sin(10 * (x - 0.5)) + np.cos(5 * (x + 0.2)))[:, 0] + 0.2 * rng.standard_normal(200)
    theta = Hyperparameters(np.array([0.7]), 0.2**2, 0.0, 1.2**2)
    kernel = Kernel.ard(np.array([False]), "matern32")
    exact = GaussianProcess(x, y, theta, kernel)
    plan = Plan(iterations=3000, batch=10, momentum=0.9, averaging=0.01, step=0.001 * 200, tolerance=0.0)
    found = DualDescent(x, y, theta, kernel, draws, samples=0, plan=plan, device="cpu")
    at = np.linspace(-1.5, 1.5, 200)[:, None]
    assert error(found.solution[:, 0], exact) < 0.05
    assert np.abs(found.predict(at)[0] - exact.predict(at)[0]).max() < 0.1


def test_drawn_functions_have_the_posteriors_mean_and_spread() -> None:
    x, y, theta, kernel = problem(60, d=2)
    exact = GaussianProcess(x, y, theta, kernel)
    at = np.random.default_rng(5).random((40, 2))
    mean, std = exact.predict(at)
    plan = Plan(iterations=2500, batch=60, tolerance=0.0)
    found = DualDescent(x, y, theta, kernel, draws, samples=2000, features=4000, plan=plan, device="cpu")
    many = found.paths(at)
    assert many.shape == (40, 2000)
    scale = math.sqrt(theta.output_scale)
    assert np.abs(many.mean(1) - mean).max() < 5 * float(std.max()) / math.sqrt(2000)
    # Two thousand draws know a deviation to 1.6 %; four thousand features know the prior's to about as much of its own scale.
    np.testing.assert_allclose(many.std(1), std, atol=0.02 * scale, rtol=0.08)
    np.testing.assert_allclose(found.predict(at)[1], std, atol=0.02 * scale, rtol=0.08)


def test_functions_drawn_by_cholesky_have_the_posteriors_moments_too_with_categories() -> None:
    rng = np.random.default_rng(2)
    x = rng.random((60, 3))
    x[:, 2] = (np.floor(x[:, 2] * 4) + 0.5) / 4
    kernel = Kernel.ard(np.array([False, False, True]))
    theta = Hyperparameters(np.array([0.3, 0.6, 1.0]), 0.02, 0.3, 1.7)
    y = np.sin(6 * x[:, 0]) + x[:, 2]
    process = GaussianProcess(x, y, theta, kernel)
    at = rng.random((30, 3))
    at[:, 2] = (np.floor(at[:, 2] * 4) + 0.5) / 4
    many = Path(process, rng, [None, None, 4], features=4096, count=3000)(at)
    mean, std = process.predict(at)
    assert np.abs(many.mean(1) - mean).max() < 5 * std.max() / math.sqrt(3000)
    np.testing.assert_allclose(many.std(1), std, atol=0.04, rtol=0.08)


@pytest.mark.parametrize("shape", ["matern52", "matern32", "rbf"])
def test_features_average_to_the_kernel(shape: str) -> None:
    rng = np.random.default_rng(3)
    kernel = Kernel(np.array([False, True]), np.array([0, 1]), shape)  # type: ignore[arg-type]
    theta = Hyperparameters(np.array([0.4, 0.8]), 0.01, 0.0, 2.0)
    a = np.column_stack([rng.random(20), (rng.integers(0, 3, 20) + 0.5) / 3])
    drawn = Features.draw(theta, kernel, 60_000, rng, [None, 3])
    features = drawn.values(a)
    np.testing.assert_allclose(drawn.rough_values(a), features, atol=1e-6 * drawn.amplitude)
    exact = 2.0 * kernel.value(kernel.squared_distance(a, a, theta.lengthscales))
    np.testing.assert_allclose(features @ features.T, exact, atol=0.05)
    with pytest.raises(ValueError, match="how many levels"):
        Features.draw(theta, kernel, 10, rng)


def test_the_gradient_estimate_is_unbiased() -> None:
    x, y, theta, kernel = problem(40)
    found = DualDescent(
        x, y, theta, kernel, draws, samples=1, plan=Plan(iterations=1, batch=8), device="cpu", features=64
    )
    rng = np.random.default_rng(0)
    alpha = rng.standard_normal((40, 2))
    exact = found.gradient(alpha, np.arange(40))
    k = kernel.value(kernel.squared_distance(x, x, theta.lengthscales)) + theta.noise * np.eye(40)
    np.testing.assert_allclose(exact[:, 0], k @ alpha[:, 0] - y, atol=1e-10)
    draws_ = np.array([found.gradient(alpha, rng.permutation(40)[:8])[:, 0] for _ in range(10_000)])
    away = np.abs(draws_.mean(0) - exact[:, 0]) / (draws_.std(0) / 100.0)
    assert away.max() < 4.5


def test_gradients_of_a_drawn_function_are_its_slopes() -> None:
    x, y, theta, kernel = problem(80)
    bent = replace(theta, warp=np.array([[1.3, 0.8, 1.0], [0.9, 1.2, 1.0]]))
    found = DualDescent(x, y, bent, kernel, draws, samples=2, plan=Plan(iterations=400, batch=40), device="cpu")
    at = np.random.default_rng(4).random((6, 3)) * 0.8 + 0.1
    value, gradient = found.path_with_gradient(1, at)
    np.testing.assert_allclose(value, found.paths(at)[:, 1], atol=1e-9)
    for j in range(3):
        up, down = at.copy(), at.copy()
        up[:, j] += 1e-6
        down[:, j] -= 1e-6
        slope = (found.paths(up)[:, 1] - found.paths(down)[:, 1]) / 2e-6
        np.testing.assert_allclose(gradient[:, j], slope, rtol=1e-5, atol=1e-6)


def test_a_warm_start_needs_fewer_iterations_and_the_stored_matrix_changes_nothing() -> None:
    x, y, theta, kernel = problem(400, noise=0.02)
    plan = Plan(iterations=8000, batch=100, tolerance=0.02, averaging=0.02)
    first = DualDescent(x[:370], y[:370], theta, kernel, draws, samples=2, plan=plan, device="cpu")
    cold = DualDescent(x, y, theta, kernel, draws, samples=2, plan=plan, device="cpu")
    short = replace(plan, iterations=cold.iterations // 2, tolerance=0.0)
    warm = DualDescent(x, y, theta, kernel, draws, samples=2, plan=short, start=first.solution, device="cpu")
    anew = DualDescent(x, y, theta, kernel, draws, samples=2, plan=short, device="cpu")
    assert warm.residual < anew.residual
    rows = DualDescent(
        x, y, theta, kernel, draws, samples=2, plan=replace(short, most_bytes=0), start=first.solution, device="cpu"
    )
    np.testing.assert_allclose(rows.solution, warm.solution, atol=1e-8)


def test_a_step_that_is_too_long_is_shortened_and_one_that_never_converges_is_reported() -> None:
    x, y, theta, kernel = problem(300)
    long = DualDescent(
        x, y, theta, kernel, draws, samples=0, plan=Plan(iterations=6000, batch=50, step=400.0), device="cpu"
    )
    assert long.step < 400.0
    assert long.is_accepted
    short = DualDescent(
        x, y, theta, kernel, draws, samples=0, plan=Plan(iterations=100, batch=10, step=0.01), device="cpu"
    )
    assert not short.is_accepted
    assert 0.05 < short.residual < math.inf


def test_hyperparameters_come_from_the_best_the_newest_and_others() -> None:
    x, y, _, kernel = problem(900)
    part = subset(y, np.random.default_rng(0), 200)
    assert len(part) == 200
    assert set(np.argsort(y)[:80]) <= set(part.tolist())
    assert set(range(860, 900)) <= set(part.tolist())
    theta = learn(x, y, kernel, np.random.default_rng(0), most=200)
    assert theta.noise >= 1e-4
    assert np.array_equal(subset(y[:50], np.random.default_rng(0), 200), np.arange(50))


def test_an_accelerator_gives_the_cpus_result() -> None:
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    x, y, theta, kernel = problem(600)
    plan = Plan(iterations=2000, batch=128, tolerance=0.0)
    on_cpu = DualDescent(x, y, theta, kernel, draws, samples=4, plan=plan, device="cpu")
    on_gpu = DualDescent(x, y, theta, kernel, draws, samples=4, plan=plan, device="cuda")
    assert DualDescent(x, y, theta, kernel, draws, samples=0, plan=Plan(iterations=1)).where.startswith("cuda")
    at = np.random.default_rng(1).random((50, 3))
    np.testing.assert_allclose(on_gpu.paths(at), on_cpu.paths(at), atol=1e-5)

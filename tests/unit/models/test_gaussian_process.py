"""The Gaussian process, its fits and their gradients, against dense references, GPyTorch and finite differences."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from workers.models.fitting import Layout, Priors, fit, fit_with_evidence, log_posterior
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel, Shape

SHAPES: tuple[Shape, ...] = ("matern52", "matern32", "rbf")
CATEGORICAL = np.array([False, False, False, True])
THETA = Hyperparameters(
    np.array([0.3, 0.8, 2.0, 1.1]), 0.01, 0.2, 1.7, np.array([[1.4, 0.7, 1.0, 1.0], [0.8, 1.3, 1.0, 1.0]])
)


def data(n: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Mixed inputs, standardised targets."""
    x = np.random.default_rng(1).random((n, 4))
    x[:, 3] = (np.floor(x[:, 3] * 3) + 0.5) / 3
    y = np.sin(5 * x[:, 0]) + x[:, 1] ** 2 + x[:, 3]
    return x, (y - y.mean()) / y.std()


def correlation(a: np.ndarray, b: np.ndarray, theta: Hyperparameters, shape: Shape) -> float:
    """One kernel value by the textbook."""
    r2 = 0.0
    for j, length in enumerate(theta.lengthscales):
        u, v = a[j], b[j]
        if theta.warp is not None:
            u, v = (1 - (1 - t ** theta.warp[0, j]) ** theta.warp[1, j] for t in (u, v))
        r2 += ((u != v) if CATEGORICAL[j] else (u - v) ** 2) / length**2
    r = math.sqrt(r2)
    if shape == "rbf":
        return math.exp(-r2 / 2)
    if shape == "matern32":
        return (1 + math.sqrt(3) * r) * math.exp(-math.sqrt(3) * r)
    return (1 + math.sqrt(5) * r + 5 * r2 / 3) * math.exp(-math.sqrt(5) * r)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_posterior_is_that_of_a_dense_reference(shape: Shape) -> None:
    x, y = data()
    at = data(12)[0] * 0.9
    noise = np.linspace(0.0, 0.1, len(x))
    mean, std = GaussianProcess(x, y, THETA, Kernel.ard(CATEGORICAL, shape), noise).predict(at)
    k = THETA.output_scale * np.array([[correlation(a, b, THETA, shape) for b in x] for a in x])
    cross = THETA.output_scale * np.array([[correlation(a, b, THETA, shape) for b in x] for a in at])
    inverse = np.linalg.inv(k + np.diag(THETA.noise + noise))
    expected = THETA.output_scale - np.einsum("ij,jk,ik->i", cross, inverse, cross)
    np.testing.assert_allclose(mean, THETA.mean + cross @ inverse @ (y - THETA.mean), atol=1e-10)
    np.testing.assert_allclose(std, np.sqrt(expected), atol=1e-9)


def test_posterior_and_evidence_are_those_of_gpytorch() -> None:
    import gpytorch
    import torch

    x, y = data()
    x = x[:, :3]
    theta = Hyperparameters(np.array([0.3, 0.8, 2.0]), 0.01, 0.2, 1.7)
    kernel = Kernel.ard(np.zeros(3, dtype=bool))

    class Exact(gpytorch.models.ExactGP):  # type: ignore[misc]
        def __init__(self) -> None:
            likelihood = gpytorch.likelihoods.GaussianLikelihood().double()
            super().__init__(torch.tensor(x), torch.tensor(y), likelihood)
            self.mean_module = gpytorch.means.ConstantMean().double()
            base = gpytorch.kernels.MaternKernel(nu=2.5, ard_num_dims=3)
            self.covar_module = gpytorch.kernels.ScaleKernel(base).double()
            self.covar_module.base_kernel.lengthscale = torch.tensor(theta.lengthscales)
            self.covar_module.outputscale = torch.tensor(theta.output_scale, dtype=torch.float64)
            self.mean_module.constant.data = torch.tensor(theta.mean, dtype=torch.float64)
            likelihood.noise = torch.tensor(theta.noise, dtype=torch.float64)

        def forward(self, at: torch.Tensor) -> gpytorch.distributions.MultivariateNormal:
            return gpytorch.distributions.MultivariateNormal(self.mean_module(at), self.covar_module(at))

    model = Exact()
    mll = gpytorch.mlls.ExactMarginalLogLikelihood(model.likelihood, model)
    evidence = mll(model(torch.tensor(x)), torch.tensor(y)).item() * len(y)
    flat = Priors.bounded(3, lengthscales=(1e-3, 1e3), noise=(1e-6, 10), output_scale=(1e-3, 1e3), start=theta)
    layout = Layout(3, True, np.zeros(3, dtype=bool))
    value, _ = log_posterior(layout.vector(theta), layout, flat, x, y, kernel, None)
    assert value == pytest.approx(evidence, abs=1e-8)
    model.eval()
    at = np.random.default_rng(2).random((10, 3))
    with torch.no_grad(), gpytorch.settings.fast_computations(False, False, False):
        expected = model(torch.tensor(at))
    mean, std = GaussianProcess(x, y, theta, kernel).predict(at)
    np.testing.assert_allclose(mean, expected.mean.numpy(), atol=1e-8)
    np.testing.assert_allclose(std**2, expected.variance.numpy(), atol=1e-7)


@pytest.mark.parametrize(
    ("shape", "grouped", "noisy", "kind"), list(product(SHAPES, (False, True), (False, True), range(3)))
)
def test_evidence_gradients_are_those_of_finite_differences(
    shape: Shape, grouped: bool, noisy: bool, kind: int
) -> None:
    x, y = data()
    kernel = Kernel.isotropic(CATEGORICAL, shape) if grouped else Kernel.ard(CATEGORICAL, shape)
    size = kernel.size
    priors = (
        Priors.dimension_scaled(size, 4), Priors.weak(size),
        Priors.bounded(size, lengthscales=(0.01, 10), noise=(1e-5, 1), output_scale=(0.1, 10)),
    )[kind]  # fmt: skip
    warped = ~CATEGORICAL if kind != 1 else np.zeros(4, dtype=bool)
    layout = Layout(size, priors.output_scale is not None, warped)
    rng = np.random.default_rng(3)
    start = layout.vector(Hyperparameters(np.full(size, 0.6), 0.02, 0.1, 1.3))
    vector = start + 0.2 * rng.normal(size=len(start))
    fixed = np.full(len(x), 0.01) if noisy else None

    def at(v: np.ndarray) -> float:
        return log_posterior(v, layout, priors, x, y, kernel, fixed)[0]

    _, gradient = log_posterior(vector, layout, priors, x, y, kernel, fixed)
    steps = 1e-6 * np.eye(len(vector))
    numeric = [(at(vector + s) - at(vector - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_prediction_gradients_are_those_of_finite_differences(shape: Shape) -> None:
    x, y = data()
    process = GaussianProcess(x, np.column_stack([y, np.cos(y)]), THETA, Kernel.ard(CATEGORICAL, shape))
    points = np.array([[0.31, 0.62, 0.4, 0.5], [0.9, 0.1, 0.77, 1 / 6]])
    weights, by_std = np.array([[0.3, -1.2], [2.0, 0.4]]), np.array([0.7, -0.9])

    def value(at: np.ndarray) -> np.ndarray:
        mean, std = process.predict(at)
        return (mean * weights).sum(1) + std * by_std

    _, _, trace = process.traced(points)
    gradient = process.pull_back(trace, weights, by_std)
    for j in range(3):
        step = np.zeros(4)
        step[j] = 1e-6
        np.testing.assert_allclose(gradient[:, j], (value(points + step) - value(points - step)) / 2e-6, rtol=1e-5)
    assert np.all(gradient[:, 3] == 0)


def test_appended_rows_are_a_factorisation_of_everything() -> None:
    x, y = data(40)
    kernel, noise = Kernel.ard(CATEGORICAL), np.linspace(0.01, 0.1, 40)
    whole = GaussianProcess(x, y, THETA, kernel, noise)
    grown = GaussianProcess(x[:25], y[:25], THETA, kernel, noise[:25])
    for i in range(25, 35):
        grown = grown.appended(x[i : i + 1], y[i : i + 1], noise[i : i + 1])
    grown = grown.appended(x[35:], y[35:], noise[35:])
    at = data(10)[0] * 0.9
    for ours, theirs in zip(grown.predict(at), whole.predict(at), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_allclose(grown.lower, whole.lower, atol=1e-9)


def test_mixed_kernels_are_positive_definite_also_with_inactive_children() -> None:
    """An inactive child stands at its midpoint: an embedding, so no choice of rows can break the kernel."""
    rng = np.random.default_rng(0)
    x = rng.random((200, 4))
    x[:, 3] = (np.floor(x[:, 3] * 3) + 0.5) / 3
    x[x[:, 3] < 0.4, 2] = 0.5
    for shape in SHAPES:
        kernel = Kernel.ard(CATEGORICAL, shape)
        gram = kernel.value(kernel.squared_distance(x, x, np.full(4, 3.0)))
        assert np.linalg.eigvalsh(gram).min() > -1e-10


def test_a_fit_recovers_what_the_data_were_drawn_from() -> None:
    rng = np.random.default_rng(5)
    kernel = Kernel.ard(np.zeros(2, dtype=bool))
    x = rng.random((120, 2))
    truth = np.array([0.25, 1.5])
    gram = kernel.value(kernel.squared_distance(x, x, truth)) + 1e-4 * np.eye(120)
    y = np.linalg.cholesky(gram) @ rng.normal(size=120)
    found = fit(x, y, kernel)
    assert 0.12 < found.lengthscales[0] < 0.5
    assert found.lengthscales[1] > 2 * found.lengthscales[0]
    assert found.noise < 0.01
    better = fit_with_evidence(x, y, kernel, start=found)
    assert better.evidence >= fit_with_evidence(x, y, kernel).evidence - 0.05


def test_intervals_cover_samples_of_the_prior() -> None:
    rng, inside, total = np.random.default_rng(4), 0, 0
    kernel = Kernel.ard(np.zeros(6, dtype=bool))
    theta = Hyperparameters(np.full(6, 0.6), 1e-4, 0.0)
    for _ in range(12):
        x = rng.random((80, 6))
        gram = kernel.value(kernel.squared_distance(x, x, theta.lengthscales)) + 1e-6 * np.eye(80)
        values = np.linalg.cholesky(gram) @ rng.normal(size=80)
        mean, std = GaussianProcess(x[:40], values[:40], theta, kernel).predict(x[40:])
        inside += int((np.abs(values[40:] - mean) < 1.96 * std).sum())
        total += 40
    assert 0.90 < inside / total < 0.99


def test_duplicates_without_noise_take_jitter_and_say_so() -> None:
    x, y = data(10)
    theta = Hyperparameters(np.full(4, 5.0), 1e-18, 0.0)
    process = GaussianProcess(np.vstack([x] * 5), np.tile(y, 5), theta, Kernel.ard(CATEGORICAL))
    assert process.jitter > 0
    assert np.all(np.isfinite(process.predict(x)[0]))

"""The torch process is the NumPy one, on whatever device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel
from workers.models.torch_process import TorchProcess, chosen_device

DEVICES = ["cpu", "cuda"]
WARP = np.array([[1.4, 1.0, 0.7, 1.0], [0.8, 1.0, 1.2, 1.0]])


def skip_without(device: str) -> None:
    """Skip where there is no such device."""
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")


def data(n: int, seed: int = 1) -> np.ndarray:
    """Rows whose last column is a category of three."""
    x = np.random.default_rng(seed).random((n, 4))
    x[:, 3] = (np.floor(x[:, 3] * 3) + 0.5) / 3
    return x


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("warp", [None, WARP], ids=["plain", "warped"])
@pytest.mark.parametrize("shape", ["matern52", "matern32", "rbf"])
def test_means_deviations_and_gradients_are_those_of_numpy(shape: str, warp: np.ndarray | None, device: str) -> None:
    skip_without(device)
    x, at = data(120), data(70, seed=2)
    y = np.sin(4 * x[:, 0]) + x[:, 1] - x[:, 3]
    kernel = Kernel(np.array([False, False, False, True]), np.array([0, 1, 1, 2]), shape)  # type: ignore[arg-type]
    theta = Hyperparameters(np.array([0.3, 0.7, 1.2]), 0.01, 0.2, 1.5, warp)
    noise = np.linspace(0.0, 0.05, 120)
    expected, found = GaussianProcess(x, y, theta, kernel, noise), TorchProcess(x, y, theta, kernel, noise, device)
    for ours, theirs in zip(found.predict_many_with_gradient(at), expected.predict_many_with_gradient(at), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8, rtol=1e-8)
    for ours, theirs in zip(found.predict(at), expected.predict(at), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-8)
    np.testing.assert_allclose(found.covariance(at[:9], at[5:]), expected.covariance(at[:9], at[5:]), atol=1e-8)
    np.testing.assert_allclose(found.alpha, expected.alpha, atol=1e-7)


@pytest.mark.parametrize("device", DEVICES)
def test_several_samples_of_the_targets_are_believed_at_once(device: str) -> None:
    skip_without(device)
    x, at = data(60), data(11, seed=3)
    y = np.column_stack([x[:, 0], np.cos(3 * x[:, 1])])
    kernel = Kernel.ard(np.array([False, False, False, True]))
    theta = Hyperparameters(np.full(4, 0.5), 0.02, 0.0)
    expected, found = GaussianProcess(x, y, theta, kernel), TorchProcess(x, y, theta, kernel, device=device)
    mean, std, trace = found.traced(at)
    theirs, their_std, their_trace = expected.traced(at)
    np.testing.assert_allclose(mean, theirs, atol=1e-8)
    np.testing.assert_allclose(std, their_std, atol=1e-8)
    d_mean, d_std = np.random.default_rng(0).random((11, 2)), np.random.default_rng(1).random(11)
    np.testing.assert_allclose(
        found.pull_back(trace, d_mean, d_std), expected.pull_back(their_trace, d_mean, d_std), atol=1e-8
    )


def test_repeated_points_without_noise_take_the_same_jitter() -> None:
    x = np.repeat(data(10), 3, axis=0)
    kernel = Kernel.ard(np.array([False, False, False, True]), "rbf")
    theta = Hyperparameters(np.full(4, 3.0), 1e-300, 0.0)
    expected, found = GaussianProcess(x, x[:, 0], theta, kernel), TorchProcess(x, x[:, 0], theta, kernel, device="cpu")
    assert found.jitter == expected.jitter > 0


def test_the_device_is_the_accelerator_where_there_is_one() -> None:
    assert chosen_device("cpu").type == "cpu"
    assert chosen_device().type == ("cuda" if torch.cuda.is_available() else "cpu")

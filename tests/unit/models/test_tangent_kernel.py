"""The tangent kernel against differences of the network it belongs to, and the regression's slope against its mean."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.models.tangent_kernel import TangentKernel, TangentRegression

Array = NDArray[np.float64]


def network(layers: list[tuple[Array, Array]], x: Array) -> float:
    """f(x), written anew."""
    for weights, biases in layers[:-1]:
        x = np.maximum(weights @ x + biases, 0.0)
    weights, biases = layers[-1]
    return float((weights @ x + biases)[0])


def by_differences(layers: list[tuple[Array, Array]], x: Array, step: float = 1e-6) -> Array:
    """∂f/∂θ by central differences: exact up to rounding, f being piecewise linear in each single parameter."""
    found = []
    for part in (array for layer in layers for array in layer):
        for place in np.ndindex(part.shape):
            kept = part[place]
            part[place] = kept + step
            above = network(layers, x)
            part[place] = kept - step
            found.append((above - network(layers, x)) / (2 * step))
            part[place] = kept
    return np.array(found)


@pytest.mark.parametrize(("width", "depth"), [(7, 2), (5, 1), (4, 3)])
def test_the_kernel_is_the_product_of_the_networks_gradients(width: int, depth: int) -> None:
    rng = np.random.default_rng(depth)
    kernel, x = TangentKernel(6, rng, width, depth), rng.standard_normal((5, 6))
    gradients = np.array([by_differences(kernel.layers, row) for row in x])
    matrix = kernel.matrix(kernel.passed(x), kernel.passed(x))
    np.testing.assert_allclose(matrix, gradients @ gradients.T, rtol=1e-6, atol=1e-6 * np.abs(matrix).max())
    np.testing.assert_allclose(kernel.diagonal(kernel.passed(x)), np.diag(matrix), rtol=1e-12)


def test_the_kernel_is_symmetric_and_positive_semidefinite() -> None:
    rng = np.random.default_rng(1)
    kernel, x = TangentKernel(20, rng), rng.random((40, 20))
    matrix = kernel.matrix(kernel.passed(x), kernel.passed(x))
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-12)
    assert np.linalg.eigvalsh(matrix).min() > -1e-9 * np.trace(matrix)


def test_the_slope_is_that_of_the_mean_away_from_kinks() -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((20, 10))
    model = TangentRegression(TangentKernel(10, rng), x, np.sin(x.sum(axis=1)))
    for place in rng.standard_normal((10, 10)):
        steps = 1e-7 * np.eye(10)
        differences = (model.mean(place + steps) - model.mean(place - steps)) / 2e-7
        slope = model.slope(place)
        np.testing.assert_allclose(slope, differences, rtol=1e-4, atol=1e-4 * np.abs(slope).max())


def test_the_mean_passes_through_the_values_within_the_noise() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((20, 50)), rng.standard_normal(20)
    model = TangentRegression(TangentKernel(50, rng), x, y, noise=0.01)
    assert np.abs(model.mean(x) - y).max() < 0.01
    variance, prior = model.variance(x)
    assert variance.max() < 0.01**2 * 1.1
    far, _ = model.variance(rng.standard_normal((5, 50)))
    assert far.min() > 100 * variance.max()
    assert prior.min() > 1.0


def test_a_dimension_without_width_and_places_twice_break_nothing() -> None:
    rng = np.random.default_rng(4)
    x = np.repeat(rng.standard_normal((4, 5)), 2, axis=0)
    x[:, 2] = 0.7
    model = TangentRegression(TangentKernel(5, rng), x, np.repeat([1.0, 2.0, 3.0, 4.0], 2), noise=0.0)
    assert np.isfinite(model.mean(x)).all()
    assert np.corrcoef(model.mean(x), np.repeat([1.0, 2.0, 3.0, 4.0], 2))[0, 1] > 0.9
    assert np.isfinite(model.slope(x[0])).all()


def test_equal_values_after_centring_have_no_slope() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((8, 4))
    model = TangentRegression(TangentKernel(4, rng), x, np.zeros(8))
    assert not model.slope(x[0]).any()

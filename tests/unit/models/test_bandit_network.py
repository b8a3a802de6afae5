"""The bandit's network against differences, its training against plain Adam, its bound against the formula."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from workers.models.bandit_network import Confidence, Network

Array = NDArray[np.float64]


def gradients(network: Network, x: Array, step: float = 1e-6) -> Array:
    """(n, P) ∂f/∂θ by central differences: exact up to rounding away from kinks, f being linear in each single parameter."""
    columns = []
    for j in range(len(network.theta)):
        above, below = network.theta.copy(), network.theta.copy()
        above[j] += step
        below[j] -= step
        columns.append(
            (Network(above, network.inputs).values(x) - Network(below, network.inputs).values(x)) / (2 * step)
        )
    return np.array(columns).T


def plain(theta: Array, x: Array, y: Array, iterations: int, rate: float, decay: float) -> Array:
    """Adam on the mean squared error with the slopes by differences and an L2 penalty, written anew."""
    d, theta = x.shape[1], theta.copy()
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    for k in range(1, iterations + 1):
        error = Network(theta, d).values(x) - y
        slope = 2 * gradients(Network(theta, d), x).T @ error / len(y) + decay * theta
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        theta = theta - rate * (first / (1 - 0.9**k)) / (np.sqrt(second / (1 - 0.999**k)) + 1e-8)
    return theta


def drawn(seed: int, inputs: int = 5, width: int = 7, *, is_scaled: bool = True) -> Network:
    """A network."""
    return Network.draw(inputs, width, np.random.default_rng(seed), is_scaled=is_scaled)


@pytest.mark.parametrize("is_scaled", [True, False])
def test_the_bound_is_the_formula_over_the_networks_own_gradients(is_scaled: bool) -> None:
    rng = np.random.default_rng(1)
    network = drawn(1, is_scaled=is_scaled)
    chosen, x = rng.standard_normal((4, 5)), rng.standard_normal((6, 5))
    confidence = Confidence(network, ridge=0.1, scale=0.7)
    g = gradients(network, x)
    np.testing.assert_allclose(confidence.sigma(x), np.sqrt((0.1 * 0.7 * g**2 / 0.1).sum(axis=1)), rtol=1e-6)
    confidence.add(chosen[:1])
    confidence.add(chosen[1:])
    u = 0.1 + (gradients(network, chosen) ** 2).sum(axis=0)
    np.testing.assert_allclose(confidence.sigma(x), np.sqrt((0.1 * 0.7 * g**2 / u).sum(axis=1)), rtol=1e-6)


def test_what_was_chosen_is_less_unsure_and_so_is_what_is_like_it() -> None:
    rng = np.random.default_rng(2)
    network = drawn(2, 30, 50)
    x = rng.standard_normal((20, 30))
    confidence = Confidence(network, 0.1, 1.0)
    before = confidence.sigma(x)
    confidence.add(x[:1])
    after = confidence.sigma(x)
    assert (after < before).all()
    assert (after / before).argmin() == 0
    assert after[0] < 0.6 * before[0]


def test_training_is_adam_from_the_first_weights_with_decay() -> None:
    rng = np.random.default_rng(3)
    network = drawn(3)
    x, y = rng.standard_normal((9, 5)), rng.standard_normal(9)
    start = network.theta.copy()
    found = network.trained(x, y, iterations=40, rate=1e-2, decay=0.05)
    np.testing.assert_allclose(found.theta, plain(start, x, y, 40, 1e-2, 0.05), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(network.theta, start)
    np.testing.assert_array_equal(found.theta, network.trained(x, y, iterations=40, rate=1e-2, decay=0.05).theta)


def test_training_fits_the_data() -> None:
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 20))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = 3.0 * x[:, 0] + np.sin(5 * x[:, 1])
    network = drawn(4, 20, 100)
    found = network.trained(x, y, iterations=1000, rate=1e-3, decay=0.1 / 60)
    assert np.mean((found.values(x) - y) ** 2) < 0.01 * y.var()


def test_scaled_weights_give_values_of_order_one() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((500, 256))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    assert 0.2 < drawn(5, 256, 100).values(x).std() + abs(drawn(5, 256, 100).values(x).mean()) < 2.0
    assert drawn(5, 256, 100, is_scaled=False).values(x).std() > 3.0

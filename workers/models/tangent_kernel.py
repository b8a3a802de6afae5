"""Regression with the empirical neural tangent kernel of a small random ReLU network, and the slope of its mean.

The network has hidden layers of equal width and one output, weights and biases from N(0, 1), no scaling. Its kernel is
k(x, x') = ⟨∂f(x)/∂θ, ∂f(x')/∂θ⟩ = Σ_l (δ_l(x)·δ_l(x')) (a_{l-1}(x)·a_{l-1}(x') + 1) with activations a (a_0 = x) and δ_l = ∂f/∂z_l
by the pre-activations z_l. Hu et al. 2024, "Localized Zeroth-Order Prompt Optimization"; the kernel: Jacot, Gabriel, Hongler 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RIDGE_IF_SINGULAR = 10.0


@dataclass(frozen=True)
class Passed:
    """n inputs after a pass through the network, forth and back.

    Attributes:
        activations: a_0 … a_{L-1}, (n, width of each layer).
        deltas: δ_1 … δ_L, the same without the input and with (n, 1) for the output.
    """

    activations: tuple[Array, ...]
    deltas: tuple[Array, ...]


class TangentKernel:
    """The kernel of one random network.

    Args:
        inputs: d.
        rng: of the weights.
        width: units of each hidden layer.
        depth: hidden layers.
    """

    def __init__(self, inputs: int, rng: np.random.Generator, width: int = 32, depth: int = 2) -> None:
        widths = [inputs, *[width] * depth, 1]
        self.layers: list[tuple[Array, Array]] = [
            (rng.standard_normal((n, m)), rng.standard_normal(n)) for m, n in pairwise(widths)
        ]

    def passed(self, x: Array) -> Passed:
        """What the kernel needs of (n, d) inputs."""
        activations = [x]
        for weights, biases in self.layers[:-1]:
            activations.append(np.maximum(activations[-1] @ weights.T + biases, 0.0))
        deltas = [np.ones((len(x), 1))]
        for (weights, _), a in zip(reversed(self.layers[1:]), reversed(activations[1:]), strict=True):
            deltas.append((deltas[-1] @ weights) * (a > 0.0))
        return Passed(tuple(activations), tuple(reversed(deltas)))

    def matrix(self, one: Passed, other: Passed) -> Array:
        """(n, m) kernel values between n and m inputs."""
        parts = zip(one.activations, one.deltas, other.activations, other.deltas, strict=True)
        return np.asarray(sum((d @ e.T) * (a @ b.T + 1.0) for a, d, b, e in parts))

    def diagonal(self, one: Passed) -> Array:
        """(n,) values k(x, x)."""
        parts = zip(one.activations, one.deltas, strict=True)
        return np.asarray(sum((d * d).sum(axis=1) * ((a * a).sum(axis=1) + 1.0) for a, d in parts))

    def slope(self, x: Array, other: Passed, weights: Array) -> Array:
        """(d,) gradient at one (d,) place of Σ_i w_i k(x, x_i) over m others; δ is constant but at the kinks.

        Args:
            weights: w, (m,).
        """
        one = self.passed(x[None, :])
        pulls = [
            (weights * (e @ d[0])) @ b for d, e, b in zip(one.deltas, other.deltas, other.activations, strict=True)
        ]  # by each activation a_{l-1}
        found = pulls[-1]
        for layer in range(len(self.layers) - 2, -1, -1):
            found = pulls[layer] + (found * (one.activations[layer + 1][0] > 0.0)) @ self.layers[layer][0]
        return np.asarray(found)


class TangentRegression:
    """A Gaussian process with that kernel, on inputs scaled to [0, 1] in each dimension.

    Args:
        kernel: its prior, on scaled inputs.
        x: (m, d) places; a dimension in which all are equal is not scaled.
        y: (m,) values.
        noise: standard deviation σ of the values, in their own units.
    """

    def __init__(self, kernel: TangentKernel, x: Array, y: Array, noise: float = 0.01) -> None:
        self._kernel = kernel
        low, high = x.min(axis=0), x.max(axis=0)
        constant = low == high
        self._low = np.where(constant, 0.0, low)
        self._range = np.where(constant, 1.0, high - low)
        self._known = kernel.passed(self._scaled(x))
        self._factor = _factor(kernel.matrix(self._known, self._known), noise)
        self._weights = self._solved(y)

    def _scaled(self, x: Array) -> Array:
        return np.asarray((x - self._low) / self._range)

    def _solved(self, right: Array) -> Array:
        from scipy.linalg import cho_solve

        return np.asarray(cho_solve((self._factor, True), right, check_finite=False))

    def mean(self, x: Array) -> Array:
        """(n,) posterior means at (n, d) places."""
        return np.asarray(self._kernel.matrix(self._kernel.passed(self._scaled(x)), self._known) @ self._weights)

    def variance(self, x: Array) -> tuple[Array, Array]:
        """(n,) posterior variances at (n, d) places, by magnitude, and (n,) prior ones."""
        passed = self._kernel.passed(self._scaled(x))
        prior, cross = self._kernel.diagonal(passed), self._kernel.matrix(passed, self._known)
        return np.abs(prior - (cross * self._solved(cross.T).T).sum(axis=1)), prior

    def slope(self, x: Array) -> Array:
        """(d,) gradient of the posterior mean at one (d,) place."""
        return np.asarray(self._kernel.slope(self._scaled(x), self._known, self._weights) / self._range)


def _factor(matrix: Array, noise: float) -> Array:
    """Lower Cholesky factor with the noise on the diagonal, or much more where the matrix is singular."""
    eye = np.eye(len(matrix))
    try:
        return np.asarray(np.linalg.cholesky(matrix + noise**2 * eye))
    except np.linalg.LinAlgError:
        return np.asarray(np.linalg.cholesky(matrix + max(RIDGE_IF_SINGULAR, 1e-9 * float(np.trace(matrix))) * eye))

"""A small network that is trained anew after each outcome, and how unsure its parameters leave it (NeuralUCB with a diagonal).

f(x) = v·relu(W x + b) + c. The bound of Zhou, Li, Gu 2020, "Neural Contextual Bandits with UCB-based Exploration", with the diagonal
U = λ + Σ g(x_i)² over the chosen places x_i in place of its matrix: σ(x)² = Σ_j λ ν g_j(x)² / U_j, g = ∂f/∂θ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BETAS = 0.9, 0.999
SMALLEST = 1e-8


@dataclass(frozen=True)
class Network:
    """Parameters of a network of h units over d inputs.

    Attributes:
        theta: (h·d + 2h + 1,) W by rows, b, v, c.
        inputs: d.
    """

    theta: Array
    inputs: int

    @classmethod
    def draw(cls, inputs: int, width: int, rng: np.random.Generator, *, is_scaled: bool) -> Network:
        """Random weights.

        Args:
            is_scaled: W from N(0, 1), v from N(0, 1/h), no biases: values of order one for inputs of length one. Otherwise all,
                biases too, from N(0, 1).
        """
        if not is_scaled:
            return cls(rng.standard_normal(width * inputs + 2 * width + 1), inputs)
        weights, tops = rng.standard_normal(width * inputs), rng.standard_normal(width) / np.sqrt(width)
        return cls(np.concatenate([weights, np.zeros(width), tops, [0.0]]), inputs)

    @property
    def width(self) -> int:
        """h."""
        return (len(self.theta) - 1) // (self.inputs + 2)

    @property
    def parts(self) -> tuple[Array, Array, Array, float]:
        """W (h, d), b (h,), v (h,), c; views."""
        h, d, theta = self.width, self.inputs, self.theta
        return theta[: h * d].reshape(h, d), theta[h * d : h * (d + 1)], theta[h * (d + 1) : -1], float(theta[-1])

    def values(self, x: Array) -> Array:
        """(n,) f at (n, d) places."""
        weights, biases, tops, constant = self.parts
        return np.asarray(np.maximum(x @ weights.T + biases, 0.0) @ tops + constant)

    def features(self, x: Array) -> tuple[Array, Array]:
        """∂f/∂z and the activations at (n, d) places, both (n, h): all that the gradients by the parameters are made of."""
        weights, biases, tops, _ = self.parts
        z = x @ weights.T + biases
        return tops * (z > 0.0), np.maximum(z, 0.0)

    def trained(self, x: Array, y: Array, *, iterations: int, rate: float, decay: float) -> Network:
        """These weights after steps of Adam on the mean squared error plus decay/2 · |θ|².

        Args:
            x: (n, d).
            y: (n,).
            decay: added to each slope in units of its parameter, as an L2 penalty.
        """
        theta = self.theta.copy()
        found = Network(theta, self.inputs)
        weights, biases, tops, _ = found.parts
        slope, work = np.empty_like(theta), np.empty_like(theta)
        by_w, by_b, by_v, _ = Network(slope, self.inputs).parts
        first, second = np.zeros_like(theta), np.zeros_like(theta)
        for step in range(1, iterations + 1):
            z = x @ weights.T + biases
            a = np.maximum(z, 0.0)
            error = (2.0 / len(y)) * (a @ tops + theta[-1] - y)
            delta = np.outer(error, tops) * (z > 0.0)
            np.matmul(delta.T, x, out=by_w)
            by_b[:], by_v[:], slope[-1] = delta.sum(axis=0), a.T @ error, error.sum()
            slope += np.multiply(theta, decay, out=work)
            _adam(theta, slope, first, second, work, step, rate)
        return found


def _adam(theta: Array, slope: Array, first: Array, second: Array, work: Array, step: int, rate: float) -> None:
    """One step of Adam, all in place."""
    one, two = BETAS
    first *= one
    first += np.multiply(slope, 1.0 - one, out=work)
    second *= two
    np.multiply(slope, slope, out=work)
    work *= 1.0 - two
    second += work
    np.sqrt(second, out=work)
    work *= 1.0 / np.sqrt(1.0 - two**step)
    work += SMALLEST
    np.divide(first, work, out=work)
    work *= rate / (1.0 - one**step)
    theta -= work


class Confidence:
    """How unsure a network is, given the places that were chosen.

    Args:
        network: its gradients are taken at these weights.
        ridge: λ.
        scale: ν.
    """

    def __init__(self, network: Network, ridge: float, scale: float) -> None:
        self._network, self._factor = network, ridge * scale
        h, d = network.width, network.inputs
        self._by_w, self._by_b = np.full((h, d), ridge), np.full(h, ridge)
        self._by_v, self._by_c = np.full(h, ridge), ridge

    def add(self, x: Array) -> None:
        """(n, d) places were chosen."""
        deltas, a = (part * part for part in self._network.features(x))
        self._by_w += deltas.T @ (x * x)
        self._by_b += deltas.sum(axis=0)
        self._by_v += a.sum(axis=0)
        self._by_c += len(x)

    def sigma(self, x: Array) -> Array:
        """(n,) σ at (n, d) places."""
        deltas, a = (part * part for part in self._network.features(x))
        total = ((deltas @ (1.0 / self._by_w)) * (x * x)).sum(axis=1)
        total += deltas @ (1.0 / self._by_b) + a @ (1.0 / self._by_v) + 1.0 / self._by_c
        return np.asarray(np.sqrt(self._factor * total))

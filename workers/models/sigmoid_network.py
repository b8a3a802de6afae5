"""A small network with hand-written derivatives, and the confidence ball of its parameters.

f_x(w) = v·s(W z + b) + c with z = 2x - 1 for x in the unit cube and h sigmoid units: P = h(m + 2) + 1 parameters for m inputs. The
ball is that of Liu, Wang 2023, "Global Optimization with Parametric Function Approximation": gradients are taken at one fixed
parameter vector, so that its matrix grows by rank one with every observation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
UNITS = 25
STARTS = 3
ITERATIONS = 300
DECAY = 1e-3


@dataclass(frozen=True)
class Network:
    """The family for `inputs` numbers."""

    inputs: int
    units: int = UNITS

    @property
    def size(self) -> int:
        """P, how many parameters there are."""
        return self.units * (self.inputs + 2) + 1

    def parts(self, w: Array) -> tuple[Array, Array, Array, float]:
        """W (h, m), b (h,), v (h,), c of a parameter vector."""
        h, m = self.units, self.inputs
        return w[: h * m].reshape(h, m), w[h * m : h * (m + 1)], w[h * (m + 1) : h * (m + 2)], float(w[-1])

    def draw(self, rng: np.random.Generator, slope: float = 1.0) -> Array:
        """A random parameter vector whose values are of order one."""
        h, m = self.units, self.inputs
        weights = rng.standard_normal((h, m)) * slope * np.sqrt(3.0 / m)
        tops = rng.standard_normal(h) * 4.0 / np.sqrt(h)
        return np.concatenate([weights.ravel(), rng.standard_normal(h) * 0.5, tops, [-tops.sum() / 2]])

    def _hidden(self, w: Array, x: Array) -> tuple[Array, Array]:
        """z (n, m) and activations (n, h)."""
        weights, biases, _, _ = self.parts(w)
        z = 2.0 * x - 1.0
        return z, 0.5 * (1.0 + np.tanh(0.5 * (z @ weights.T + biases)))

    def values(self, w: Array, x: Array) -> Array:
        """(n,) values at (n, m) places."""
        _, _, tops, constant = self.parts(w)
        return np.asarray(self._hidden(w, x)[1] @ tops + constant)

    def features(self, w: Array, x: Array) -> Array:
        """(n, P) gradients by the parameters."""
        z, s = self._hidden(w, x)
        _, _, tops, _ = self.parts(w)
        slopes = s * (1.0 - s) * tops  # (n, h)
        outer = (slopes[:, :, None] * z[:, None, :]).reshape(len(x), -1)
        return np.concatenate([outer, slopes, s, np.ones((len(x), 1))], axis=1)

    def pulled_back(self, w: Array, x: Array, u: Array) -> Array:
        """(n, m) gradients by the place of a(x)·u for fixed (n, P) or (P,) vectors u, with a the features."""
        u = np.broadcast_to(u, (len(x), self.size))
        h, m = self.units, self.inputs
        weights, _, tops, _ = self.parts(w)
        z, s = self._hidden(w, x)
        first, second = s * (1.0 - s), s * (1.0 - s) * (1.0 - 2.0 * s)
        by_weight = u[:, : h * m].reshape(len(x), h, m)
        inner = np.einsum("nhm,nm->nh", by_weight, z) + u[:, h * m : h * (m + 1)]
        through = u[:, h * (m + 1) : h * (m + 2)] * first + tops * second * inner
        return np.asarray(2.0 * (through @ weights + np.einsum("nh,nhm->nm", tops * first, by_weight)))

    def slopes(self, w: Array, x: Array) -> Array:
        """(n, m) gradients by the place."""
        weights, _, tops, _ = self.parts(w)
        _, s = self._hidden(w, x)
        return np.asarray(2.0 * (s * (1.0 - s) * tops) @ weights)

    def fit(self, x: Array, y: Array, rng: np.random.Generator) -> Array:
        """Least squares with a little decay, the best of a few starts: (P,).

        Args:
            x: (n, m) in the unit cube.
            y: (n,) of order one.
        """
        from scipy.optimize import minimize

        def loss(w: Array) -> tuple[float, Array]:
            error = self.values(w, x) - y
            value = 0.5 * float(error @ error) + 0.5 * DECAY * float(w @ w)
            return value, self.features(w, x).T @ error + DECAY * w

        ends = []
        for start in range(STARTS):
            w = self.draw(rng, slope=(0.3, 1.0, 2.0)[start % 3])
            found = minimize(loss, w, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
            ends.append((float(found.fun), start, np.asarray(found.x)))
        return min(ends, key=lambda end: end[:2])[2]


class Ball:
    """Where the parameters may be, after some observations.

    Args:
        network: the family.
        centre: ŵ₀, (P,), where all gradients are taken.
        ridge: λ of Σ = λI + Σ a aᵀ.
    """

    def __init__(self, network: Network, centre: Array, ridge: float) -> None:
        self._network, self._centre = network, centre
        self.inverse: Array = np.eye(network.size) / ridge
        self._pull: Array = np.zeros(network.size)

    def copy(self) -> Ball:
        """An independent one."""
        found = Ball(self._network, self._centre, 1.0)
        found.inverse, found._pull = self.inverse.copy(), self._pull.copy()
        return found

    def add(self, x: Array, y: float | None) -> None:
        """An observation at (m,) x, or a place without one yet; Sherman-Morrison, O(P²)."""
        a = self._network.features(self._centre, x[None])[0]
        through = self.inverse @ a
        self.inverse -= np.outer(through, through / (1.0 + a @ through))
        if y is not None:
            self._pull += a * (y - self._network.values(self._centre, x[None])[0])

    @property
    def shift(self) -> Array:
        """ŵ_t − ŵ₀, (P,)."""
        return np.asarray(self.inverse @ self._pull)

    def lower(self, x: Array, radius: float) -> tuple[Array, Array]:
        """(n,) means and optimistic bounds, lowest linearised value over the ball of a radius √β."""
        a = self._network.features(self._centre, x)
        mean = self._network.values(self._centre, x) + a @ self.shift
        spread = np.sqrt(np.maximum(np.einsum("np,np->n", a @ self.inverse, a), 0.0))
        return mean, mean - radius * spread

    def lower_with_slopes(self, x: Array, radius: float) -> tuple[Array, Array]:
        """(n,) optimistic bounds and their (n, m) gradients."""
        a, shift = self._network.features(self._centre, x), self.shift
        through = a @ self.inverse
        spread = np.sqrt(np.maximum(np.einsum("np,np->n", through, a), 1e-300))
        bound = self._network.values(self._centre, x) + a @ shift - radius * spread
        away = shift - radius * through / spread[:, None]
        return bound, self._network.slopes(self._centre, x) + self._network.pulled_back(self._centre, x, away)

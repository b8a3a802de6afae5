"""An exact Gaussian process with hand-written gradients: NumPy and SciPy, float64, one thread.

Several samples of the values at the same places may be believed at once: targets are (n,) or (n, s), means (m,) or (m, s).
`fitting` finds the hyperparameters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .kernels import Kernel
from .warping import kumaraswamy, kumaraswamy_slopes

Array = NDArray[np.float64]

JITTERS = (0.0, 1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """What a fit finds.

    Attributes:
        lengthscales: (g,) in units of the (warped) cube.
        noise: variance of the observations, targets being standardised.
        mean: constant mean.
        output_scale: variance of the function.
        warp: (2, d) Kumaraswamy exponents a and b of each column, 1 where it is not bent; None: no column is.
    """

    lengthscales: Array
    noise: float
    mean: float
    output_scale: float = 1.0
    warp: Array | None = None

    def bent(self, x: Array) -> Array:
        """(n, d) rows as the kernel sees them."""
        return x if self.warp is None else kumaraswamy(x, self.warp[0], self.warp[1])


def cholesky(matrix: Array) -> tuple[Array, float]:
    """The lower factor, and the jitter that it took, as a share of the mean of the diagonal.

    Raises:
        np.linalg.LinAlgError: the matrix is not positive definite even with the largest jitter.
    """
    scale = float(np.trace(matrix)) / len(matrix)
    for jitter in JITTERS:
        try:
            return np.asarray(np.linalg.cholesky(matrix + jitter * scale * np.eye(len(matrix)))), jitter
        except np.linalg.LinAlgError:
            continue
    raise np.linalg.LinAlgError("not positive definite")


def inverse_of_lower(lower: Array) -> Array:
    """The inverse of a lower triangular matrix."""
    from scipy.linalg.lapack import dtrtri

    inverse, _ = dtrtri(lower, lower=1)
    return np.asarray(inverse)


@dataclass(frozen=True, slots=True)
class Trace:
    """What a prediction leaves behind for its derivatives: kernel values and slopes between (m, d) points and the data."""

    points: Array
    k: Array
    slope: Array
    std: Array


@dataclass(eq=False)
class GaussianProcess:
    """A belief over functions given data and hyperparameters.

    Attributes:
        x: (n, d) in the unit cube.
        y: (n,) targets, or (n, s) samples of them.
        theta: hyperparameters.
        kernel: compares rows.
        fixed_noise: (n,) known variances beside the learned one.
        lower, inverse_lower: Cholesky factor of the data's covariance, and its inverse.
        alpha: covariance⁻¹ (y - mean), shaped like y.
        jitter: what the factorisation took to succeed.
    """

    x: Array
    y: Array
    theta: Hyperparameters
    kernel: Kernel
    fixed_noise: Array | None = None
    lower: Array = field(init=False)
    inverse_lower: Array = field(init=False)
    alpha: Array = field(init=False)
    jitter: float = field(init=False, default=0.0)
    _bent: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._bent = self.theta.bent(self.x)
        covariance = self._correlation(self._bent, self._bent)
        covariance[np.diag_indices(len(self.x))] += self.theta.noise + (
            0.0 if self.fixed_noise is None else self.fixed_noise
        )
        self.lower, self.jitter = cholesky(covariance)
        self.inverse_lower = inverse_of_lower(self.lower)
        self._solve()

    def _correlation(self, a: Array, b: Array) -> Array:
        r2 = self.kernel.squared_distance(a, b, self.theta.lengthscales)
        return self.theta.output_scale * self.kernel.value(r2)

    def _solve(self) -> None:
        self.alpha = self.inverse_lower.T @ (self.inverse_lower @ (self.y - self.theta.mean))

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Means (m,) or (m, s), and standard deviations (m,), at (m, d) points, of the function itself (without noise)."""
        k = self._correlation(self.theta.bent(points), self._bent)
        mean = self.theta.mean + k @ self.alpha
        return mean, self._std(k @ self.inverse_lower.T)

    def _std(self, half: Array) -> Array:
        variance = self.theta.output_scale - np.einsum("ij,ij->i", half, half)
        return np.asarray(np.sqrt(np.maximum(variance, LEAST_VARIANCE)))

    def traced(self, points: Array) -> tuple[Array, Array, Trace]:
        """`predict`, and what `pull_back` needs."""
        r2 = self.kernel.squared_distance(self.theta.bent(points), self._bent, self.theta.lengthscales)
        value, slope = self.kernel.value_and_slope(r2)
        k = self.theta.output_scale * value
        std = self._std(k @ self.inverse_lower.T)
        return self.theta.mean + k @ self.alpha, std, Trace(points, k, self.theta.output_scale * slope, std)

    def pull_back(self, trace: Trace, d_mean: Array, d_std: Array) -> Array:
        """(m, d) gradient by the points of a quantity whose derivatives by `traced`'s means and deviations are given.

        Zero along categorical columns.
        """
        alpha = self.alpha if self.alpha.ndim == 2 else self.alpha[:, None]
        by_mean = np.reshape(d_mean, (len(trace.points), -1)) @ alpha.T
        explained = (trace.k @ self.inverse_lower.T) @ self.inverse_lower
        weights = trace.slope * (by_mean - (d_std / trace.std)[:, None] * explained)
        bent = self.theta.bent(trace.points)
        gradient = (
            -(bent * weights.sum(1)[:, None] - weights @ self._bent) / self.theta.lengthscales[self.kernel.groups] ** 2
        )
        if self.theta.warp is not None:
            gradient *= kumaraswamy_slopes(trace.points, self.theta.warp[0], self.theta.warp[1])[0]
        gradient[:, self.kernel.categorical] = 0.0
        return np.asarray(gradient)

    def predict_many_with_gradient(self, points: Array) -> tuple[Array, Array, Array, Array]:
        """Means (m,), deviations (m,) and their (m, d) gradients; targets being (n,)."""
        mean, std, trace = self.traced(points)
        ones, zeros = np.ones(len(points)), np.zeros(len(points))
        return mean, std, self.pull_back(trace, ones, zeros), self.pull_back(trace, zeros, ones)

    def predict_with_gradient(self, point: Array) -> tuple[float, float, Array, Array]:
        """Mean, standard deviation and their (d,) gradients at one (d,) point; targets being (n,)."""
        mean, std, d_mean, d_std = self.predict_many_with_gradient(point[None, :])
        return float(mean[0]), float(std[0]), d_mean[0], d_std[0]

    def covariance(self, a: Array, b: Array) -> Array:
        """(m, l) posterior covariance of the function between (m, d) and (l, d) points."""
        left, right = self.theta.bent(a), self.theta.bent(b)
        half_left = self._correlation(left, self._bent) @ self.inverse_lower.T
        half_right = self._correlation(right, self._bent) @ self.inverse_lower.T
        return np.asarray(self._correlation(left, right) - half_left @ half_right.T)

    def appended(
        self, points: Array, y: Array, noise: Array | None = None, *, is_noisy: bool = True
    ) -> GaussianProcess:
        """More data under the same hyperparameters, by appending rows to the factor: O(p n²).

        Args:
            points: (p, d).
            y: (p,) targets, or (n + p, s): samples of the values everywhere.
            noise: (p,) known variances.
            is_noisy: False where the values are of the function itself, without the learned noise.

        Raises:
            np.linalg.LinAlgError: the points are, with what is known, not positive definite.
        """
        bent = self.theta.bent(points)
        cross = self.inverse_lower @ self._correlation(self._bent, bent)
        extra = np.zeros(len(points)) if noise is None else noise
        corner = self._correlation(bent, bent) - cross.T @ cross
        corner[np.diag_indices(len(points))] += extra + (self.theta.noise if is_noisy else 0.0)
        lower, jitter = cholesky(corner)
        found = object.__new__(GaussianProcess)
        found.__dict__.update(self.__dict__)
        found.x = np.vstack([self.x, points])
        found._bent = np.vstack([self._bent, bent])
        found.y = y if y.ndim == 2 else np.concatenate([self.y, y])
        if self.fixed_noise is not None or noise is not None:
            old = np.zeros(len(self.x)) if self.fixed_noise is None else self.fixed_noise
            found.fixed_noise = np.concatenate([old, extra])
        found.jitter = max(self.jitter, jitter)
        found.lower = _grown(self.lower, cross.T, lower)
        inverse = inverse_of_lower(lower)
        found.inverse_lower = _grown(self.inverse_lower, -inverse @ (cross.T @ self.inverse_lower), inverse)
        found._solve()
        return found

    def at_data(self) -> Array:
        """Posterior means at the data, shaped like y: O(n)."""
        noise = self.theta.noise + (0.0 if self.fixed_noise is None else self.fixed_noise)
        return np.asarray(self.y - (self.alpha.T * noise).T)


def _grown(corner: Array, below: Array, last: Array) -> Array:
    n, p = len(corner), len(last)
    found = np.zeros((n + p, n + p))
    found[:n, :n], found[n:, :n], found[n:, n:] = corner, below, last
    return found


def dimension_scaled_lengthscale(dimensions: int) -> float:
    """The mode of the dimension-scaled prior on a lengthscale (Hvarfner, Hellsten, Nardi 2024)."""
    return math.exp(math.sqrt(2) - 3) * math.sqrt(dimensions)

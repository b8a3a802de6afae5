"""An exact Gaussian process with hand-written gradients: NumPy and SciPy, float64, one thread.

Kernel: Matérn-5/2 with a lengthscale for each coordinate; a categorical coordinate is compared by equality (Hamming).
Priors on lengthscales and noise are the dimension-scaled ones of Hvarfner, Hellsten, Nardi 2024; the output scale stays 1,
for the targets are standardised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

SQRT5 = math.sqrt(5.0)
MIN_LENGTHSCALE = 0.025
MIN_NOISE = 1e-4
FIT_EVALUATIONS = 60
JITTERS = (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """What a fit finds.

    Attributes:
        lengthscales: (d,) in units of the cube.
        noise: variance of the observations, targets being standardised.
        mean: constant mean.
    """

    lengthscales: Array
    noise: float
    mean: float

    def vector(self) -> Array:
        """ln lengthscales, ln noise, mean: (d + 2,)."""
        return np.concatenate([np.log(self.lengthscales), [math.log(self.noise), self.mean]])

    @staticmethod
    def of(vector: Array) -> Hyperparameters:
        """From the vector that the optimiser moves."""
        return Hyperparameters(np.exp(vector[:-2]), float(np.exp(vector[-2])), float(vector[-1]))

    @staticmethod
    def prior_mode(dimensions: int) -> Hyperparameters:
        """Where the prior density is highest."""
        return Hyperparameters(
            np.full(dimensions, math.exp(math.sqrt(2) - 3) * math.sqrt(dimensions)), math.exp(-5), 0.0
        )


def squared_distance(a: Array, b: Array, lengthscales: Array, categorical: Mask) -> Array:
    """(n, m) scaled squared distances between (n, d) and (m, d) rows."""
    numeric = ~categorical
    left, right = a[:, numeric] / lengthscales[numeric], b[:, numeric] / lengthscales[numeric]
    found = np.maximum(
        (left**2).sum(1)[:, None] + (right**2).sum(1)[None, :] - 2.0 * left @ right.T,
        0.0,
    )
    for j in np.flatnonzero(categorical):
        found += (a[:, j][:, None] != b[:, j][None, :]) / lengthscales[j] ** 2
    return np.asarray(found)


def matern52(r2: Array) -> Array:
    """(1 + √5 r + 5 r²/3) exp(-√5 r)."""
    r = SQRT5 * np.sqrt(r2)
    return np.asarray((1.0 + r + r2 * (5.0 / 3.0)) * np.exp(-r))


def matern52_slope(r2: Array) -> Array:
    """(5/3)(1 + √5 r) exp(-√5 r) = -2 dM/d(r²); finite at 0."""
    r = SQRT5 * np.sqrt(r2)
    return np.asarray((5.0 / 3.0) * (1.0 + r) * np.exp(-r))


def cholesky(matrix: Array) -> tuple[Array, float]:
    """The lower factor, and the jitter that it took.

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


def log_posterior(
    vector: Array, x: Array, y: Array, categorical: Mask, fixed_noise: Array | None
) -> tuple[float, Array]:
    """Log marginal likelihood plus log prior (up to a constant), and its gradient.

    Args:
        vector: (d + 2,) as `Hyperparameters.vector`.
        x: (n, d); y: (n,) standardised targets.
        fixed_noise: (n,) known variances that are added to the learned one.
    """
    n, d = x.shape
    theta = Hyperparameters.of(vector)
    r2 = squared_distance(x, x, theta.lengthscales, categorical)
    kernel = matern52(r2)
    full = kernel.copy()
    full[np.diag_indices(n)] += theta.noise + (0.0 if fixed_noise is None else fixed_noise)
    lower, _ = cholesky(full)
    inverse_lower = _inverse_lower(lower)
    inverse = inverse_lower.T @ inverse_lower
    residual = y - theta.mean
    alpha = inverse @ residual
    value = -0.5 * residual @ alpha - np.log(np.diag(lower)).sum() - 0.5 * n * math.log(2 * math.pi)
    # All lengthscale derivatives at once: W = (αα' - K⁻¹) ∘ slope, see card 0.4.
    spread = np.outer(alpha, alpha) - inverse
    weights = spread * matern52_slope(r2)
    gradient = np.empty(d + 2)
    scaled = x / theta.lengthscales
    total = weights.sum(1)
    numeric = total @ scaled**2 - np.einsum("ij,ij->j", scaled, weights @ scaled)
    gradient[:d] = numeric
    for j in np.flatnonzero(categorical):
        differ = (x[:, j][:, None] != x[:, j][None, :]) / theta.lengthscales[j] ** 2
        gradient[j] = 0.5 * (weights * differ).sum()
    gradient[d] = 0.5 * theta.noise * np.trace(spread)
    gradient[d + 1] = alpha.sum()
    prior, prior_gradient = _log_prior(vector, d)
    return float(value + prior), gradient + prior_gradient


def _log_prior(vector: Array, d: int) -> tuple[float, Array]:
    mean, variance = math.sqrt(2) + 0.5 * math.log(d), 3.0
    lengths = vector[:d] - mean
    noise = vector[d] + 4.0
    gradient = np.zeros(d + 2)
    # The densities are of the values; optimising over their logarithms leaves the -ln θ of the log-normal in place.
    gradient[:d] = -lengths / variance - 1.0
    gradient[d] = -noise - 1.0
    value = -0.5 * (lengths**2).sum() / variance - vector[:d].sum() - 0.5 * noise**2 - vector[d]
    return float(value), gradient


def _inverse_lower(lower: Array) -> Array:
    from scipy.linalg.lapack import dtrtri

    inverse, _ = dtrtri(lower, lower=1)
    return np.asarray(inverse)


def fit(x: Array, y: Array, categorical: Mask, fixed_noise: Array | None = None) -> Hyperparameters:
    """Maximum a posteriori hyperparameters: a pure function of the data, stopped by count.

    Args:
        x: (n, d) in the unit cube.
        y: (n,) standardised targets.
        categorical: (d,) which coordinates are compared by equality.
        fixed_noise: (n,) known variances.
    """
    from scipy.optimize import minimize

    d = x.shape[1]

    def negative(vector: Array) -> tuple[float, Array]:
        try:
            value, gradient = log_posterior(vector, x, y, categorical, fixed_noise)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros(d + 2)
        return -value, -gradient

    start = Hyperparameters.prior_mode(d).vector()
    bounds = [(math.log(MIN_LENGTHSCALE), math.log(100.0))] * d + [(math.log(MIN_NOISE), math.log(2.0)), (-3.0, 3.0)]
    found = minimize(
        negative, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxfun": FIT_EVALUATIONS, "gtol": 1e-3}
    )
    return Hyperparameters.of(found.x if np.all(np.isfinite(found.x)) else start)


class GaussianProcess:
    """A belief over functions given data and hyperparameters.

    Args:
        x: (n, d) in the unit cube.
        y: (n,) targets.
        theta: hyperparameters.
        categorical: (d,) which coordinates are compared by equality.
        fixed_noise: (n,) known variances.
    """

    def __init__(
        self, x: Array, y: Array, theta: Hyperparameters, categorical: Mask, fixed_noise: Array | None = None
    ) -> None:
        self.x = x
        self.theta = theta
        self.categorical = categorical
        self.fixed_noise = fixed_noise
        kernel = matern52(squared_distance(x, x, theta.lengthscales, categorical))
        kernel[np.diag_indices(len(x))] += theta.noise + (0.0 if fixed_noise is None else fixed_noise)
        self.lower, self.jitter = cholesky(kernel)
        self.inverse_lower = _inverse_lower(self.lower)
        self.alpha = self.inverse_lower.T @ (self.inverse_lower @ (y - theta.mean))

    def predict(self, points: Array) -> tuple[Array, Array]:
        """(m,) means and (m,) standard deviations at (m, d) points, of the function itself (without noise)."""
        k = matern52(squared_distance(points, self.x, self.theta.lengthscales, self.categorical))
        mean = self.theta.mean + k @ self.alpha
        explained = ((k @ self.inverse_lower.T) ** 2).sum(1)
        return mean, np.sqrt(np.maximum(1.0 - explained, 1e-12))

    def predict_with_gradient(self, point: Array) -> tuple[float, float, Array, Array]:
        """Mean, standard deviation and their (d,) gradients at one (d,) point; zero along categorical coordinates."""
        r2 = squared_distance(point[None, :], self.x, self.theta.lengthscales, self.categorical)[0]
        k = matern52(r2)
        half = self.inverse_lower @ k
        variance = max(1.0 - float(half @ half), 1e-12)
        weights = self.inverse_lower.T @ half
        slopes = -matern52_slope(r2)[:, None] * (point - self.x) / self.theta.lengthscales**2
        slopes[:, self.categorical] = 0.0
        std = math.sqrt(variance)
        return self.theta.mean + float(k @ self.alpha), std, slopes.T @ self.alpha, -(slopes.T @ weights) / std

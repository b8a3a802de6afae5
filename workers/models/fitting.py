"""Hyperparameters of a Gaussian process: priors, evidence with its gradient, maximum a posteriori by L-BFGS-B, stopped by count."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .gaussian_process import Hyperparameters, cholesky, dimension_scaled_lengthscale, inverse_of_lower
from .kernels import Kernel
from .warping import kumaraswamy_slopes

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Range = tuple[float, float]

EVALUATIONS = 60
WARP_VARIANCE = 0.5**2
MEANS = (-3.0, 3.0)
WARPS = (-1.5, 1.5)
IMPOSSIBLE = 1e10
SHORTER = 0.7


@dataclass(frozen=True, slots=True)
class Priors:
    """What is believed about hyperparameters before any data.

    Attributes:
        start: the first guess.
        lengthscales, noise, output_scale: bounds; an `output_scale` of None keeps it at the first guess.
        lengthscale_location: mean of ln ℓ, normal with variance 3; None: a flat prior between the bounds.
        lengthscale_pull: weight of -(pull ℓ² + pull / ℓ²), which keeps lengthscales near 1.
        noise_gamma: shape and rate of a gamma density of the noise; None: flat.
        noise_log_normal: mean and variance of ln noise; None: flat.
        output_gamma: shape and rate of a gamma density of the output scale; None: flat.
    """

    start: Hyperparameters
    lengthscales: Range = (0.025, 100.0)
    noise: Range = (1e-4, 2.0)
    output_scale: Range | None = None
    lengthscale_location: float | None = None
    lengthscale_pull: float = 0.0
    noise_gamma: tuple[float, float] | None = None
    noise_log_normal: tuple[float, float] | None = None
    output_gamma: tuple[float, float] | None = None

    @staticmethod
    def dimension_scaled(size: int, dimensions: int | None = None, *, exact: bool = False) -> Priors:
        """Lengthscales that grow with the root of the dimension (Hvarfner, Hellsten, Nardi 2024, "Vanilla Bayesian Optimization").

        Args:
            size: g, how many lengthscales; dimensions: if not as many.
            exact: the values carry no noise: its prior lets it vanish, the output scale is learned, and lengthscales are believed
                to be half as long. By benchmark on 16 functions better than the original in all but two (docs/quality.md).
        """
        d = dimensions or size
        start = Hyperparameters(np.full(size, dimension_scaled_lengthscale(d)), math.exp(-5), 0.0)
        location = math.sqrt(2) + 0.5 * math.log(d)
        if exact:
            start = replace(start, noise=1e-3)
            return Priors(
                start, noise=(1e-6, 2.0), output_scale=(1e-2, 1e2), lengthscale_location=location - SHORTER,
                noise_gamma=(1.1, 30.0), output_gamma=(2.0, 1.0),
            )  # fmt: skip
        return Priors(start, lengthscale_location=location, noise_log_normal=(-4.0, 1.0))

    @staticmethod
    def weak(size: int, *, exact: bool = False) -> Priors:
        """Gentle pulls towards 1, as Optuna's GPSampler has them."""
        start = Hyperparameters(np.ones(size), 1e-3, 0.0)
        return Priors(
            start, lengthscales=(0.01, 100.0), noise=(1e-6, 1e-6 * (1 + 1e-9)) if exact else (1e-6, 2.0),
            output_scale=(1e-2, 1e2), lengthscale_pull=0.1, noise_gamma=(1.1, 30.0), output_gamma=(2.0, 1.0),
        )  # fmt: skip

    @staticmethod
    def bounded(
        size: int,
        *,
        lengthscales: Range,
        noise: Range,
        output_scale: Range | None,
        start: Hyperparameters | None = None,
    ) -> Priors:
        """Nothing but bounds: plain maximum likelihood."""
        first = start or Hyperparameters(
            np.full(size, min(max(0.5, lengthscales[0]), lengthscales[1])), max(noise[0], min(5e-3, noise[1])), 0.0
        )
        return Priors(first, lengthscales=lengthscales, noise=noise, output_scale=output_scale)

    def log_density(self, log_lengths: Array, log_noise: float, log_scale: float) -> tuple[float, Array, float, float]:
        """Up to a constant, and its derivatives by the three arguments."""
        value, by_lengths, by_noise, by_scale = 0.0, np.zeros(len(log_lengths)), 0.0, 0.0
        if self.lengthscale_location is not None:
            away = log_lengths - self.lengthscale_location
            value -= float(0.5 * (away**2).sum() / 3.0 + log_lengths.sum())
            by_lengths -= away / 3.0 + 1.0
        if self.lengthscale_pull:
            square = np.exp(2.0 * log_lengths)
            value -= float(self.lengthscale_pull * (square + 1.0 / square).sum())
            by_lengths -= 2.0 * self.lengthscale_pull * (square - 1.0 / square)
        for gamma, at, which in ((self.noise_gamma, log_noise, 0), (self.output_gamma, log_scale, 1)):
            if gamma is not None:
                shape, rate = gamma
                value += (shape - 1.0) * at - rate * math.exp(at)
                slope = (shape - 1.0) - rate * math.exp(at)
                by_noise, by_scale = (by_noise + slope, by_scale) if which == 0 else (by_noise, by_scale + slope)
        if self.noise_log_normal is not None:
            mean, variance = self.noise_log_normal
            value -= 0.5 * (log_noise - mean) ** 2 / variance + log_noise
            by_noise -= (log_noise - mean) / variance + 1.0
        return value, by_lengths, by_noise, by_scale


@dataclass(frozen=True, slots=True)
class Layout:
    """Where each hyperparameter stands in the vector that the optimiser moves: ln ℓ, ln noise, mean, ln s², ln a, ln b."""

    size: int
    learns_scale: bool
    warped: Mask

    def vector(self, theta: Hyperparameters) -> Array:
        """From hyperparameters."""
        parts = [np.log(theta.lengthscales), np.array([math.log(theta.noise), theta.mean])]
        if self.learns_scale:
            parts.append(np.array([math.log(theta.output_scale)]))
        if self.warped.any():
            warp = np.ones((2, len(self.warped))) if theta.warp is None else theta.warp
            parts += [np.log(warp[0, self.warped]), np.log(warp[1, self.warped])]
        return np.concatenate(parts)

    def theta(self, vector: Array, output_scale: float) -> Hyperparameters:
        """To hyperparameters; `output_scale` where it is not learned."""
        rest = vector[self.size + 2 :]
        if self.learns_scale:
            output_scale, rest = math.exp(rest[0]), rest[1:]
        warp = None
        if self.warped.any():
            warp = np.ones((2, len(self.warped)))
            warp[:, self.warped] = np.exp(rest.reshape(2, -1))
        return Hyperparameters(
            np.exp(vector[: self.size]), math.exp(vector[self.size]), float(vector[self.size + 1]), output_scale, warp
        )


def log_posterior(
    vector: Array, layout: Layout, priors: Priors, x: Array, y: Array, kernel: Kernel, fixed_noise: Array | None
) -> tuple[float, Array]:
    """Log marginal likelihood plus log prior (up to a constant), and its gradient by the vector of `layout`.

    All lengthscale derivatives come at once from W = (αα' - K⁻¹) ∘ slope, in O(n² d).

    Args:
        x: (n, d); y: (n,) standardised targets.
        fixed_noise: (n,) known variances that are added to the learned one.

    Raises:
        np.linalg.LinAlgError: the covariance is not positive definite.
    """
    n = len(x)
    theta = layout.theta(vector, priors.start.output_scale)
    bent = theta.bent(x)
    r2 = kernel.squared_distance(bent, bent, theta.lengthscales)
    correlation, slope = kernel.value_and_slope(r2)
    correlation = theta.output_scale * correlation
    covariance = correlation.copy()
    covariance[np.diag_indices(n)] += theta.noise + (0.0 if fixed_noise is None else fixed_noise)
    lower, _ = cholesky(covariance)
    inverse_lower = inverse_of_lower(lower)
    inverse = inverse_lower.T @ inverse_lower
    residual = y - theta.mean
    alpha = inverse @ residual
    value = float(-0.5 * residual @ alpha - np.log(np.diag(lower)).sum() - 0.5 * n * math.log(2 * math.pi))
    spread = np.outer(alpha, alpha) - inverse
    weights = spread * slope
    weights *= theta.output_scale
    by_lengths, pull = _by_distance(weights, bent, theta.lengthscales, kernel)
    gradient = [by_lengths, np.array([0.5 * theta.noise * np.trace(spread), alpha.sum()])]
    if layout.learns_scale:
        gradient.append(np.array([0.5 * (spread * correlation).sum()]))
    if layout.warped.any() and theta.warp is not None:
        _, by_ln_a, by_ln_b = kumaraswamy_slopes(x, theta.warp[0], theta.warp[1])
        gradient += [(pull * by_ln_a).sum(0)[layout.warped], (pull * by_ln_b).sum(0)[layout.warped]]
    return _with_prior(value, np.concatenate(gradient), vector, layout, priors)


def _by_distance(weights: Array, bent: Array, lengthscales: Array, kernel: Kernel) -> tuple[Array, Array]:
    """(g,) derivatives by ln ℓ, and (n, d) by the rows."""
    widths = lengthscales[kernel.groups]
    total = weights.sum(1)
    product = weights @ bent
    by_column = (total @ bent**2 - np.einsum("ij,ij->j", bent, product)) / widths**2
    for j in np.flatnonzero(kernel.categorical):
        differ = bent[:, j][:, None] != bent[:, j][None, :]
        by_column[j] = 0.5 * (weights * differ).sum() / widths[j] ** 2
    pull = -(bent * total[:, None] - product) / widths**2
    by_length = np.bincount(kernel.groups, weights=by_column, minlength=len(lengthscales)).astype(np.float64)
    return by_length, pull


def _with_prior(value: float, gradient: Array, vector: Array, layout: Layout, priors: Priors) -> tuple[float, Array]:
    g = layout.size
    log_scale = float(vector[g + 2]) if layout.learns_scale else 0.0
    prior, by_lengths, by_noise, by_scale = priors.log_density(vector[:g], float(vector[g]), log_scale)
    gradient[:g] += by_lengths
    gradient[g] += by_noise
    start = g + 2
    if layout.learns_scale:
        gradient[start] += by_scale
        start += 1
    warps = vector[start:]
    gradient[start:] -= warps / WARP_VARIANCE
    return value + prior - float(0.5 * (warps**2).sum() / WARP_VARIANCE), gradient


@dataclass(frozen=True, slots=True)
class Fit:
    """Hyperparameters and how well they explain the data.

    Attributes:
        evidence: log marginal likelihood plus log prior at them.
    """

    theta: Hyperparameters
    evidence: float


def fit_with_evidence(
    x: Array, y: Array, kernel: Kernel, fixed_noise: Array | None = None, *, priors: Priors | None = None,
    start: Hyperparameters | None = None, evaluations: int = EVALUATIONS, warped: Mask | None = None,
) -> Fit:  # fmt: skip
    """Maximum a posteriori hyperparameters: a pure function of its arguments.

    Args:
        x: (n, d) in the unit cube; y: (n,) standardised targets; fixed_noise: (n,) known variances.
        priors: dimension-scaled if absent.
        start: where to climb from; the priors' first guess if absent.
        evaluations: of the evidence, at most.
        warped: (d,) columns whose input warping is learned; none if absent.
    """
    from scipy.optimize import minimize

    priors = priors or Priors.dimension_scaled(kernel.size, x.shape[1])
    layout = Layout(
        kernel.size, priors.output_scale is not None, np.zeros(x.shape[1], bool) if warped is None else warped
    )

    def negative(vector: Array) -> tuple[float, Array]:
        try:
            value, gradient = log_posterior(vector, layout, priors, x, y, kernel, fixed_noise)
        except np.linalg.LinAlgError:
            return IMPOSSIBLE, np.zeros(len(vector))
        return -value, -gradient

    bounds = _bounds(layout, priors)
    first = np.clip(layout.vector(start or priors.start), bounds[:, 0], bounds[:, 1])
    found = minimize(
        negative,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=[(low, high) for low, high in bounds],
        options={"maxfun": evaluations, "gtol": 1e-3},
    )
    usable = np.all(np.isfinite(found.x)) and found.fun < IMPOSSIBLE
    vector = np.asarray(found.x) if usable else first
    return Fit(layout.theta(vector, priors.start.output_scale), -float(found.fun) if usable else -IMPOSSIBLE)


def fit(
    x: Array, y: Array, kernel: Kernel, fixed_noise: Array | None = None, *, priors: Priors | None = None,
    start: Hyperparameters | None = None, evaluations: int = EVALUATIONS, warped: Mask | None = None,
) -> Hyperparameters:  # fmt: skip
    """The hyperparameters of `fit_with_evidence`."""
    return fit_with_evidence(
        x, y, kernel, fixed_noise, priors=priors, start=start, evaluations=evaluations, warped=warped
    ).theta


def _bounds(layout: Layout, priors: Priors) -> Array:
    rows = [priors.lengthscales] * layout.size + [priors.noise]
    logs = [(math.log(low), math.log(high)) for low, high in rows] + [MEANS]
    if priors.output_scale is not None:
        logs.append((math.log(priors.output_scale[0]), math.log(priors.output_scale[1])))
    return np.array(logs + [WARPS] * (2 * int(layout.warped.sum())))

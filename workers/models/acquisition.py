"""How promising a point is, as logarithms that keep their slope where the plain values are zero."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def log_h(u: Array) -> Array:
    """ln(φ(u) + u Φ(u)), stable for every u (Ament et al. 2023, "Unexpected Improvements to Expected Improvement").

    Args:
        u: (n,) improvements in standard deviations.
    """
    from scipy.special import erfcx, ndtr

    u = np.asarray(u, dtype=np.float64)
    found = np.empty_like(u)
    near = u > -1.0
    found[near] = np.log(np.exp(-0.5 * u[near] ** 2 - LOG_SQRT_2PI) + u[near] * ndtr(u[near]))
    middle = ~near & (u > -1e6)
    v = u[middle]
    # Φ(u)/φ(u) = sqrt(π/2) erfcx(-u/√2) for u < 0
    w = np.log(-v * math.sqrt(math.pi / 2) * erfcx(-v / math.sqrt(2)))
    found[middle] = -0.5 * v**2 - LOG_SQRT_2PI + np.log(-np.expm1(np.minimum(w, -1e-300)))
    far = ~near & ~middle
    found[far] = -0.5 * u[far] ** 2 - LOG_SQRT_2PI - 2.0 * np.log(-u[far])
    return found


def log_expected_improvement(mean: Array, std: Array, best: float) -> Array:
    """ln of the expected improvement below `best`.

    Args:
        mean: (n,) predicted means; std: (n,) predicted standard deviations, > 0.
        best: the value to improve on.

    Source: Jones, Schonlau, Welch 1998, eq. 15; the logarithm as in Ament et al. 2023.
    """
    return np.asarray(np.log(std) + log_h((best - mean) / std))


def log_expected_improvement_gradient(mean: float, std: float, best: float, d_mean: Array, d_std: Array) -> Array:
    """The gradient of `log_expected_improvement` at one point, from those of mean and standard deviation."""
    from scipy.special import log_ndtr

    u = (best - mean) / std
    log_ei = math.log(std) + float(log_h(np.array([u]))[0])
    cumulative = math.exp(min(float(log_ndtr(u)) - log_ei, 700.0))
    density = math.exp(min(-0.5 * u * u - LOG_SQRT_2PI - log_ei, 700.0))
    return -cumulative * d_mean + density * d_std


def log_probability_below(mean: Array, std: Array, bound: float = 0.0) -> Array:
    """ln P(value <= bound): (n,)."""
    from scipy.special import log_ndtr

    return np.asarray(log_ndtr((bound - mean) / std))


def log_probability_below_gradient(mean: float, std: float, d_mean: Array, d_std: Array, bound: float = 0.0) -> Array:
    """The gradient of `log_probability_below` at one point."""
    from scipy.special import log_ndtr

    z = (bound - mean) / std
    ratio = math.exp(min(-0.5 * z * z - LOG_SQRT_2PI - float(log_ndtr(z)), 700.0))
    return ratio * (-d_mean - z * d_std) / std

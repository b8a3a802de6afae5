"""How promising predictions are, as logarithms that keep their slope where the plain values are zero, with their derivatives.

Predictions are means (m, s) of m points under s samples of what is not known yet, and deviations (m,) that all samples share.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
MOST = 700.0


class Promise(NamedTuple):
    """(m, s) logarithms, and their derivatives by means and by deviations: both (m, s), or a list of them, one a model."""

    value: Array
    by_mean: Array
    by_std: Array


def log_h(u: Array) -> Array:
    """ln(φ(u) + u Φ(u)), stable for every u (Ament et al. 2023, "Unexpected Improvements to Expected Improvement").

    Args:
        u: improvements in standard deviations, of any shape.
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


def _exp(exponent: Array) -> Array:
    return np.asarray(np.exp(np.minimum(exponent, MOST)))


def log_expected_improvement(mean: Array, std: Array, best: float | Array) -> Promise:
    """ln of the expected improvement below `best`.

    Args:
        mean: (m, s) or (m,); std: (m,) > 0; best: the value to improve on, or (s,) of them.

    Source: Jones, Schonlau, Welch 1998, eq. 15; the logarithm as in Ament et al. 2023.
    """
    from scipy.special import log_ndtr

    wide = std if mean.ndim == 1 else std[:, None]
    u = (best - mean) / wide
    inner = log_h(u)
    cumulative = _exp(log_ndtr(u) - inner)
    density = _exp(-0.5 * u * u - LOG_SQRT_2PI - inner)
    return Promise(np.log(wide) + inner, -cumulative / wide, density / wide)


def log_probability_below(mean: Array, std: Array, bound: float = 0.0) -> Promise:
    """ln P(value <= bound) for (m, s) or (m,) means and (m,) deviations."""
    from scipy.special import log_ndtr

    wide = std if mean.ndim == 1 else std[:, None]
    z = (bound - mean) / wide
    value = log_ndtr(z)
    ratio = _exp(-0.5 * z * z - LOG_SQRT_2PI - value)
    return Promise(np.asarray(value), -ratio / wide, -ratio * z / wide)


def log_expected_hypervolume_improvement(
    means: list[Array], stds: list[Array], boxes: tuple[Array, Array]
) -> tuple[Array, list[Array], list[Array]]:
    """ln of the expected gain in hypervolume of independent normal objectives, exact, by boxes of the free region.

    A box [l, u] gains Π_j E[(u_j - max(l_j, Y_j))⁺] = Π_j (EI_j(u_j) - EI_j(l_j)).

    Args:
        means: k arrays (m,); stds: k arrays (m,).
        boxes: (b, k) lower and (b, k) upper corners that share no inside and cover what no known point dominates, below the
            reference point; lower corners may be -inf.

    Returns:
        (m,) values, and k arrays (m,) of derivatives by means and by deviations.

    Source: Emmerich 2006, "Single- and multiobjective evolutionary optimization assisted by Gaussian random field metamodels";
    the logarithm as in Ament et al. 2023.
    """
    lower, upper = boxes
    logs, ups, downs = [], [], []
    for j, (mean, std) in enumerate(zip(means, stds, strict=True)):
        levels, places = np.unique(np.concatenate([lower[:, j], upper[:, j]]), return_inverse=True)
        finite = np.isfinite(levels)
        gains = np.full((len(mean), len(levels)), -np.inf)
        slopes, spreads = np.zeros_like(gains), np.zeros_like(gains)
        u = (levels[finite][None, :] - mean[:, None]) / std[:, None]
        gains[:, finite] = np.log(std)[:, None] + log_h(u)
        slopes[:, finite], spreads[:, finite] = _log_cumulative(u), -0.5 * u * u - LOG_SQRT_2PI
        below, above = places[: len(lower)], places[len(lower) :]
        high, low = gains[:, above], gains[:, below]
        log_gain = high + np.log(-np.expm1(np.minimum(low - high, -1e-16)))
        logs.append(log_gain)
        ups.append((slopes, spreads, above, below, log_gain))
        downs.append(finite)
    total = sum(logs[1:], start=logs[0])
    top = total.max(1, keepdims=True)
    value = top[:, 0] + np.log(np.exp(total - top).sum(1))
    weights = np.exp(total - value[:, None])
    by_mean, by_std = [], []
    for (slopes, spreads, above, below, log_gain), finite in zip(ups, downs, strict=True):
        some = finite[below][None, :]
        phi = _exp(slopes[:, above] - log_gain) - np.where(some, _exp(slopes[:, below] - log_gain), 0.0)
        density = _exp(spreads[:, above] - log_gain) - np.where(some, _exp(spreads[:, below] - log_gain), 0.0)
        by_mean.append(-(weights * phi).sum(1))
        by_std.append((weights * density).sum(1))
    return value, by_mean, by_std


def _log_cumulative(u: Array) -> Array:
    from scipy.special import log_ndtr

    return np.asarray(log_ndtr(u))


def log_mean_exp(values: Array) -> tuple[Array, Array]:
    """(m,) ln of the mean of exp over the samples of (m, s), and the (m, s) weights that its derivatives carry."""
    top = values.max(1, keepdims=True)
    share = np.exp(values - np.where(np.isfinite(top), top, 0.0))
    total = np.maximum(share.sum(1, keepdims=True), 1e-300)
    return (top + np.log(total))[:, 0] - math.log(values.shape[1]), share / total

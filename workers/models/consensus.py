"""The arithmetic of consensus-based optimisation: where particles agree that it is good, and how they move towards it.

Pinnau, Totzeck, Tse, Martin 2017; noise by coordinate: Carrillo, Jin, Li, Zhu 2021; the weight by effective sample size: Carrillo,
Hoffmann, Stuart, Vaes 2022; several minima (polar): Bungert, Roith, Wacker 2024.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
STEEPEST = 1e5
FLATTEST = 1e-5
HALVINGS = 40


def weights(values: Array, alpha: float, far: Array | None = None) -> Array:
    """(..., N) shares in proportion to exp(-alpha f - far); a particle of value inf has none.

    Args:
        values: (N,) lower is better; at least one is finite.
        far: (..., N) what distance takes off; nothing if absent.
    """
    with np.errstate(over="ignore"):
        exponents = -alpha * (values - values.min()) - (0.0 if far is None else far)
    found = np.exp(exponents - exponents.max(axis=-1, keepdims=True))
    return np.asarray(found / found.sum(axis=-1, keepdims=True))


def mean(places: Array, shares: Array) -> Array:
    """(d,) of (N, d) places with (N,) shares; summed in one order on every machine, unlike a matrix product."""
    return np.asarray((places * shares[:, None]).sum(axis=0))


def effective(values: Array, share: float) -> float:
    """The alpha whose weights count as much as `share` of the particles: (sum w)^2 / sum w^2 = share N, by bisection."""
    wanted = share * np.isfinite(values).sum()
    low, high = np.log(FLATTEST), np.log(STEEPEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        size = 1.0 / (weights(values, float(np.exp(middle))) ** 2).sum()
        low, high = (middle, high) if size > wanted else (low, middle)
    return float(np.exp(high))


def stepped(x: Array, towards: Array, drift: float, noise: float, normals: Array, dt: float, isotropic: bool) -> Array:
    """Places one step of length dt nearer to `towards`, with noise as large as they are far from it.

    Args:
        x, towards, normals: (d,) or (N, d).
        drift: pull (lambda); noise: spread (sigma).
        isotropic: the same spread in every direction, not by coordinate.
    """
    away = x - towards
    spread = np.linalg.norm(away, axis=-1, keepdims=True) if isotropic else away
    return np.asarray(x - drift * dt * away + noise * np.sqrt(dt) * spread * normals)

"""Gradient estimates from values alone: random directions, what is probed along each, and how the differences become a gradient.

    kind = ESTIMATORS["sphere2"]
    u = directions.draw(kind.family, n, step, j, block, generator)   # (n,), E[u uᵀ] = I
    g = estimates.gradient(slopes, weights)                          # mean of slope · weight

Nesterov, Spokoiny 2017; Spall 1992; Duchi et al. 2015; Flaxman et al. 2005; Zhang et al. 2022 (residual feedback);
Salimans et al. 2017 (ranks); Maheswaranathan et al. 2019 (guided); Liu et al. 2019 (signs); Baydin et al. 2022 (forward gradients).
"""

from __future__ import annotations

from .catalogue import ESTIMATORS, Estimator

__all__ = ["ESTIMATORS", "Estimator"]

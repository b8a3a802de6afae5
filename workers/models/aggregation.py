"""Several gradients become one direction: Jacobian descent (Quinton, Rey 2024), MGDA (Désidéri 2012), the mean.

    direction = aggregate(gradients)        # (m, n) one gradient an objective, all of the same probes → (n,)
    x = project(rule.step(x, direction))

`upgrad` and `mgda` need the scalar products of the gradients only, so they cost O(m²n) and a problem of m unknowns. Objectives in
incomparable units: divide each gradient by a running mean of its length first, since none of these is free of the scale.
Their fixed points: a direction of zero means that some convex combination of the gradients is zero (Pareto stationary).
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Aggregator = Literal["upgrad", "mgda", "mean"]
NAMES: tuple[str, ...] = get_args(Aggregator)


def aggregate(gradients: Array, name: str = "upgrad") -> Array:
    """(n,) the combined direction; a step against it lowers every objective to first order with `upgrad` and `mgda`.

    Args:
        gradients: (m, n).

    Raises:
        ValueError: no aggregator of this name.
    """
    return np.asarray(weights(gradients, name) @ gradients)


def weights(gradients: Array, name: str = "upgrad") -> Array:
    """(m,) nonnegative weights of the gradients in the combined direction.

    `upgrad`: the mean of the gradients, each projected onto the cone of directions that harm no objective (≥ 0 with all of them).
    `mgda`: the shortest convex combination, which equals zero only at a Pareto stationary point, and looks at the small ones.
    `mean`: 1 / m each, which may harm some objective.

    Raises:
        ValueError: no aggregator of this name.
    """
    if name not in NAMES:
        raise ValueError(f"no aggregator {name!r}; there are {', '.join(NAMES)}")
    m = len(gradients)
    largest = float(np.max(np.abs(gradients), initial=0.0))
    if name == "mean" or largest == 0.0 or m == 1:
        return np.full(m, 1.0 / m)
    factor = _factor(gradients / largest)
    return _shortest(factor) if name == "mgda" else _unconflicting(factor)


def _factor(gradients: Array) -> Array:
    """(r, m) with the same scalar products between its columns as between the gradients, r ≤ m."""
    return np.asarray(np.linalg.qr(gradients.T, mode="r"))


def _shortest(factor: Array) -> Array:
    """(m,) of a simplex, with the shortest sum: the least squares solution of [A; 1ᵀ] w = [0; 1] over w ≥ 0, normed."""
    from scipy.optimize import nnls

    m = factor.shape[1]
    found = nnls(np.vstack([factor, np.ones(m)]), np.append(np.zeros(len(factor)), 1.0))[0]
    return np.asarray(found / found.sum())


def _unconflicting(factor: Array) -> Array:
    """(m,) mean of the projections: the i-th has the weights eᵢ + z with z ≥ 0 and the shortest sum (the dual of the projection)."""
    from scipy.optimize import nnls

    m = factor.shape[1]
    found = [one + nnls(factor, -factor @ one)[0] for one in np.eye(m)]
    return np.asarray(np.mean(found, axis=0))

"""ε-shotgun: where to aim, how far to scatter.

Everything is on the unit cube and in standardised targets. (The authors' code mixes units: its model library returns the gradient of
the mean in standardised units beside means in raw ones, which multiplies the radius by the targets' deviation.)

Source: De Ath, Everson, Fieldsend, Rahat 2020, "ε-shotgun: ε-greedy Batch Bayesian Optimisation".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .gaussian_process import GaussianProcess

Array = NDArray[np.float64]
Snap = Callable[[Array], Array]

SAMPLES = 500
FLAT = 1e-7
FLAT_SLOPE = 10.0
STEP = 1e-5
CLIMB_EVALUATIONS = 60
FRONT_SCREEN = 2048
FRONT_GENERATIONS = 20
FRONT_CHILDREN = 128
MOST_FRONT = 256
REDRAWS = 1000


def shape_of(process: GaussianProcess) -> Array:
    """(d,) relative widths of the scatter: lengthscales over their geometric mean, 1 for an isotropic model."""
    lengths = process.theta.lengthscales[process.kernel.groups]
    return np.asarray(lengths / np.exp(np.log(lengths).mean()))


def steepest(process: GaussianProcess, centre: Array, rng: np.random.Generator) -> float:
    """The largest norm of the mean's gradient in a box of one lengthscale around a point: a local Lipschitz constant.

    Measured in coordinates in which the scatter is round. A flat mean counts as a slope of 10.

    Args:
        centre: (d,).
    """
    from scipy.optimize import minimize

    width = np.minimum(process.theta.lengthscales[process.kernel.groups], 1.0)
    low, high = np.maximum(centre - width, 0.0), np.minimum(centre + width, 1.0)
    shape = shape_of(process)

    def norms(points: Array) -> Array:
        _, _, trace = process.traced(points)
        slopes = process.pull_back(trace, np.ones(len(points)), np.zeros(len(points)))
        return np.asarray(np.linalg.norm(slopes * shape, axis=1))

    inside = process.x[np.all((process.x >= low) & (process.x <= high), axis=1)]
    candidates = np.vstack([low + (high - low) * rng.random((SAMPLES, len(centre))), inside])
    found = norms(candidates)
    best = int(np.argmax(found))
    moving = np.flatnonzero(high > low)

    def negative(part: Array) -> tuple[float, Array]:
        point = candidates[best].copy()
        point[moving] = part
        around = np.repeat(point[None, :], 1 + 2 * len(moving), axis=0)
        for i, j in enumerate(moving):
            around[1 + 2 * i, j] += STEP
            around[2 + 2 * i, j] -= STEP
        value = norms(around)
        return -float(value[0]), -(value[1::2] - value[2::2]) / (2 * STEP)

    largest = float(found[best])
    if len(moving):
        reached = minimize(
            negative, candidates[best][moving], jac=True, method="L-BFGS-B", options={"maxfun": CLIMB_EVALUATIONS},
            bounds=list(zip(low[moving], high[moving], strict=True)),
        )  # fmt: skip
        largest = max(largest, -float(reached.fun)) if np.isfinite(reached.fun) else largest
    return largest if largest >= FLAT else FLAT_SLOPE


def radius(mean: float, std: float, best: float, slope: float, dimensions: int, gamma: float = 1.0) -> float:
    """How far points are scattered (a standard deviation): as far as the mean needs to reach the best value at its steepest.

    Args:
        mean, std: predicted at the centre; best: the least target; slope: of `steepest`.
        gamma: weight of the deviation.
    """
    return min((abs(mean - best) + gamma * std) / slope, 0.5 * math.sqrt(dimensions))


def scatter(centre: Array, widths: Array, count: int, rng: np.random.Generator) -> Array:
    """(count, d) normal draws around a point inside the cube; only coordinates that fall outside are drawn again.

    Args:
        centre: (d,); widths: (d,) standard deviations.
    """
    found = centre + widths * rng.normal(size=(count, len(centre)))
    for _ in range(REDRAWS):
        outside = (found < 0) | (found > 1)
        if not outside.any():
            return found
        drawn = centre + widths * rng.normal(size=found.shape)
        found = np.where(outside, drawn, found)
    return np.clip(found, 0.0, 1.0)


def front(process: GaussianProcess, rows: Array, snap: Snap, rng: np.random.Generator) -> Array:
    """(f, d) an estimate of the points that trade a low mean for a large deviation: screened, then bred; 256 at most.

    Args:
        rows: (m, d) first points; snap: makes rows admissible.
    """
    from services.domain.pareto import non_dominated

    def spread_out(points: Array) -> Array:
        points = np.unique(points, axis=0)
        mean, std = process.predict(points)
        kept = np.array(non_dominated(np.column_stack([mean, -std])))
        if len(kept) > MOST_FRONT:
            ordered = kept[np.argsort(mean[kept], kind="stable")]
            kept = ordered[np.linspace(0, len(ordered) - 1, MOST_FRONT).round().astype(np.int64)]
        return np.asarray(points[kept])

    found = spread_out(rows)
    for _ in range(FRONT_GENERATIONS):
        parents = found[rng.integers(0, len(found), FRONT_CHILDREN)]
        others = found[rng.integers(0, len(found), FRONT_CHILDREN)]
        mixed = np.where(rng.random(parents.shape) < 0.5, parents, others)
        moved = rng.random(parents.shape) < 1.0 / parents.shape[1]
        children = np.clip(mixed + np.where(moved, 0.1 * rng.normal(size=parents.shape), 0.0), 0.0, 1.0)
        found = spread_out(np.vstack([found, snap(children)]))
    return found

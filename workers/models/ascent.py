"""Many climbs at once inside the unit cube: separate quasi-Newton states fed by one batched evaluation a step.

Limited-memory BFGS (Liu and Nocedal 1989) on the free coordinates with projected backtracking steps. Climbing the sum of all starts
as one problem would be slower: the shared curvature picks up terms between starts that do not exist (Irie et al. 2025).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Evaluate = Callable[[Array], tuple[Array, Array]]

MEMORY = 8
HALVINGS = 6
ARMIJO = 1e-4
LONGEST_STEP = 0.3
FLAT = 1e-5
SMALL_GAIN = 1e-10


def climb(evaluate: Evaluate, starts: Array, scales: Array, steps: int) -> tuple[Array, Array]:
    """Local maxima, or what is reached in `steps` steps.

    Args:
        evaluate: (m, d) points to (m,) values and (m, d) gradients; called with any m.
        starts: (m, d) in the unit cube.
        scales: (m, d) typical lengths of change; 0 for a coordinate that must not move.
        steps: at most, for each start.

    Returns:
        (m, d) points, none worse than its start, and their (m,) values.
    """
    x = starts.copy()
    value, gradient = evaluate(x)
    pairs: list[tuple[Array, Array, Array]] = []
    going = np.isfinite(value)
    for _ in range(steps):
        free = _free(x, gradient, scales)
        going &= (np.abs(np.where(free, gradient * scales, 0.0)).max(1) if x.shape[1] else 0.0) > FLAT
        if not going.any():
            break
        direction = _direction(gradient, free, scales, pairs)
        moved, reached, slope = _search(evaluate, x, value, gradient, direction, going)
        step, change = moved - x, slope - gradient
        curvature = -(step * change).sum(1)
        usable = curvature > 1e-12
        pairs.append((step, -change, np.where(usable, 1.0 / np.where(usable, curvature, 1.0), 0.0)))
        del pairs[:-MEMORY]
        going &= reached - value > SMALL_GAIN * (1.0 + np.abs(value))
        x, value, gradient = moved, reached, slope
    return x, value


def _free(x: Array, gradient: Array, scales: Array) -> NDArray[np.bool_]:
    """Coordinates that may move: not those at a bound that the slope presses against."""
    return np.asarray((scales > 0) & ~((x <= 0.0) & (gradient < 0)) & ~((x >= 1.0) & (gradient > 0)))


def _direction(
    gradient: Array, free: NDArray[np.bool_], scales: Array, pairs: list[tuple[Array, Array, Array]]
) -> Array:
    """The two-loop recursion for each start, preconditioned by the squared scales; straight uphill where it fails."""
    masked = np.where(free, gradient, 0.0)
    q = masked.copy()
    shares = []
    for step, change, inverse in reversed(pairs):
        share = inverse * (step * q).sum(1)
        q -= share[:, None] * change
        shares.append(share)
    uphill = scales**2
    if pairs:
        step, change, inverse = pairs[-1]
        weight = (uphill * change**2).sum(1)
        gamma = np.where((inverse > 0) & (weight > 0), 1.0 / np.maximum(inverse * weight, 1e-300), 1.0)
        q = gamma[:, None] * uphill * q
    else:
        q = uphill * q
    for (step, change, inverse), share in zip(pairs, reversed(shares), strict=True):
        q += (share - inverse * (change * q).sum(1))[:, None] * step
    q = np.where(free, q, 0.0)
    bad = ~np.all(np.isfinite(q), axis=1) | ((q * masked).sum(1) <= 0)
    q[bad] = (uphill * masked)[bad]
    length = np.abs(q).max(1, keepdims=True)
    return np.asarray(q * np.minimum(1.0, LONGEST_STEP / np.maximum(length, 1e-300)))


def _search(
    evaluate: Evaluate, x: Array, value: Array, gradient: Array, direction: Array, going: NDArray[np.bool_]
) -> tuple[Array, Array, Array]:
    """Halve each step until it climbs enough; a start whose every step fails stays where it is."""
    moved, reached, slope = x.copy(), value.copy(), gradient.copy()
    open_ = np.flatnonzero(going)
    length = 1.0
    for _ in range(HALVINGS):
        trial = np.clip(x[open_] + length * direction[open_], 0.0, 1.0)
        found, found_slope = evaluate(trial)
        enough = found >= value[open_] + ARMIJO * (gradient[open_] * (trial - x[open_])).sum(1)
        enough &= np.isfinite(found) & np.all(np.isfinite(found_slope), axis=1)
        done = open_[enough]
        moved[done], reached[done], slope[done] = trial[enough], found[enough], found_slope[enough]
        open_ = open_[~enough]
        if not len(open_):
            break
        length *= 0.4
    return moved, reached, slope

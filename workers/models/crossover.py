"""Two values of a parameter recombined into one, in the parameter's own type.

Simulated binary crossover: Deb, Agrawal 1995, "Simulated Binary Crossover for Continuous Search Space", with the spread that keeps to
bounds. Order crossover: Davis 1985, "Applying Adaptive Algorithms to Epistatic Domains".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.parameters import Parameter, PermutationParameter, TokensParameter

Array = NDArray[np.float64]
ALIKE = 1e-14


def crossed(parameter: Parameter, first: Any, second: Any, rng: np.random.Generator) -> Any:
    """A value made of two without numbers: orders by OX, tokens by one or two cuts, choices from either; numbers: `NumberGenes`."""
    if isinstance(parameter, PermutationParameter):
        return order_crossover(first, second, rng)
    if isinstance(parameter, TokensParameter):
        return cut_crossover(first, second, parameter.min_length, parameter.max_length, rng)
    return first if rng.random() < 0.5 else second


def simulated_binary(first: Array, second: Array, eta: float, rng: np.random.Generator) -> Array:
    """(n,) one child of two rows of the unit cube.

    Half of the coordinates stay the first parent's; each other one is spread around both parents' with index `eta` (large: near
    them) and stands near either with probability 1/2.
    """
    u, takes, far = rng.random(len(first)), rng.random(len(first)) < 0.5, rng.random(len(first)) < 0.5
    low, high = np.minimum(first, second), np.maximum(first, second)
    takes &= high - low > ALIKE
    gap = np.where(takes, high - low, 1.0)
    below = (low + high - _spread(u, 1 + 2 * low / gap, eta) * gap) / 2
    above = (low + high + _spread(u, 1 + 2 * (1 - high) / gap, eta) * gap) / 2
    nearer = np.where(first <= second, below, above)
    farther = np.where(first <= second, above, below)
    return np.asarray(np.where(takes, np.clip(np.where(far, farther, nearer), 0.0, 1.0), first))


def _spread(u: Array, beta: Array, eta: float) -> Array:
    """The spread factor at quantile u of SBX's density, cut off where a child would leave the range (at `beta`)."""
    power = eta + 1.0
    alpha = 2.0 - beta**-power
    inside = u <= 1 / alpha
    return np.asarray(np.where(inside, u * alpha, 1 / np.maximum(2 - u * alpha, 1e-300)) ** (1 / power))


def order_crossover(first: Sequence[Any], second: Sequence[Any], rng: np.random.Generator) -> list[Any]:
    """A stretch of the first order in its places, the other items after it in the second's order, around the end."""
    n = len(first)
    low, high = sorted((int(rng.integers(n)), int(rng.integers(n))))
    kept = list(first[low : high + 1])
    taken = {(isinstance(item, bool), item) for item in kept}
    around = [*second[high + 1 :], *second[: high + 1]]
    rest = [item for item in around if (isinstance(item, bool), item) not in taken]
    after = n - high - 1
    return rest[after:] + kept + rest[:after]


def cut_crossover(
    first: Sequence[Any], second: Sequence[Any], shortest: int, longest: int, rng: np.random.Generator
) -> list[Any]:
    """The first sequence with its end, or a stretch of it, replaced by one of the second's; the length may change within bounds.

    Args:
        shortest, longest: the lengths allowed; both sequences keep to them.
    """
    start, end = sorted((int(rng.integers(len(first) + 1)), int(rng.integers(len(first) + 1))))
    end = len(first) if rng.random() < 0.5 else end
    kept = len(first) - (end - start)
    least, most = max(0, shortest - kept), min(len(second), longest - kept)
    length = int(rng.integers(least, most + 1)) if rng.random() < 0.5 else min(max(end - start, least), most)
    at = len(second) - length if end == len(first) else min(start, len(second) - length)
    return [*first[:start], *second[at : at + length], *first[end:]]

"""A step's outcomes become gradients: one for each objective, from the same probes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.estimators import Estimator, estimates

from .probes import Direction, Probes

Array = NDArray[np.float64]
Rows = Mapping[int, Array]


@dataclass(frozen=True)
class Slopes:
    """What the directions of a step say.

    Attributes:
        slopes: (J, m); weights: (J, n); shares: (J,) how much each counts.
    """

    slopes: Array
    weights: Array
    shares: Array

    def joined(self, other: Slopes) -> Slopes:
        """Both."""
        return Slopes(
            np.concatenate([self.slopes, other.slopes]),
            np.concatenate([self.weights, other.weights]),
            np.concatenate([self.shares, other.shares]),
        )

    def gradient(self) -> Array:
        """(m, n)."""
        return estimates.gradient(self.slopes, self.weights, self.shares)


def slopes(
    estimator: Estimator,
    probes: Probes,
    values: Rows,
    indices: Sequence[int],
    *,
    base: int = 0,
    previous: Array | None = None,
) -> Slopes:
    """Slopes along complete directions.

    Args:
        values: (m,) by row.
        indices: of the directions.
        base: which of the points that gradients are taken at.
        previous: (m,) mean value of the step before, for residual feedback; without it all slopes are 0.
    """
    directions = [_direction(probes, index) for index in indices]
    sides = [np.array([values[probes.row(i, base, side)] for i in indices]) for side in range(len(probes.signs))]
    if estimator.slope == "rank":
        ranked = estimates.centred_ranks(np.concatenate(sides))
        found = ranked[: len(indices)] - ranked[len(indices) :]
    elif estimator.slope == "sign":
        found = np.sign(sides[0] - sides[1])
    elif estimator.slope == "previous":
        before = sides[0] if previous is None else previous
        found = sides[0] - before
    elif estimator.is_paired:
        found = (sides[0] - sides[1]) / 2
    else:
        found = sides[0] - lead_value(probes, values)
    by_unit = estimator.slope in ("rank", "sign")
    weights = np.array([d.unit if by_unit else d.weight for d in directions])
    return Slopes(found, weights, np.ones(len(indices)))


def lead_value(probes: Probes, values: Rows) -> Array:
    """(m,) mean value at the base point itself."""
    return np.asarray(np.mean([v for row, v in values.items() if probes.place(row).direction is None], axis=0))


def mean_value(probes: Probes, values: Rows, indices: Sequence[int], base: int = 0) -> Array:
    """(m,) the value at or around a base point."""
    if probes.lead and base == 0:
        return lead_value(probes, values)
    rows = [probes.row(i, base, side) for i in indices for side in range(len(probes.signs))]
    return np.asarray(np.mean([values[row] for row in rows], axis=0))


def of_linear(probes: Probes, indices: Sequence[int], slope: Array) -> Array:
    """(n,) what these directions make of a linear function with (n,) slope."""
    directions = [_direction(probes, i) for i in indices]
    found = np.array([[d.offset @ slope] for d in directions])
    weights = np.array([d.weight for d in directions])
    return np.asarray(Slopes(found, weights, np.ones(len(indices))).gradient()[0])


def hessian(estimator: Estimator, probes: Probes, values: Rows, indices: Sequence[int]) -> Array:
    """(n,) diagonal of the Hessian of the first objective, from the same pairs and the value between them."""
    middle = lead_value(probes, values)[0]
    directions = [_direction(probes, i) for i in indices]
    bends = [values[probes.row(i, 0, 0)][0] + values[probes.row(i, 0, 1)][0] - 2 * middle for i in indices]
    return estimates.diagonal_hessian(
        np.array(bends),
        np.array([d.weight for d in directions]),
        np.array([d.offset for d in directions]),
        estimator.family == "coordinate",
    )


def _direction(probes: Probes, index: int) -> Direction:
    found = probes.direction(index)
    assert found is not None  # it was handed out
    return found

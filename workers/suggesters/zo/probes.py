"""The probes of one step: which row of its generation stands where.

A row is a pure function of (seed, step, row) and the points that the gradient is taken at, so a lost answer, a crash or another
process finds the same trial again. Rows of a direction are neighbours: both halves of a pair go out back to back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.models.estimators import Estimator
from workers.models.estimators.directions import Directions, Draws

from .coordinates import Coordinates
from .domains import Domain

Array = NDArray[np.float64]
LEAST_SHARE = 0.1
SMALLEST = 1e-9
SHRINKS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.003, 0.001)


@dataclass(frozen=True, slots=True)
class Direction:
    """Where a direction is probed, and what a unit of slope along it says.

    Attributes:
        offset: (n,) from the centre to the probe with sign +1.
        weight: (n,) what the slope (f⁺ - f⁻)/2 is multiplied by.
        centres: (b, n) of each base point: the point itself, moved inside where the probes would leave the cube or the set.
        unit: (n,) the direction u itself.
    """

    offset: Array
    weight: Array
    centres: Array
    unit: Array


@dataclass(frozen=True, slots=True)
class Place:
    """What a row is: a probe of a base point in a direction, or (direction None) of the first base point itself."""

    direction: int | None
    base: int = 0
    sign: int = 0

    @property
    def label(self) -> str:
        """As shown to people, such as `+3`; `-3*` at the second point that gradients are taken at."""
        if self.direction is None:
            return "0"
        return f"{'' if self.sign == 0 else '+' if self.sign > 0 else '-'}{self.direction}{'*' * self.base}"


class Probes:
    """The probes of one step.

    Args:
        step: its number; block: directions wanted.
        lead: whether the base point itself is probed too.
        radius: smoothing radius of a continuous coordinate, in cube units.
        bases: points that gradients are taken at: the present one, and others where differences of gradients or steps ahead are
            wanted.
        cheap: which of them are evaluated on the proxy.
        basis: (n, k) for guided directions.
        domain: a set that pairs of probes must not leave; None for the cube.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        estimator: Estimator,
        draws: Draws,
        *,
        step: int,
        block: int,
        lead: bool,
        radius: float,
        bases: Sequence[Array],
        cheap: frozenset[int] = frozenset(),
        basis: Array | None = None,
        domain: Domain | None = None,
    ) -> None:
        self.step, self.block, self.lead, self.cheap = step, block, lead, cheap
        self._coordinates, self._estimator = coordinates, estimator
        self._domain = domain if estimator.is_paired else None
        self._directions = Directions(estimator.family, coordinates.size, step, block, draws, basis)
        self._is_axis = estimator.family == "coordinate"
        share = 1.0 if self._is_axis else 0.5  # of a level: less would not change a discrete value
        self.radius = np.maximum(max(radius, SMALLEST), share * coordinates.cells)
        self._active = coordinates.active(bases[0])
        self.bases = [self._inside(base) for base in bases]
        self._found: dict[int, Direction | None] = {}

    @property
    def signs(self) -> tuple[int, ...]:
        """Of the probes of a direction."""
        return self._estimator.signs

    @property
    def per_direction(self) -> int:
        """Rows of a direction."""
        return len(self.signs) * len(self.bases)

    def rows(self, directions: int) -> int:
        """Rows that so many directions need."""
        return directions * self.per_direction + (-(-directions // self.block) if self.lead else 0)

    def place(self, row: int) -> Place:
        """What row `row` >= 0 is."""
        first = 0
        if self.lead:
            block, row = divmod(row, 1 + self.block * self.per_direction)
            if row == 0:
                return Place(None)
            first, row = block * self.block, row - 1
        direction, within = divmod(row, self.per_direction)
        base, side = divmod(within, len(self.signs))
        return Place(first + direction, base, self.signs[side])

    def row(self, direction: int, base: int, side: int) -> int:
        """The row of a probe: the inverse of `place`."""
        row = direction * self.per_direction + base * len(self.signs) + side
        return row + 1 + direction // self.block if self.lead else row

    def coordinates(self, place: Place) -> Array | None:
        """(n,) of a probe; None where its direction leaves no room."""
        if place.direction is None:
            return self.bases[0]
        found = self.direction(place.direction)
        if found is None:
            return None
        return np.asarray(np.clip(found.centres[place.base] + place.sign * found.offset, 0.0, 1.0))

    def direction(self, index: int) -> Direction | None:
        """Direction `index`; None where no probe of it keeps the parameter constraints."""
        if index not in self._found:
            self._found[index] = self._made(self._directions.draw(index) * self._active)
        return self._found[index]

    def lengths(self, indices: Sequence[int]) -> Array:
        """(J,) root mean square of the offsets of directions, over the coordinates."""
        found = [self.direction(i) for i in indices]
        return np.array([np.sqrt(np.mean(np.square(d.offset))) for d in found if d is not None])

    # -- how far a direction reaches

    def _inside(self, base: Array) -> Array:
        """One-sided probes share their base: it keeps off the edges, so that a direction need not be cut to nothing."""
        if self._estimator.is_paired or self.signs == (0,):
            return base
        margin = np.where(self._coordinates.cells > 0, 0.0, np.minimum(0.3 * self.radius, 0.5))
        inside = np.clip(base, margin, 1.0 - margin)
        return inside if self._coordinates.is_allowed(inside) else base

    def _made(self, u: Array) -> Direction | None:
        if self.signs == (0,):
            return Direction(np.zeros(len(u)), u, np.array(self.bases), u)
        if not u.any():
            return None
        length = np.sqrt(len(u)) if self._is_axis else 1.0
        if self._domain is not None:
            return self._in_domain(self._domain, u, self.radius / length)
        for shrink in SHRINKS if self._coordinates.space.constraints else SHRINKS[:1]:
            reach = self.radius * shrink / length
            reach = np.where(self._coordinates.cells > 0, reach, reach * self._share(reach * u))
            offset = reach * u
            direction = Direction(offset, u / reach, self._centres(offset), u)
            if self._is_allowed(direction):
                return direction
        return None

    def _in_domain(self, domain: Domain, u: Array, reach: Array) -> Direction:
        offset, share = domain.fitted(reach * u)
        return Direction(offset, u / (reach * share), np.array([domain.centre(b, offset) for b in self.bases]), u)

    def _share(self, offset: Array) -> float:
        """How much of an offset fits into the cube on both sides of every base, in its continuous coordinates."""
        counted = (self._coordinates.cells == 0) & (offset != 0)
        if not counted.any():
            return 1.0
        rooms = [self._room(base, offset)[counted] for base in self.bases]
        share = float(np.min(np.array(rooms) / np.abs(offset[counted])))
        return min(1.0, max(share, 0.5 if self._is_axis else LEAST_SHARE))

    def _room(self, base: Array, offset: Array) -> Array:
        if self._estimator.is_paired:
            return np.minimum(base, 1.0 - base)
        return np.where(offset > 0, 1.0 - base, base)

    def _centres(self, offset: Array) -> Array:
        bases = np.array(self.bases)
        if not self._estimator.is_paired:
            return bases
        reach = np.minimum(np.abs(offset), 0.5)
        return np.clip(bases, reach, 1.0 - reach)

    def _is_allowed(self, direction: Direction) -> bool:
        space = self._coordinates
        if not space.space.constraints:
            return True
        return all(
            space.is_allowed(np.clip(centre + sign * direction.offset, 0.0, 1.0))
            for centre in direction.centres
            for sign in self.signs
        )

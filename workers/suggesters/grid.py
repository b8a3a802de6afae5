"""Grid search: every combination of values once, in an order that covers the space early instead of row by row."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from pydantic import Field

from services.domain.codec import from_unit
from services.domain.document import Document
from services.domain.history import History
from services.domain.parameters import Parameter
from services.domain.sampling import value_at
from services.domain.space import Point, point_key
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Spec, Suggestion

GOLDEN = (math.sqrt(5) - 1) / 2
LOOKED_AT_ONCE = 1_000_000


class GridOptions(Document):
    """What a grid can be told."""

    resolution: int = Field(default=10, ge=2, le=1000, description="Values of a continuous parameter, ends included.")
    order: Literal["spread", "row"] = Field(
        default="spread",
        description="spread: each next point far from the last; row: the last parameter changes fastest.",
    )


class Grid:
    """The first combination, in the grid's order, that no trial has."""

    def __init__(self, problem: Problem, options: GridOptions) -> None:
        self._space = problem.space
        self._is_noisy = problem.spec.is_noisy
        self._resolution = options.resolution
        self._sizes = [p.size or options.resolution for p in self._space.ordered]
        self._size = math.prod(self._sizes)
        self._stride = _stride(self._size) if options.order == "spread" else 1
        self._offset = int(problem.generator(0, "grid").integers(min(self._size, 2**62))) if self._stride != 1 else 0
        self._first_open = 0  # every earlier place is known to be given or not allowed; only saves looking again

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when the grid is used up."""
        found: list[Suggestion] = []
        given: set[str] = set()
        place = self._first_open
        are_all_known = True
        while len(found) < count and place < self._size and place - self._first_open < LOOKED_AT_ONCE:
            point = self._at((self._offset + place * self._stride) % self._size)
            place += 1
            key = point_key(point)
            if key in given or self._space.broken(point) or history.has_point(key):
                if are_all_known:
                    self._first_open = place
                continue
            are_all_known = False
            given.add(key)
            found.append(Suggestion(parameters=point, reason=f"one of {self._size} grid points"))
        return found

    def _at(self, place: int) -> Point:
        found: Point = {}
        digits = []
        for size in reversed(self._sizes):
            place, digit = divmod(place, size)
            digits.append(digit)
        for parameter, digit in zip(self._space.ordered, reversed(digits), strict=True):
            if self._space.is_active(parameter, found):
                found[parameter.name] = self._value(parameter, digit)
        return self._space.sorted(found)

    def _value(self, parameter: Parameter, digit: int) -> Any:
        if parameter.size is not None:
            return value_at(parameter, digit)
        return from_unit(parameter, np.array([digit / (self._resolution - 1)]))

    def state(self) -> Blob | None:
        """None: what was given is in the trials."""
        return None


def _stride(size: int) -> int:
    """A step around `size` places that visits all of them, each far from its neighbours in time (golden ratio)."""
    stride = max(1, round(size * GOLDEN))
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride


def _create(problem: Problem, options: GridOptions, _: Blob | None) -> Grid:
    return Grid(problem, options)


SPEC = Spec(
    name="grid",
    summary="Every combination once; continuous parameters at `resolution` values.",
    reference="full factorial design",
    honours=Honours(types=ENUMERABLE, max_objectives=20, examples=True),
    options=GridOptions,
    inline=True,
    exhausts=True,
    create=_create,
)

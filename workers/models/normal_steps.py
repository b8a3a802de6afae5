"""Children of a point for searches with one step size: all its numbers move by a normal step, or some levels and choices change.

Rechenberg 1973, "Evolutionsstrategie" (numbers); one mutation in the mean as in the (1+1) EA of Droste, Jansen, Wegener 2002, "On the
analysis of the (1+1) evolutionary algorithm" (the rest).
"""

from __future__ import annotations

import numpy as np

from services.domain.codec import Codec
from services.domain.parameters import CategoricalParameter, Parameter
from services.domain.space import Point, Space

from .moves import SHARE, is_stepped, moved, settled
from .positions import reflected


class NormalSteps:
    """Makes children.

    Attributes:
        size: columns of the numbers, and one for each parameter of levels or choices.

    Args:
        space: of numbers, vectors, levels and choices.
    """

    def __init__(self, space: Space) -> None:
        free = [p for p in space.parameters if p.size != 1]
        numbers = [p.model_copy(update={"when": None}) for p in free if not _has_levels(p)]
        self._space = space
        self._numbers = Codec(Space(tuple(numbers))) if numbers else None
        self._levels = [p for p in free if _has_levels(p)]
        self.size = (self._numbers.dimensions if self._numbers else 0) + len(self._levels)

    def child(self, parent: Point, sigma: float, rng: np.random.Generator) -> tuple[Point, bool]:
        """A child, and whether its fate says something about the step size.

        Where there are numbers as well as levels, each child changes either: what a level does would be taken for a step too long.

        Args:
            sigma: of numbers in shares of their range; levels move by a geometric number of them, about as far.
        """
        codec, levels = self._numbers, [p for p in self._levels if p.name in parent]
        numbered = codec is not None and not codec.slices.keys().isdisjoint(parent)
        if codec is not None and numbered and (not levels or rng.random() < 0.5):
            row = codec.encode(parent) + sigma * rng.standard_normal(codec.dimensions)
            values = {name: v for name, v in codec.decode(reflected(row)).items() if name in parent}
            return self._space.sorted({**parent, **values}), True
        if not levels:
            return dict(parent), False
        hit = rng.random(len(levels)) < 1 / len(levels)
        hit[rng.integers(len(levels))] |= not hit.any()
        heat = min(1.0, (sigma / SHARE) ** 2)
        changed = {p.name: moved(p, parent[p.name], heat, rng) for p, is_hit in zip(levels, hit, strict=True) if is_hit}
        return settled(self._space, {**parent, **changed}, rng), not numbered


def _has_levels(parameter: Parameter) -> bool:
    return is_stepped(parameter) or isinstance(parameter, CategoricalParameter)

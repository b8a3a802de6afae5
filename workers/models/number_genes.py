"""The numeric and ordered genes of a child, crossed and mutated all at once: one array of places for the whole point."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec, from_unit
from services.domain.parameters import FloatParameter, IntParameter, OrdinalParameter, Parameter, VectorParameter
from services.domain.space import Point, Space

from .crossover import simulated_binary
from .moves import neighbour, polynomial

Array = NDArray[np.float64]
KINDS = (FloatParameter, IntParameter, OrdinalParameter, VectorParameter)


class NumberGenes:
    """Numbers, levels and vectors of a space as one row of the unit cube.

    Args:
        eta_crossover, eta_mutation: distribution indices, as in `Operators`.
    """

    def __init__(self, space: Space, eta_crossover: float, eta_mutation: float) -> None:
        chosen = tuple(p.model_copy(update={"when": None}) for p in space.parameters if isinstance(p, KINDS))
        self._codec = Codec(Space(chosen)) if chosen else None
        self._starts = [at.start for at in self._codec.slices.values()] if self._codec else []
        self._eta_crossover, self._eta_mutation = eta_crossover, eta_mutation

    def bred(self, first: Point, mate: Point, rate: float, rng: np.random.Generator) -> Point:
        """The values of those that a parent has, active in the child or not.

        Args:
            first, mate: parents; the same one where nothing is crossed.
            rate: chance of each gene, each element of a vector, to mutate.
        """
        codec = self._codec
        if codec is None:
            return {}
        either = {**mate, **first}
        one = codec.encode(either)
        crossed = one
        if mate is not first:
            crossed = simulated_binary(one, codec.encode({**first, **mate}), self._eta_crossover, rng)
        hit = rng.random(len(one)) < rate
        moved = crossed.copy()
        moved[hit] = polynomial(crossed[hit], self._eta_mutation, rng)
        is_other = np.logical_or.reduceat(crossed != one, self._starts).tolist()
        is_hit = np.logical_or.reduceat(hit, self._starts).tolist()
        values, found = codec.decode(crossed), Point()
        for parameter, was_crossed, was_hit in zip(codec.space.parameters, is_other, is_hit, strict=True):
            name = parameter.name
            if name in either:
                found[name] = values[name] if was_crossed else either[name]
                if was_hit and parameter.size != 1:
                    found[name] = _mutated(parameter, found[name], moved[codec.slices[name]], rng)
        return found


def _mutated(parameter: Parameter, value: Any, units: Array, rng: np.random.Generator) -> Any:
    found = from_unit(parameter, units)
    return neighbour(parameter, value, rng) if parameter.size is not None and found == value else found

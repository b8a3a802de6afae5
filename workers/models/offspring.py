"""Children of two points in any space without texts: crossed, mutated, repaired, and new.

Operators by type stand in `crossover` and `moves`. A child that breaks a parameter constraint goes back to its first parent, one
parameter at a time and in random order, until it keeps them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.domain.codec import from_unit
from services.domain.parameters import Parameter, TokensParameter, VectorParameter
from services.domain.sampling import draw, draw_value, unused
from services.domain.space import Point, Space, point_key

from .crossover import crossed
from .moves import edited, movable, mutated, polynomial, settled, units_of

TRIES = 20


@dataclass(frozen=True, kw_only=True)
class Operators:
    """How children are made.

    Attributes:
        crossover: share of children with two parents.
        mutation: chance of each gene to mutate; 1 over their number if None.
        eta_crossover, eta_mutation: distribution indices, large: near the parents.
    """

    crossover: float = 0.9
    mutation: float | None = None
    eta_crossover: float = 15.0
    eta_mutation: float = 20.0


class Breeder:
    """Makes children that keep the parameter constraints and that nobody has tried.

    Args:
        space: any parameters but texts.
        may_repeat: whether a point may come again: where the outcomes are noisy.
    """

    def __init__(self, space: Space, operators: Operators, *, may_repeat: bool) -> None:
        self._space, self._operators, self._may_repeat = space, operators, may_repeat

    def child(
        self,
        parents: Callable[[np.random.Generator], tuple[Point, Point]],
        is_known: Callable[[str], bool],
        rng: np.random.Generator,
    ) -> Point | None:
        """A child; a point from anywhere where the parents have none left, None where the space has none left.

        Args:
            parents: draws two.
            is_known: whether a point with this key has been given.
        """
        for _ in range(TRIES):
            first, second = parents(rng)
            found = self.repaired(self.bred(first, second, rng), first, rng)
            if self._may_repeat or not is_known(point_key(found)):
                return found
        if self._may_repeat or not self._space.is_finite:
            return draw(self._space, rng)
        return unused(self._space, is_known, rng)

    def bred(self, first: Point, second: Point, rng: np.random.Generator) -> Point:
        """A child that differs from both parents where it can; parameter constraints are not looked at."""
        mate = second if rng.random() < self._operators.crossover else first
        rate = self._rate(first)
        child: Point = {}
        for parameter in self._space.ordered:
            if self._space.is_active(parameter, child):
                child[parameter.name] = self._gene(parameter, first, mate, rate, rng)
        child = self._space.sorted(child)
        return self._changed(child, rng) if child in (first, second) else child

    def repaired(self, child: Point, parent: Point, rng: np.random.Generator) -> Point:
        """The child with as many genes of its parent as it takes to keep the parameter constraints; the parent keeps them."""
        if not self._space.constraints or not self._space.broken(child):
            return child
        names = list(parent)
        for place in rng.permutation(len(names)):
            name = names[int(place)]
            child = settled(self._space, {**child, name: parent[name]}, rng)
            if not self._space.broken(child):
                return child
        return dict(parent)

    def _rate(self, point: Point) -> float:
        if self._operators.mutation is not None:
            return self._operators.mutation
        genes = sum(_genes(p, point[p.name]) for p in movable(self._space, point))
        return 1.0 / max(1, genes)

    def _gene(self, parameter: Parameter, first: Point, mate: Point, rate: float, rng: np.random.Generator) -> Any:
        name = parameter.name
        known = [parent[name] for parent in (first, mate) if name in parent]
        if not known:
            return draw_value(parameter, rng)
        value = known[0]
        if len(known) == 2 and mate is not first:
            value = crossed(parameter, known[0], known[1], self._operators.eta_crossover, rng)
        return self._mutated(parameter, value, rate, rng)

    def _mutated(self, parameter: Parameter, value: Any, rate: float, rng: np.random.Generator) -> Any:
        if parameter.size == 1:
            return value
        if isinstance(parameter, VectorParameter):
            units = units_of(parameter, value)
            hit = rng.random(len(units)) < rate
            if not hit.any():
                return value
            units[hit] = polynomial(units[hit], self._operators.eta_mutation, rng)
            return from_unit(parameter, units)
        if isinstance(parameter, TokensParameter):
            for _ in range(int(rng.binomial(max(1, len(value)), rate))):
                value = edited(parameter, value, rng)
            return value
        return mutated(parameter, value, self._operators.eta_mutation, rng) if rng.random() < rate else value

    def _changed(self, child: Point, rng: np.random.Generator) -> Point:
        """The point with one parameter mutated."""
        free = movable(self._space, child)
        if not free:
            return child
        weights = np.array([_genes(p, child[p.name]) for p in free], dtype=np.float64)
        parameter = free[int(rng.choice(len(free), p=weights / weights.sum()))]
        value = mutated(parameter, child[parameter.name], self._operators.eta_mutation, rng)
        return settled(self._space, {**child, parameter.name: value}, rng)


def _genes(parameter: Parameter, value: Any) -> int:
    """How many genes a value has: elements of a vector, tokens of a sequence, one for everything else."""
    if isinstance(parameter, VectorParameter):
        return parameter.length
    return max(1, len(value)) if isinstance(parameter, TokensParameter) else 1

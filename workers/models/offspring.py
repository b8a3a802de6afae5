"""Children of two points in any space without texts: crossed, mutated, repaired, and new.

Operators by type stand in `crossover` and `moves`. A child that breaks a parameter constraint goes back to its first parent, one
parameter at a time and in random order, until it keeps them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.domain.parameters import Parameter, TokensParameter, VectorParameter
from services.domain.sampling import draw, draw_value, unused
from services.domain.space import Point, Space, point_key

from .crossover import crossed
from .moves import edited, movable, mutated, settled
from .number_genes import NumberGenes

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
        self._usual_rate = operators.mutation
        if operators.mutation is None and not any(p.when or isinstance(p, TokensParameter) for p in space.parameters):
            self._usual_rate = 1.0 / max(1, sum(_genes(p, None) for p in space.parameters if p.size != 1))
        self._numbers = NumberGenes(space, operators.eta_crossover, operators.eta_mutation)

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
        child: Point = self._numbers.bred(first, mate, rate, rng)
        found: Point = {}
        for parameter in self._space.ordered:
            if self._space.is_active(parameter, found):
                name = parameter.name
                found[name] = child[name] if name in child else self._gene(parameter, first, mate, rate, rng)
        found = self._space.sorted(found)
        return self._changed(found, rng) if found in (first, second) else found

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
        if self._usual_rate is not None:
            return self._usual_rate
        genes = sum(_genes(p, point[p.name]) for p in movable(self._space, point))
        return 1.0 / max(1, genes)

    def _gene(self, parameter: Parameter, first: Point, mate: Point, rate: float, rng: np.random.Generator) -> Any:
        name = parameter.name
        known = [parent[name] for parent in (first, mate) if name in parent]
        if not known:
            return draw_value(parameter, rng)
        value = known[0]
        if len(known) == 2 and mate is not first:
            value = crossed(parameter, known[0], known[1], rng)
        if isinstance(parameter, TokensParameter):
            for _ in range(int(rng.binomial(max(1, len(value)), rate))):
                value = edited(parameter, value, rng)
            return value
        is_hit = parameter.size != 1 and rng.random() < rate
        return mutated(parameter, value, self._operators.eta_mutation, rng) if is_hit else value

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

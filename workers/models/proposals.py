"""What an annealing chain proposes: one component moves, drawn evenly or by a small network that is given as data.

The network is that of Correia, Worrall, Bondesan 2023, "Neural Simulated Annealing", in outline: every component gets a score from a
few inputs, and the softmax of the scores says which one moves. The ratio of both ways' chances goes into the acceptance test
(Hastings 1970).
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import ENCODABLE
from services.domain.document import Document, Name
from services.domain.parameters import Finite, Parameter, PermutationParameter, TokensParameter, VectorParameter
from services.domain.space import Point, Space

from .moves import ORDER_MOVES, TOKEN_MOVES, movable, moved, settled, units_of

Array = NDArray[np.float64]
Weight = Annotated[Finite, Field(ge=0)]
Row = Annotated[tuple[Finite, ...], Field(min_length=1, max_length=256)]
Component = tuple[Parameter, int]
"""A parameter and the element of it that moves; 0 for all but vectors."""
OWN_INPUTS = 2
MOST_KNOWN = 256
PAIRS = 0.5
"""Share of proposals that move two components: an exchange between items of a subset takes two."""


class Network(Document):
    """One hidden layer that scores a component: output · tanh(hidden · inputs + bias).

    Inputs: the component's place in its range (0 to 1; 0.5 for orders and token sequences), the heat (temperature over first
    temperature), and the parameter's `features`.
    """

    hidden: Annotated[tuple[Row, ...], Field(min_length=1, max_length=256)] = Field(
        description="A row of weights for each unit."
    )
    bias: Row = Field(description="One for each unit.")
    output: Row = Field(description="One for each unit.")

    def scores(self, inputs: Array) -> Array:
        """(n,) scores of (n, k) inputs."""
        units = np.tanh(inputs @ np.array(self.hidden).T + np.array(self.bias))
        return np.asarray(units @ np.array(self.output), dtype=np.float64)


class Proposal(Document):
    """How the next point is proposed where not evenly."""

    weights: Network | None = Field(default=None, description="Scores which component moves; evenly if absent.")
    features: dict[Name, Annotated[tuple[Finite, ...], Field(max_length=254)]] = Field(
        default_factory=dict, description="Inputs of the network for single parameters, 0 for those left out."
    )
    order_moves: dict[str, Weight] = Field(
        default_factory=lambda: dict(ORDER_MOVES), description="Shares of `reverse`, `insert`, `swap` in orders."
    )
    token_moves: dict[str, Weight] = Field(
        default_factory=lambda: dict(TOKEN_MOVES), description="Shares of `replace`, `add`, `delete` in tokens."
    )

    def problems(self, space: Space) -> list[tuple[str, str]]:
        """(JSON pointer, message) of what does not fit together."""
        found = []
        for name, known in (("order_moves", ORDER_MOVES), ("token_moves", TOKEN_MOVES)):
            moves = getattr(self, name)
            found += [(f"/{name}/{move}", "no such move") for move in moves if move not in known]
            if sum(moves.values()) <= 0:
                found.append((f"/{name}", "needs a share above 0"))
        found += [(f"/features/{name}", "no such parameter") for name in self.features if name not in space.by_name]
        lengths = {len(row) for row in self.features.values()}
        if len(lengths) > 1:
            found.append(("/features", "must be equally many for every parameter"))
        elif self.weights is not None:
            width, units = OWN_INPUTS + next(iter(lengths), 0), len(self.weights.hidden)
            if any(len(row) != width for row in self.weights.hidden):
                found.append(("/weights/hidden", f"needs {width} weights a unit: place, heat and the features"))
            for name in ("bias", "output"):
                if len(getattr(self.weights, name)) != units:
                    found.append((f"/weights/{name}", f"needs {units} numbers, one for each hidden unit"))
        return found


class Proposer:
    """Proposes neighbours of points of one space."""

    def __init__(self, space: Space, proposal: Proposal) -> None:
        self._space, self._proposal = space, proposal
        self._known: dict[tuple[str, ...], tuple[list[Component], Array]] = {}

    def propose(self, point: Point, heat: float, rng: np.random.Generator) -> tuple[Point, float]:
        """A neighbour, and the logarithm of the chance of the way back over that of the way there (0 without a network).

        The point itself where nothing can move or a step was thrown back at an end. Parameter constraints are not looked at.

        Args:
            heat: temperature over first temperature, above 0; steps of numbers are longest at 1.
        """
        parts = self._parts(point)[0]
        if not parts:
            return point, 0.0
        chances = self._chances(point, heat)
        at = _drawn(chances, rng)
        found = self._moved(point, parts[at], heat, rng)
        if self._proposal.weights is not None:
            others = self._parts(found)[0]
            back = at if others is parts else others.index(parts[at])
            return found, math.log(self._chances(found, heat)[back]) - math.log(chances[at])
        if len(parts) > 1 and rng.random() < PAIRS:
            other = _drawn(chances, rng)
            # A component that the first move switched off cannot move.
            if other != at and parts[other][0].name in found:
                found = self._moved(found, parts[other], heat, rng)
        return found, 0.0

    def _moved(self, point: Point, part: Component, heat: float, rng: np.random.Generator) -> Point:
        (parameter, item), weights = part, None
        if isinstance(parameter, PermutationParameter):
            weights = self._proposal.order_moves
        elif isinstance(parameter, TokensParameter):
            weights = self._proposal.token_moves
        value = moved(parameter, point[parameter.name], min(heat, 1.0), rng, weights, item)
        return settled(self._space, {**point, parameter.name: value}, rng)

    def _parts(self, point: Point) -> tuple[list[Component], Array]:
        """The components of a point and their (n, f) features; they hang on which parameters are active only."""
        active = tuple(point)
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        if active not in self._known:
            features = self._proposal.features
            empty = [0.0] * len(next(iter(features.values()), ()))
            parts: list[Component] = []
            for parameter in movable(self._space, point):
                width = parameter.length if isinstance(parameter, VectorParameter) else 1
                parts += [(parameter, item) for item in range(width)]
            rows = [features.get(p.name, empty) for p, _ in parts]
            self._known[active] = parts, np.array(rows, dtype=np.float64).reshape(len(parts), len(empty))
        return self._known[active]

    def _chances(self, point: Point, heat: float) -> Array:
        """(n,) chances of the components to move; without a network in proportion to their tokens or items."""
        parts, features = self._parts(point)
        if self._proposal.weights is None:
            sizes = np.array([_size(p, point[p.name]) for p, _ in parts], dtype=np.float64)
            return np.asarray(sizes / sizes.sum())
        places = np.concatenate([_places(p, point[p.name]) for p, item in parts if item == 0])
        inputs = np.column_stack([places, np.full(len(parts), heat), features])
        scores = self._proposal.weights.scores(inputs)
        shifted = np.exp(np.maximum(scores - scores.max(), -600.0))
        return np.asarray(shifted / shifted.sum())


def _places(parameter: Parameter, value: Any) -> Array:
    return units_of(parameter, value) if parameter.type in ENCODABLE else np.full(1, 0.5)


def _drawn(chances: Array, rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(np.cumsum(chances), rng.random(), side="right")), len(chances) - 1)


def _size(parameter: Parameter, value: Any) -> int:
    return max(1, len(value)) if isinstance(parameter, (TokensParameter, PermutationParameter)) else 1

"""A discrete particle swarm: every place of a particle is taken over from its own best or the swarm's, or stays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .layout import Vocabulary

SAME, OTHER = -3.0, 3.0


@dataclass
class Swarm:
    """A discrete particle swarm.

    Attributes:
        positions: (n, places) token indices.
        velocities: (n, places).
        mutation: chance of a particle to change in one place.
    """

    positions: NDArray[np.int64]
    velocities: NDArray[np.float64]
    mutation: float

    def __post_init__(self) -> None:
        self.own_best = self.positions.copy()
        self.own_values = np.full(len(self.positions), -np.inf)
        self.best, self.best_value = self.positions[0].copy(), -math.inf

    def learn(self, values: Sequence[float | None]) -> None:
        """Take in the particles' values; bests are copies, which later moves leave alone."""
        told = np.array([-np.inf if v is None else v for v in values])
        better = told > self.own_values
        self.own_best[better], self.own_values[better] = self.positions[better], told[better]
        top = int(np.argmax(told))
        if told[top] > self.best_value:
            self.best, self.best_value = self.positions[top].copy(), float(told[top])

    def move(
        self, epoch: int, epochs: int, rng: np.random.Generator, vocabulary: Vocabulary, owners: Sequence[int]
    ) -> None:
        """Towards the particles' own bests at first, towards the swarm's best later."""
        size, places = self.positions.shape
        inertia = 0.6 * (epochs - epoch) / epochs + 0.2
        own = np.where(self.positions == self.own_best, SAME, OTHER)
        common = np.where(self.positions == self.best, SAME, OTHER)
        self.velocities = inertia * self.velocities + (1 - inertia) * (own + common)
        chance = 1 / (1 + np.exp(-self.velocities))
        for share, target in ((0.8 - 0.6 * epoch / epochs, self.own_best), (0.2 + 0.6 * epoch / epochs, self.best)):
            turns = (rng.random((size, 1)) < share) & (rng.random((size, places)) < chance)
            self.positions = np.where(turns, target, self.positions)
        for particle in np.flatnonzero(rng.random(size) < self.mutation):
            place = int(rng.integers(places))
            tokens = vocabulary[owners[place]]
            self.positions[particle, place] = tokens[rng.integers(len(tokens))]

"""One vector: its best so far, and the distribution that proposes others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import Observation
from services.domain.parameters import VectorParameter

from .ledger import Ledger

if TYPE_CHECKING:
    from workers.models.cma_adapter import CmaAdapter

Array = NDArray[np.float64]
Normals = Callable[[int, int], Array]


@dataclass
class Best:
    """Where a block is held while others vary.

    Attributes:
        point: (length,).
        value: told for it, lower is better; infinite before the first.
        dev: its second metric, higher is better.
    """

    point: Array
    value: float = math.inf
    dev: float = -math.inf


class Block:
    """One vector parameter and its CMA-ES.

    The distribution is built when it is needed, from its generations in the history; what is saved spares only that work.
    """

    def __init__(
        self, parameter: VectorParameter, *, sigma: float, popsize: int, is_diagonal: bool, normals: Normals
    ) -> None:
        """
        Args:
            sigma: first step size in the vector's own units.
            normals: the standard normal draws (length,) for (generation, row).
        """
        self.parameter, self.sigma = parameter, sigma
        self.name, self.length = parameter.name, parameter.length
        self.lower = np.full(parameter.length, parameter.min)
        self.upper = np.full(parameter.length, parameter.max)
        self.start = np.array(parameter.default if parameter.default is not None else parameter.centre(), dtype=float)
        self.best = Best(self.start)
        self._popsize, self._is_diagonal, self._normals = popsize, is_diagonal, normals
        self._adapter: CmaAdapter | None = None
        self._told = 0
        self._rows: tuple[int, list[Array]] = (-1, [])

    # -- the distribution

    def row(self, ledger: Ledger, generations: Sequence[int], generation: int, row: int) -> Array:
        """A row of an open generation: (length,).

        Args:
            generations: of this block, those that are closed, in order.
        """
        adapter = self._distribution(ledger, generations)
        return adapter.box.inside(self._sampled(adapter, generation, row))

    def _sampled(self, adapter: CmaAdapter, generation: int, row: int) -> Array:
        if self._rows[0] != generation:
            self._rows = (generation, [])
        rows = self._rows[1]
        while len(rows) <= row:
            rows.append(adapter.row(self._normals(generation, len(rows))))
        return rows[row]

    def step_size(self, ledger: Ledger, generations: Sequence[int]) -> float:
        """The present step size in the vector's own units."""
        return self._distribution(ledger, generations).sigma * self.sigma

    def _distribution(self, ledger: Ledger, generations: Sequence[int]) -> CmaAdapter:
        adapter = self._adapter = self._adapter or self._fresh()
        for generation in generations[self._told :]:
            self._update(adapter, ledger, generation, ledger.generations[generation])
            self._told += 1
        return adapter

    def _fresh(self) -> CmaAdapter:
        from workers.models.cma_adapter import CmaAdapter

        return CmaAdapter.fresh(
            start=self.start,
            sigma=1.0,
            lower=self.lower,
            upper=self.upper,
            stds=np.full(self.length, self.sigma),
            popsize=self._popsize,
            whole=[],
            diagonal=self._is_diagonal,
        )

    def _update(self, adapter: CmaAdapter, ledger: Ledger, generation: int, told: Sequence[Observation]) -> None:
        from workers.models.generations import ranks

        everyone = sorted(told, key=lambda t: t.number)
        rows = [self._sampled(adapter, generation, t.origin["row"]) for t in everyone]
        order = ranks(ledger.history, everyone)
        if len(set(order)) == 1:  # a plateau: every value is equal
            adapter.widen(float(self.upper[0] - self.lower[0]) / self.sigma)
        else:
            adapter.tell(rows, order)
        self._rows = (-1, [])

    # -- the state

    def size(self) -> int:
        """How many numbers its distribution has, about."""
        return 0 if self._adapter is None else self.length * (6 if self._is_diagonal else 2 * self.length)

    def save(self) -> tuple[dict[str, Any], dict[str, Array]] | None:
        """Its distribution and how many generations are in it; None of none."""
        if self._adapter is None:
            return None
        scalars, arrays = self._adapter.save()
        return {"told": self._told, "scalars": scalars}, arrays

    def load(self, document: dict[str, Any], arrays: dict[str, Array]) -> None:
        """Put back what `save` gave."""
        self._adapter, self._told = self._fresh(), document["told"]
        self._adapter.load(document["scalars"], arrays)

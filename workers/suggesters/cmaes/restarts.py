"""When a run of CMA-ES is over, and how the next one starts: IPOP and BIPOP.

Auger, Hansen 2005, "A restart CMA evolution strategy with increasing population size"; Hansen 2009, "Benchmarking a BI-population
CMA-ES on the BBOB-2009 function testbed".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from workers.models.cma_adapter import CmaAdapter
from workers.models.generations import Key

SMALLEST_SPREAD = 1e-11
SMALLEST_RANGE = 1e-12
MOST_CONDITION = 1e14
MOST_GROWTH = 1e3
MOST_DOUBLINGS = 9


@dataclass(frozen=True)
class Run:
    """One run between two restarts, and what those before it have used.

    Attributes:
        number: of the run, from 0.
        popsize: outcomes a generation.
        shrink: its first step size, as a share of the usual one.
        generations: after so many it is over.
        is_large: whether it is of the regime with growing populations; the first run counts as small.
        small_runs: restarts of the small regime so far.
        spent_small, spent_large: outcomes that the runs before it used.
    """

    number: int
    popsize: int
    generations: int
    shrink: float = 1.0
    is_large: bool = False
    small_runs: int = 0
    spent_small: int = 0
    spent_large: int = 0

    def save(self) -> dict[str, Any]:
        """JSON."""
        return asdict(self)

    def following(self, spent: int, first: int, n: int, most: int, *, bipop: bool, rng: np.random.Generator) -> Run:
        """The next run.

        Args:
            spent: outcomes that this one used.
            first: popsize of the first run; most: the largest allowed.
            n: coordinates.
            bipop: alternate between growing populations and short local runs.
            rng: of the next run.
        """
        number = self.number + 1
        small = self.spent_small + (0 if self.is_large else spent)
        large = self.spent_large + (spent if self.is_large else 0)
        base = replace(self, number=number, spent_small=small, spent_large=large, shrink=1.0)
        if bipop and small < max(1, large):
            small_runs = self.small_runs + 1
            multiple = 2 ** min(number - small_runs, MOST_DOUBLINGS)
            popsize = min(int(first * multiple ** (rng.random() ** 2)), most)
            shrink = 0.01 ** rng.random()
            generations = max(1, min(generations_of(n, popsize), int(0.5 * large / popsize)))
            return replace(
                base, popsize=popsize, shrink=shrink, generations=generations, is_large=False, small_runs=small_runs
            )
        popsize = min(first * 2 ** min(number - self.small_runs, MOST_DOUBLINGS), most)
        return replace(base, popsize=popsize, generations=generations_of(n, popsize), is_large=True)


def generations_of(n: int, popsize: int) -> int:
    """After so many generations a run is over, whatever it does."""
    return math.ceil(100 + 150 * (n + 3) ** 2 / math.sqrt(popsize))


@dataclass
class Progress:
    """What a run's stop rules look back on.

    Attributes:
        size: coordinates; popsize: outcomes a generation.
        ignores_plateaus: equal values are no sign of an end, for most coordinates have steps.
        generations: closed so far.
        spent: outcomes so far.
        bests: the best values of the latest generations; None where none was feasible.
        width: between the best and the worst value of the latest generation; None if not all were feasible.
        median: the least median so far; improved: the generation that had it.
    """

    size: int
    popsize: int
    ignores_plateaus: bool
    generations: int = 0
    spent: int = 0
    bests: list[float | None] = field(default_factory=list)
    width: float | None = None
    median: Key | None = None
    improved: int = 0

    def add(self, keys: Sequence[Key], spent: int) -> None:
        """A closed generation: what its members were ranked by, and how many outcomes it took."""
        self.generations += 1
        self.spent += spent
        ordered = sorted(keys)
        self.bests.append(ordered[0][1] if ordered[0][0] == 0 else None)
        del self.bests[: -(10 + math.ceil(30 * self.size / self.popsize))]
        self.width = _range([value if kind == 0 else None for kind, value in (ordered[0], ordered[-1])])
        middle = ordered[len(ordered) // 2]
        if self.median is None or middle < self.median:
            self.median, self.improved = middle, self.generations

    def verdict(self, adapter: CmaAdapter, widths: np.ndarray[Any, Any], whole: Sequence[int], run: Run) -> str | None:
        """Why the run is over; None if it is not."""
        spreads = np.delete(adapter.spreads / widths, whole)
        patience = 100 + 100 * self.size**1.5 / self.popsize
        wanted = 10 + math.ceil(30 * self.size / self.popsize)
        recent = _range(self.bests) if len(self.bests) == wanted else None
        flat = recent is not None and recent < SMALLEST_RANGE and self.width is not None and self.width < SMALLEST_RANGE
        rules = {
            "the distribution is a point": len(spreads) > 0 and spreads.max() < SMALLEST_SPREAD,
            "the values are equal": flat and not self.ignores_plateaus,
            "the median stagnates": self.generations - self.improved > patience,
            "the covariance is degenerate": adapter.condition > MOST_CONDITION,
            "the step size diverges": adapter.growth > MOST_GROWTH,
            "the run is long": self.generations >= run.generations,
        }
        return next((why for why, holds in rules.items() if holds), None)

    def save(self) -> dict[str, Any]:
        """JSON; sizes are left out."""
        found = asdict(self)
        return {name: found[name] for name in ("generations", "spent", "bests", "width", "median", "improved")}

    def load(self, document: dict[str, Any]) -> None:
        """What `save` gave."""
        for name, value in document.items():
            setattr(self, name, value)
        self.bests = list(self.bests)
        if self.median is not None:
            self.median = (self.median[0], self.median[1])


def _range(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    if len(known) < len(values):
        return None
    width = max(known) - min(known)
    return width if math.isfinite(width) else None

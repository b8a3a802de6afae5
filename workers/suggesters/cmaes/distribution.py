"""What the rows of a generation are drawn from: a normal distribution, probabilities of choices, or the whole box at first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import Observation
from services.domain.space import Point
from services.domain.suggester import Problem
from workers.models.cma_adapter import CmaAdapter
from workers.models.generations import ranked

from .choices import Choices
from .cube import Cube
from .ledger import Member
from .restarts import Run
from .start import Start

Array = NDArray[np.float64]


class Distribution:
    """The distribution of one run; row k of generation t depends on it, the study's seed, the run, t and k alone.

    Attributes:
        adapter: of the coordinates.
        choices: of the categorical parameters that are no coordinates.
        generation: that is open.
        inject: where the surrogate expects the minimum, (size,) unbounded: row 0 goes there; None for nowhere.
        is_scouting: nothing could be evaluated yet: rows fill the box until something can.
    """

    def __init__(self, problem: Problem, cube: Cube, run: Run, start: Start, *, diagonal: bool) -> None:
        self._problem, self._cube, self._run = problem, cube, run
        self.adapter = CmaAdapter.fresh(
            start=start.mean,
            sigma=start.sigma,
            lower=cube.lower,
            upper=cube.upper,
            stds=cube.widths,
            popsize=run.popsize,
            whole=cube.whole,
            diagonal=diagonal,
        )
        self.choices = Choices(cube.free)
        self.generation = 0
        self.inject: Array | None = None
        self.is_scouting = False
        self._rows: dict[int, Array] = {}
        self._points: dict[int, Point | None] = {}

    def open(self, generation: int, inject: Array | None) -> None:
        """A generation opens; `inject` is in the box."""
        self.generation = generation
        self.inject = None if inject is None or self.is_scouting else self.adapter.box.outside(inject)
        self._rows, self._points = {}, {}

    # -- its rows

    def row(self, row: int) -> Array:
        """(size,) unbounded coordinates of a row of the open generation."""
        if row not in self._rows:
            self._rows[row] = self._scout(row) if self.is_scouting else self._drawn(row)
        return self._rows[row]

    def _drawn(self, row: int) -> Array:
        rng = self._problem.generator(self.generation, f"cmaes {self._run.number} {row}")
        normal = rng.standard_normal(self._cube.size)
        if row == 0 and self.inject is not None:
            towards = self.adapter.towards(self.inject, float(np.linalg.norm(normal)))
            if towards is not None:
                return towards
        return self.adapter.row(normal)

    def _scout(self, row: int) -> Array:
        from scipy.stats import qmc

        rng = self._problem.generator(self.generation, f"cmaes scout {self._run.number}")
        engine = qmc.Sobol(self._cube.size, scramble=True, rng=rng)
        if row:
            engine.fast_forward(row)
        return self.adapter.box.outside(self._cube.lower + self._cube.widths * engine.random(1)[0])

    def is_drawn(self, row: int) -> bool:
        """Whether the normal distribution drew a row: rows that were put somewhere attract, but do not repel."""
        return row >= 0 and not (row == 0 and self.inject is not None)

    def boxed(self, rows: Sequence[int]) -> Array:
        """(rows, size) coordinates of rows in the box, as a point there has them."""
        return self._cube.settled(self.adapter.box.inside(np.array([self.row(row) for row in rows])))

    def point(self, row: int) -> Point | None:
        """The point of a row; None if it breaks a parameter constraint."""
        if row not in self._points:
            picks: list[int] = []
            if self._cube.free:
                rng = self._problem.generator(self.generation, f"cmaes choices {self._run.number} {row}")
                picks = self.choices.draw(rng.random(len(self._cube.free)))
            point = self._cube.point(self.adapter.box.inside(self.row(row)), picks)
            self._points[row] = None if self._problem.space.broken(point) else point
        return self._points[row]

    def allowed(self, count: int, most: int) -> list[int]:
        """The first `count` rows whose points keep the parameter constraints, among `most` more than that."""
        if not self._problem.space.constraints:
            return list(range(count))
        return list(islice((row for row in range(count + most) if self.point(row) is not None), count))

    # -- where told trials are

    def place(self, trial: Observation) -> Array:
        """(size,) unbounded coordinates of a trial of the open generation."""
        row = trial.origin["row"]
        return self.foreign(trial) if row < 0 else self._centred(self.row(row), trial.parameters)

    def foreign(self, trial: Observation) -> Array:
        """(size,) unbounded coordinates of any trial, no further away than is plausible."""
        return self.adapter.shortened(self._centred(self.there(trial), trial.parameters))

    def there(self, trial: Observation) -> Array:
        """(size,) unbounded coordinates of any trial."""
        return self.adapter.box.outside(self._cube.coordinates(trial.parameters))

    def _centred(self, x: Array, point: Point) -> Array:
        """Inactive coordinates at the mean, so that they move nothing."""
        idle = self._cube.inactive(point)
        return x if idle is None else np.where(idle, self.adapter.mean, x)

    # -- its update

    def update(self, members: Sequence[Member], best: Array | None) -> None:
        """Learn from a generation.

        Args:
            best: (size,) unbounded coordinates of the best feasible trial of the run; None if there is none.
        """
        order = ranked([m.key for m in members])
        known = sum(m.key[0] < 2 for m in members)
        if self.is_scouting or (known == 0 and best is None):
            self.is_scouting = known == 0 and best is None
            if not self.is_scouting:
                self.adapter.move(min(members, key=lambda m: m.key).x if best is None else best)
        elif known < self.adapter.parents:
            self.adapter.retreat(best)
        elif len(set(order)) == 1:
            self.adapter.widen()
        else:
            self.adapter.tell([m.x for m in members], order, [i for i, m in enumerate(members) if not m.is_drawn])
            if self._cube.free:
                first = sorted(range(len(members)), key=lambda i: order[i])
                self.choices.learn([members[i].picks for i in first], self.adapter.shares)

    # -- the state

    def save(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """The state as JSON and arrays."""
        scalars, arrays = self.adapter.save()
        arrays |= {f"choices.{j}": table for j, table in enumerate(self.choices.tables)}
        if self.inject is not None:
            arrays["inject"] = self.inject
        return {"generation": self.generation, "scouting": self.is_scouting, "scalars": scalars}, arrays

    def load(self, document: dict[str, Any], arrays: dict[str, Array]) -> None:
        """What `save` gave."""
        self.adapter.load(document["scalars"], arrays)
        self.choices.tables = [arrays[f"choices.{j}"] for j in range(len(self._cube.free))]
        self.generation, self.is_scouting = document["generation"], document["scouting"]
        self.inject = arrays.get("inject")

    def describe(self) -> str:
        """For people."""
        if self.is_scouting:
            return "the whole box, for nothing could be evaluated yet"
        return f"step size {self.adapter.sigma:.3g}"


def in_box(cube: Cube, x: Array) -> Array | None:
    """(size,) the nearest coordinates in the box; None of what is not finite."""
    return np.clip(x, cube.lower, cube.upper) if all(math.isfinite(v) for v in x) else None

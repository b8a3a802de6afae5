"""CMA-ES: adapts a normal distribution to the landscape, generation by generation; for hundreds of trials and more.

Hansen, Ostermeier 2001; Hansen 2016, "The CMA Evolution Strategy: A Tutorial". The update is pycma's; sampling, restarts, ledger and
state are ours: row k of generation t is a pure function of (study seed, restart, t, k) and the distribution.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion

if TYPE_CHECKING:
    from workers.models.cma_adapter import CmaAdapter

Array = NDArray[np.float64]
VERSION = 1
ROWS_AT_ONCE = 64
MOST_ROWS = 1024
MOST_FOREIGN = 2
FEW_LEVELS = 64


class CmaesOptions(Document):
    """What CMA-ES can be told."""

    popsize: int | None = Field(default=None, ge=4, le=10_000, description="Trials a generation; 4 + 3 ln n if absent.")
    sigma0: float = Field(default=0.3, gt=0, le=1, description="First step size, as a share of each range.")
    restarts: Literal["ipop", "none"] = Field(default="ipop", description="ipop: restart with twice the population.")
    diagonal: bool = Field(default=False, description="Learn scales only, no correlations: for many dimensions.")


class Cube:
    """The coordinates that CMA-ES moves: numbers as they are, ordered levels as whole numbers, one for each choice."""

    def __init__(self, codec: Codec) -> None:
        self.codec = codec
        self.widths: list[float] = []
        self.whole: list[int] = []
        for coordinate in codec.coordinates:
            if coordinate.is_categorical and (coordinate.levels or 1) > 1:
                self.widths += [1.0] * (coordinate.levels or 1)
            elif coordinate.levels is not None and 1 < coordinate.levels <= FEW_LEVELS:
                self.whole.append(len(self.widths))
                self.widths.append(float(coordinate.levels))
            else:
                self.widths.append(1.0)

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return len(self.widths)

    def point(self, x: Array) -> Point:
        """The point at (size,) coordinates."""
        row, place = np.empty(self.codec.dimensions), 0
        for j, coordinate in enumerate(self.codec.coordinates):
            levels = coordinate.levels or 1
            if coordinate.is_categorical and levels > 1:
                row[j] = (int(np.argmax(x[place : place + levels])) + 0.5) / levels
                place += levels
            else:
                row[j] = (x[place] + 0.5) / self.widths[place] if place in self.whole else x[place]
                place += 1
        return self.codec.decode(row)

    def coordinates(self, point: Point) -> Array:
        """(size,) coordinates of a point."""
        row, found = self.codec.encode(point), []
        for j, coordinate in enumerate(self.codec.coordinates):
            levels = coordinate.levels or 1
            if coordinate.is_categorical and levels > 1:
                chosen = min(int(row[j] * levels), levels - 1)
                found += [1.0 if i == chosen else 0.0 for i in range(levels)]
            elif len(found) in self.whole:
                found.append(row[j] * self.widths[len(found)] - 0.5)
            else:
                found.append(float(row[j]))
        return np.array(found)


class CmaEs:
    """Reads the ledger from the history, closes the generations that are full, samples the open one."""

    def __init__(self, problem: Problem, options: CmaesOptions, blob: Blob | None) -> None:
        self._problem = problem
        self._options = options
        self._cube = Cube(Codec(problem.space))
        self._generation, self._since = 0, 0
        self._restart, self._restarted_at = 0, 0
        self._best: tuple[float, int] | None = None  # value and generation of the latest improvement
        self._adapter: CmaAdapter | None = None
        self._rows: list[Array] = []
        if blob is not None and blob.version == VERSION:
            self._restore(blob)

    # -- the distribution

    def _popsize(self) -> int:
        usual = 4 + math.floor(3 * math.log(max(2, self._cube.size)))
        return int((self._options.popsize or usual) * 2 ** min(self._restart, 6))

    def _distribution(self) -> CmaAdapter:
        if self._adapter is None:
            self._adapter = self._fresh()
        return self._adapter

    def _fresh(self) -> CmaAdapter:
        from workers.models.cma_adapter import CmaAdapter

        widths = np.array(self._cube.widths)
        start = np.full(self._cube.size, 0.5)
        if self._restart:
            start = self._problem.generator(self._restart, "cmaes restart").random(self._cube.size)
        return CmaAdapter.fresh(
            start=np.where(self._is_whole(), start * widths - 0.5, start),
            sigma=self._options.sigma0,
            lower=np.where(self._is_whole(), -0.5, 0.0),
            upper=np.where(self._is_whole(), widths - 0.5, 1.0),
            stds=widths,
            popsize=self._popsize(),
            whole=self._cube.whole,
            diagonal=self._options.diagonal,
        )

    def _is_whole(self) -> NDArray[np.bool_]:
        mask = np.zeros(self._cube.size, dtype=bool)
        mask[self._cube.whole] = True
        return mask

    def _row(self, row: int) -> Array:
        """Row `row` of the open generation."""
        while len(self._rows) <= row:
            first = len(self._rows)
            normals = np.array([self._normal(first + i) for i in range(ROWS_AT_ONCE)])
            self._rows += self._distribution().sample(normals)
        return self._rows[row]

    def _normal(self, row: int) -> Array:
        purpose = f"cmaes {self._restart} {row}"
        return self._problem.generator(self._generation, purpose).standard_normal(self._cube.size)

    # -- the ledger

    def _catch_up(self, history: History) -> None:
        from workers.models.generations import closing

        while (full := closing(history, self._generation, self._popsize(), self._since)) is not None:
            self._close(history, full.told, full.foreign)
            self._generation, self._since, self._rows = self._generation + 1, full.seq, []
            self._restart_if_stuck()

    def _close(self, history: History, told: Iterable[Any], foreign: Iterable[Any]) -> None:
        from workers.models.generations import ranks

        own = sorted(told, key=lambda t: t.number)
        others = sorted(foreign, key=lambda t: t.number)[-MOST_FOREIGN:]
        everyone = own + others
        # Whatever was sampled here meanwhile: the update sees the rows up to the last one told, and nothing else.
        self._rows = []
        self._distribution().forget_asked()
        x = [self._row(t.origin["row"]) if t.origin["row"] >= 0 else self._cube.coordinates(t.parameters) for t in own]
        x += [self._cube.coordinates(t.parameters) for t in others]
        order = ranks(history, everyone)
        feasible = [
            history.values(t)[0]
            for t in everyone
            if t.state == "completed" and max(history.violations(t), default=0) <= 0
        ]
        if feasible and (self._best is None or min(feasible) < self._best[0]):
            self._best = (min(feasible), self._generation)
        elif self._best is None:
            self._best = (math.inf, self._generation)
        if len(set(order)) == 1:
            self._distribution().widen()  # a plateau: every value is equal
        else:
            self._distribution().tell(x, order)

    def _restart_if_stuck(self) -> None:
        if self._options.restarts == "none":
            return
        patience = 30 + math.ceil(100 * self._cube.size**1.5 / self._popsize())
        since = self._generation - max(self._restarted_at, self._best[1] if self._best else 0)
        if self._distribution().has_converged() or since > patience:
            self._restart, self._restarted_at = self._restart + 1, self._generation
            self._adapter = None

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        from workers.models.generations import rows_used

        self._catch_up(history)
        used = rows_used(history, self._generation)
        keys: set[str] = set()
        found: list[Suggestion] = []
        for number in range(history.next_number, history.next_number + count):
            row, point = self._next(history, used, keys, number)
            if point is None:
                break
            used.add(row)
            keys.add(point_key(point))
            reason = f"generation {self._generation} of {self._popsize()}, step size {self._distribution().sigma:.3g}"
            found.append(
                Suggestion(parameters=point, reason=reason, origin={"generation": self._generation, "row": row})
            )
        return found

    def _next(self, history: History, used: set[int], keys: set[str], number: int) -> tuple[int, Point | None]:
        """The first row that no trial has and that is allowed; beyond `MOST_ROWS` of them, a point from outside (row -1)."""
        space = self._problem.space
        must_differ = space.is_finite and not self._problem.spec.is_noisy

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        start = max(used, default=-1) + 1
        for row in range(start, start + MOST_ROWS):
            point = self._cube.point(self._row(row))
            if not space.broken(point) and not (must_differ and is_known(point_key(point))):
                return row, point
            if must_differ and row >= start + 2 * ROWS_AT_ONCE:
                break  # the distribution has settled where all is known
        rng = self._problem.generator(number, "cmaes outside")
        return -1, unused(space, is_known, rng) if must_differ else draw(space, rng)

    # -- the state

    def state(self) -> Blob | None:
        """The distribution and where the ledger has been read to."""
        if self._adapter is None:
            return None
        scalars, arrays = self._adapter.save()
        document = {
            "generation": self._generation,
            "since": self._since,
            "restart": self._restart,
            "restarted_at": self._restarted_at,
            "best": None if self._best is None or math.isinf(self._best[0]) else list(self._best),
            "unfeasible_since": self._best[1] if self._best is not None and math.isinf(self._best[0]) else None,
            "scalars": scalars,
        }
        return Blob(version=VERSION, document=document, arrays=arrays)

    def _restore(self, blob: Blob) -> None:
        saved = blob.document
        self._generation, self._since = saved["generation"], saved["since"]
        self._restart, self._restarted_at = saved["restart"], saved["restarted_at"]
        if saved["best"] is not None:
            self._best = (saved["best"][0], saved["best"][1])
        elif saved["unfeasible_since"] is not None:
            self._best = (math.inf, saved["unfeasible_since"])
        self._adapter = self._fresh()
        self._adapter.load(saved["scalars"], dict(blob.arrays))


def _refuse(spec: StudySpec, _: CmaesOptions) -> list[FieldError]:
    size = Cube(Codec(spec.space)).size
    if size < 2:
        return [FieldError("/parameters", "cmaes needs at least two coordinates; use gp or sobol")]
    return [FieldError("/parameters", f"cmaes serves up to 2000 coordinates, not {size}")] if size > 2000 else []


def _create(problem: Problem, options: CmaesOptions, blob: Blob | None) -> Suggester:
    warnings.filterwarnings("ignore", module="cma")
    return CmaEs(problem, options, blob)


SPEC = Spec(
    name="cmaes",
    summary="CMA-ES with restarts: for hundreds of trials and more, ill-conditioned and rugged landscapes.",
    reference="Hansen 2016, The CMA Evolution Strategy: A Tutorial; pycma",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=CmaesOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

"""Separable natural evolution strategies: a mean and a deviation for each coordinate, at a cost that grows with their number only.

Wierstra, Schaul et al. 2014; Schaul, Glasmachers, Schmidhuber 2011. The distribution stands in `workers.models.natural`, the ledger in
`workers.models.generations`: row k of generation t is a pure function of (study seed, t, k) and the distribution.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.codec import Codec
from services.domain.document import Document
from services.domain.history import History, Observation
from services.domain.sampling import draw, draw_many, unused
from services.domain.space import Point, point_key
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion
from services.domain.trial import TrialState

if TYPE_CHECKING:
    from workers.models.generations import Closing, Key
    from workers.models.natural import Member
    from workers.models.stagnation import Run

Array = NDArray[np.float64]
METHOD = "snes"
VERSION = 1
FEWEST = 4
MOST_POPSIZE = 10_000
START_DRAWS = 32
NEAR_DEFAULT = 2 / 3
MOST_GOOD = 100
FOREIGN_SHARE = 5
SMALLEST_SPREAD = 1e-11
MOST_SPREAD = 1 / 3


class SnesOptions(Document):
    """What SNES can be told."""

    popsize: int | None = Field(
        default=None, ge=4, le=MOST_POPSIZE,
        description="Trials a generation; if absent 4 + 3 ln n, or as many as run at one time, twice that under noise.",
    )  # fmt: skip
    sigma0: float = Field(default=0.3, ge=1e-6, le=1, description="First deviation, as a share of each range.")
    restarts: Literal["ipop", "none"] = Field(
        default="ipop", description="When a run is over, ipop begins another one anywhere, with twice the population."
    )


class Snes:
    """Reads the ledger from the history, closes the generations that are full, samples the open one."""

    def __init__(self, problem: Problem, options: SnesOptions, blob: Blob | None) -> None:
        from workers.models.cross_entropy import Columns
        from workers.models.stagnation import Run

        self._problem, self._options, self._space = problem, options, problem.space
        self._codec = Codec(problem.space)
        levels = np.array([c.levels or 0 for c in self._codec.coordinates])
        self._columns = Columns(levels, tuple(j for j, c in enumerate(self._codec.coordinates) if c.is_categorical))
        self._real = (levels == 0) & self._columns.ordered
        self._is_conditional = any(p.when for p in problem.space.parameters)
        self._must_differ = self._space.is_finite and not problem.spec.is_noisy
        self._generation = self._since = 0
        self._begun: int | None = None  # the `seq` up to which the start was computed
        self._is_scouting = False  # nothing could be evaluated yet: rows come from anywhere
        self._begun_with: int | None = None  # the size of the first generation
        self._begin_run(Run(), np.full(self._codec.dimensions, 0.5), options.sigma0)
        if blob is not None and blob.version == VERSION:
            self._restore(blob)

    # -- sizes

    def _first_size(self) -> int:
        """Outcomes that fill a generation of the first run."""
        from workers.models.natural import usual_popsize

        if self._begun_with is not None:
            return self._begun_with
        limits, wanted = self._problem.spec.limits, self._options.popsize
        if wanted is None:
            wanted = max(usual_popsize(self._codec.dimensions), limits.max_running or 0)
            wanted *= 2 if self._problem.spec.is_noisy else 1
        return min(wanted, self._most())

    def _most(self) -> int:
        """A generation that never closes teaches nothing."""
        limit = self._problem.spec.limits.max_trials
        return MOST_POPSIZE if limit is None else max(FEWEST, min(MOST_POPSIZE, limit // 3))

    def _size(self) -> int:
        return min(self._first_size() << min(self._run.number, 20), max(self._first_size(), self._most()))

    # -- runs

    def _begin_run(self, run: Run, mean: Array, deviation: float) -> None:
        from workers.models.natural import NaturalDistribution

        most = max(MOST_SPREAD, self._options.sigma0)
        self._run, self._is_scouting = run, False
        self._drawn = NaturalDistribution(self._columns, mean, deviation, most)

    def _begin(self, history: History) -> None:
        """Open the first generation at what was known when its first trial was made; again, as long as it has none."""
        from workers.models.stagnation import Run

        begun = [t.origin["start"] for t in history.generation(0) if t.origin.get("method") == METHOD]
        until = min(begun, default=history.seq)
        if self._begun != until:
            self._begun = self._since = until
            self._begin_run(Run(), *self._start(history, until))

    def _start(self, history: History, until: int) -> tuple[Array, float]:
        """Mean and deviation: at the best that others told, else at declared defaults, else in the middle of what is allowed."""
        from workers.models.generations import standings
        from workers.models.natural import first_width

        near, default = NEAR_DEFAULT * self._options.sigma0, self._space.default()
        known = [t for t in history.finished if t.told_seq <= until and t.state is TrialState.COMPLETED]
        if known:
            best_first = sorted(zip(standings(history, known), (t.number for t in known), known, strict=True))
            quarter = 1 + len(known) // 4
            good = [self._place(t) for *_, t in best_first[: quarter : 1 + quarter // MOST_GOOD]]
            return good[0], first_width(good, len(known), near)
        if default is not None:
            return self._codec.encode(default), near
        drawn: list[Point] = []
        if self._space.constraints:
            drawn = draw_many(self._space, self._problem.generator(0, "snes start"), START_DRAWS)
        middle = self._codec.encode_many(drawn).mean(axis=0) if drawn else np.full(self._codec.dimensions, 0.5)
        return middle, self._options.sigma0

    def _restart(self) -> None:
        from workers.models.stagnation import Run

        following = self._run.number + 1
        point = draw(self._space, self._problem.generator(following, "snes restart"))
        self._begin_run(Run(following), self._codec.encode(point or {}), self._options.sigma0)

    # -- the ledger

    def _catch_up(self, history: History) -> None:
        from workers.models.generations import closing, first_size

        self._begun_with = self._begun_with or first_size(history, METHOD)
        if self._generation == 0:
            self._begin(history)
        while (full := closing(history, self._generation, self._size(), self._since, METHOD)) is not None:
            self._close(history, full)
            self._generation, self._since = self._generation + 1, full.seq

    def _close(self, history: History, full: Closing) -> None:
        from workers.models.generations import ranks, standings

        own = sorted(full.told, key=lambda t: t.number)
        keys = standings(history, own)
        known = sum(key[0] < 2 for key in keys)
        self._run.add([t.number for t in own], keys)
        if self._run.best is None:
            self._is_scouting = True
        elif self._is_scouting or known < len(own) // 2:
            if not self._is_scouting:
                self._drawn.deviation /= 2
            self._drawn.mean, self._is_scouting = self._place(history.get(self._run.best[0])), False
        elif len(set(keys)) == 1:
            self._drawn.widen()
        else:
            everyone = [*own, *self._others(history, full)]
            self._drawn.learn([self._member(t, r) for t, r in zip(everyone, ranks(history, everyone), strict=True)])
        self._drawn.keep_wide(0.0)
        if self._options.restarts != "none" and self._is_over(keys):
            self._restart()

    def _is_over(self, keys: list[Key]) -> bool:
        is_point = bool(self._real.any()) and float(self._drawn.deviation[self._real].max()) < SMALLEST_SPREAD
        few_real = 2 * int(self._real.sum()) < len(self._real)
        return is_point or self._run.has_stalled(keys, len(self._real), knows_plateaus=few_real)

    def _others(self, history: History, full: Closing) -> list[Observation]:
        """The best of the foreign and late trials that came meanwhile, a fifth of a generation at most."""
        from workers.models.generations import EVALUATED, standings

        own = {t.number for t in full.told}
        new = [t for t in history.finished_after(self._since) if t.told_seq <= full.seq and t.number not in own]
        others = [t for t in new if t.state in EVALUATED]
        best = sorted(zip(standings(history, others), (t.number for t in others), others, strict=True))
        return [t for key, _, t in best if key[0] == 0][: max(1, self._size() // FOREIGN_SHARE)]

    def _member(self, trial: Observation, rank: float) -> Member:
        from workers.models.natural import Member

        row = self._place(trial)
        active = self._codec.active(trial.parameters) if self._is_conditional else None
        is_own = trial.origin.get("method") == METHOD and trial.origin["generation"] == self._generation
        if is_own and trial.origin["row"] >= 0:
            return Member(self._draws(trial.origin["row"])[0], row, rank, active=active)
        return Member(self._drawn.step(row), row, rank, is_drawn=False, active=active)

    def _place(self, trial: Observation | None) -> Array:
        assert trial is not None
        return self._codec.encode(trial.parameters)

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        from workers.models.generations import handed_out, rows_used

        self._catch_up(history)
        used = rows_used(history, self._generation, METHOD)
        following = partial(self._next, history)
        return [self._suggestion(point, row) for row, point in handed_out(history, count, used, following)]

    def _suggestion(self, point: Point, row: int) -> Suggestion:
        origin: dict[str, Any] = {"method": METHOD, "generation": self._generation, "row": row}
        if self._generation == 0:
            origin |= {"start": self._begun, "size": self._first_size()}
        ordered = self._columns.ordered
        width = float(self._drawn.deviation[ordered].mean()) if ordered.any() else 0.0
        how = "from anywhere, for nothing could be evaluated yet" if self._is_scouting else f"deviation {width:.3g}"
        reason = f"generation {self._generation}, {self._size()} trials, {how}"
        return Suggestion(parameters=point, reason=reason, origin=origin)

    def _next(self, history: History, rows: range, keys: set[str], number: int) -> tuple[int, Point | None]:
        """The first of some rows that is allowed and, where it must be, new; where none is, a point from outside (row -1)."""

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        for row in rows:
            point = self._codec.decode(self._row(row))
            if not self._space.broken(point) and not (self._must_differ and is_known(point_key(point))):
                return row, point
        rng = self._problem.generator(number, "snes outside")
        return -1, unused(self._space, is_known, rng) if self._must_differ else draw(self._space, rng)

    def _draws(self, row: int) -> tuple[Array, Array]:
        rng = self._problem.generator(self._generation, f"snes {row}")
        return rng.standard_normal(self._codec.dimensions), rng.random(len(self._drawn.shares))

    def _row(self, row: int) -> Array:
        if self._is_scouting:
            return self._problem.generator(self._generation, f"snes scout {row}").random(self._codec.dimensions)
        return self._drawn.sample(*self._draws(row))

    # -- the state

    def state(self) -> Blob | None:
        """The distribution, the run, and where the ledger has been read to; nothing before the first generation closed."""
        if not self._generation:
            return None
        document = {
            "generation": self._generation, "since": self._since, "begun": self._begun, "run": self._run.save(),
            "scouting": self._is_scouting,
        }  # fmt: skip
        arrays = {"mean": self._drawn.mean, "deviation": self._drawn.deviation}
        arrays |= {f"shares {j}": share for j, share in enumerate(self._drawn.shares)}
        return Blob(version=VERSION, document=document, arrays=arrays)

    def _restore(self, blob: Blob) -> None:
        from workers.models.stagnation import Run

        saved = blob.document
        self._begin_run(Run.load(dict(saved["run"])), np.array(blob.arrays["mean"]), self._options.sigma0)
        self._drawn.deviation = np.array(blob.arrays["deviation"])
        self._drawn.shares = [np.array(blob.arrays[f"shares {j}"]) for j in range(len(self._drawn.shares))]
        self._generation, self._since, self._begun = saved["generation"], saved["since"], saved["begun"]
        self._is_scouting = saved["scouting"]


def _create(problem: Problem, options: SnesOptions, blob: Blob | None) -> Suggester:
    return Snes(problem, options, blob)


SPEC = Spec(
    name="snes",
    summary="Separable natural evolution strategy: hundreds to a hundred thousand numbers, at a cost that grows with them only.",
    reference="Wierstra, Schaul et al. 2014, Natural Evolution Strategies; Schaul, Glasmachers, Schmidhuber 2011",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=SnesOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
)

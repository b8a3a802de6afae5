"""CMA-ES over a ledger of generations: reads outcomes in the order in which they came, closes generations, samples the open one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState
from workers.models.augmented_lagrangian import AugmentedLagrangian
from workers.models.generations import Key, first_size

from .cube import Cube
from .distribution import Distribution, in_box
from .ledger import METHOD, Member, Open, chosen_foreign, is_own, keys
from .restarts import Progress, Run, generations_of
from .start import Start, first_start, usual_popsize
from .surrogate import LARGEST, Surrogate

if TYPE_CHECKING:
    from . import CmaesOptions

Array = NDArray[np.float64]

VERSION = 3
MOST_ROWS = 1024
FEW_REPEATS = 128


class CmaEs:
    """The suggester.

    Its state is as of the closing of the generation before the open one; what came since is read again from the history.

    Args:
        modelled: outcomes that a surrogate chooses at first: none if 0; for good, and also in later runs, if infinite.
    """

    def __init__(self, problem: Problem, options: CmaesOptions, blob: Blob | None, *, modelled: float) -> None:
        self._problem, self._options, self._space = problem, options, problem.space
        self._cube = Cube(problem.space)
        self._popsize, self._most = usual_popsize(problem, options, self._cube.size)
        self._modelled = modelled
        self._forget()
        self._blob = blob if blob is not None and blob.version == VERSION else None

    def _forget(self) -> None:
        self._run = Run(0, self._popsize, generations_of(self._cube.size, self._popsize))
        self._surrogate = Surrogate(self._cube.size, self._at) if self._modelled else None
        penalises = self._options.constraints == "auglag" and bool(self._problem.spec.constraints)
        self._penalty = AugmentedLagrangian(self._cube.size) if penalises else None
        self._open = Open(0)
        self._since = self._read = 0
        self._begun: int | None = None  # the `seq` up to which the start of the first run was computed
        self._best: tuple[float, int] | None = None  # value and number of the best feasible trial of the run
        self._drawn: Distribution | None = None
        self._progress: Progress
        self._saved: tuple[dict[str, Any], dict[str, Array]] = ({}, {})  # the surrogate's state
        self._order: list[int] | None = None  # candidates, the most promising first
        self._failed: set[int] = set()  # trials whose failing had a part in the closing of a generation

    @property
    def _distribution(self) -> Distribution:
        assert self._drawn is not None
        return self._drawn

    def _at(self, trial: Observation) -> Array:
        return self._cube.coordinates(trial.parameters)

    # -- runs

    def _start_run(self, start: Start) -> None:
        self._drawn = Distribution(self._problem, self._cube, self._run, start, diagonal=self._options.diagonal)
        self._progress = Progress(self._cube.size, self._run.popsize, 2 * self._cube.steps > self._cube.size)
        self._best = None

    def _begin(self, history: History) -> None:
        """Open the first generation at what was known when its first trial was made; again, as long as it has none."""
        begun = [t.origin["start"] for t in history.generation(0) if is_own(t)]
        until = min(begun) if begun else history.seq
        if self._begun == until:
            return
        self._begun = self._since = self._read = until
        known = [t for t in history.finished if t.told_seq <= until and not is_own(t)]
        self._start_run(first_start(self._problem, self._options, self._cube, history, known))
        if self._surrogate is not None and self._options.warm_start:
            self._surrogate.warm(history, known, self._run.popsize)
        self._reopen(0)

    def _restart(self) -> None:
        rng = self._problem.generator(self._run.number + 1, "cmaes restart")
        self._run = self._run.following(
            self._progress.spent, self._popsize, self._cube.size, self._most,
            bipop=self._options.restarts == "bipop", rng=rng,
        )  # fmt: skip
        mean = self._cube.lower + self._cube.widths * rng.random(self._cube.size)
        self._start_run(Start(mean, self._options.sigma0 * self._run.shrink))
        if self._surrogate is not None:
            self._surrogate = Surrogate(self._cube.size, self._at)
        if self._penalty is not None:
            self._penalty = AugmentedLagrangian(self._cube.size)

    def _reopen(self, number: int) -> None:
        """Open a generation."""
        self._open, self._order, inject = Open(number), None, None
        if self._modelled < math.inf and (self._run.number > 0 or self._progress.spent >= self._modelled):
            self._surrogate, self._saved = None, ({}, {})
        if self._surrogate is not None:
            self._surrogate.open(self._run.popsize)
            self._saved = self._surrogate.save()
            if self._surrogate.model is not None:
                inject = in_box(self._cube, self._surrogate.model.minimiser())
        self._distribution.open(number, inject)

    # -- the ledger

    def _catch_up(self, history: History) -> None:
        begun_with = first_size(history, METHOD)
        if begun_with not in (None, self._popsize):
            self._popsize = begun_with
            self._forget()
        if self._blob is not None:
            self._restore(history, self._blob)
            self._blob = None
        if self._failed and any(t.number in self._failed for t in history.finished_after(self._read)):
            self._forget()  # the late outcome of a lost lease: that generation would have closed otherwise
        if self._open.number == 0:
            self._begin(history)
        for trial in history.finished_after(self._read):
            self._read = trial.told_seq
            if self._is_over(history, trial, self._open.take(trial)):
                self._close(history)

    def _is_over(self, history: History, trial: Observation, is_told: bool) -> bool:
        """Whether the open generation closes with this outcome, one of its own or not."""
        told, popsize = len(self._open.told), self._run.popsize
        if self._surrogate is not None:
            self._order = None
            self._surrogate.add(history, trial, popsize)
            if is_told and told >= min(self._surrogate.wanted, popsize) and self._surrogate.is_trusted(told, popsize):
                return True
        return told >= popsize or self._open.is_failing(popsize)

    def _close(self, history: History) -> None:
        told = sorted(self._open.told, key=lambda t: t.number)
        completed = [t for t in told if t.state is TrialState.COMPLETED]
        if self._penalty is not None:
            self._penalty.learn([history.values(t)[0] for t in completed], [history.violations(t) for t in completed])
        if self._surrogate is not None or self._open.is_failing(self._run.popsize):
            self._failed |= {t.number for t in self._open.failed}
        members = self._own(history, told)
        best = self._best_place(history, completed)
        self._progress.add([m.key for m in members], len(told))
        foreign = chosen_foreign(
            [m.key for m in members], self._open.others, lambda trials: keys(history, trials, self._penalty),
            parents=self._distribution.adapter.parents, popsize=self._run.popsize,
        )  # fmt: skip
        members += [self._member(self._distribution.foreign(t), t, key, is_drawn=False) for t, key in foreign]
        self._distribution.update(members, best)
        self._since = self._read
        adapter, cube = self._distribution.adapter, self._cube
        if self._options.restarts != "none" and self._progress.verdict(adapter, cube.widths, cube.whole, self._run):
            self._restart()
        self._reopen(self._open.number + 1)

    def _best_place(self, history: History, completed: Sequence[Observation]) -> Array | None:
        """(size,) unbounded coordinates of the best feasible trial of the run."""
        feasible = [t for t in completed if max(history.violations(t), default=0.0) <= 0]
        found = [(history.values(t)[0], t.number) for t in feasible] + ([self._best] if self._best else [])
        self._best = min(found, default=None)
        trial = None if self._best is None else history.get(self._best[1])
        return None if trial is None else self._distribution.there(trial)

    def _member(self, x: Array, trial: Observation, key: Key, *, is_drawn: bool) -> Member:
        return Member(x, key, is_drawn, self._cube.picks(trial.parameters) if self._cube.free else ())

    def _own(self, history: History, told: Sequence[Observation]) -> list[Member]:
        """What the open generation is updated with but for others' trials."""
        drawn, opened, popsize = self._distribution, self._open, self._run.popsize
        ranked_by = list(zip(told, keys(history, told, self._penalty), strict=True))
        if opened.is_failing(popsize):
            ranked_by += [(t, (2, 0.0)) for t in opened.failed[: max(0, popsize - len(told))]]
        members = [
            self._member(drawn.place(t), t, key, is_drawn=drawn.is_drawn(t.origin["row"])) for t, key in ranked_by
        ]
        if self._surrogate is None or self._surrogate.model is None or len(members) >= popsize:
            return members
        have = {t.origin["row"] for t in told}
        rest = [row for row in self._candidates() if row not in have][: popsize - len(members)]
        members += [Member(drawn.row(row), (0, LARGEST), drawn.is_drawn(row)) for row in rest]
        values = self._surrogate.values(drawn.adapter.box, self._cube, members)
        return [
            Member(m.x, (0, value), m.is_drawn) if m.key[0] == 0 else m
            for m, value in zip(members, values, strict=True)
        ]

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._catch_up(history)
        used = {t.origin["row"] for t in history.generation(self._open.number) if is_own(t)}
        given: set[str] = set()
        found: list[Suggestion] = []
        for number in range(history.next_number, history.next_number + count):
            row, point = self._next(history, used, given, number)
            if point is None:
                break
            used.add(row)
            found.append(self._suggestion(row, point))
        return found

    def _suggestion(self, row: int, point: Point) -> Suggestion:
        origin: dict[str, Any] = {"method": METHOD, "generation": self._open.number, "row": row}
        if self._open.number == 0:
            origin |= {"start": self._begun, "size": self._popsize}
        receipt, by = None, ""
        if self._surrogate is not None and self._surrogate.model is not None:
            receipt = {"model": self._surrogate.model.kind, "tau": round(self._surrogate.tau, 3)}
            by = f", chosen by a {self._surrogate.model.kind} model"
        reason = f"generation {self._open.number}, {self._run.popsize} trials{by}, {self._distribution.describe()}"
        return Suggestion(parameters=point, reason=reason, origin=origin, receipt=receipt)

    def _next(self, history: History, used: set[int], given: set[str], number: int) -> tuple[int, Point | None]:
        """A row that no trial has and that is allowed; beyond `MOST_ROWS` of them, a point from outside (row -1)."""
        if self._surrogate is not None and (row := self._promising(used)) is not None:
            return row, self._distribution.point(row)
        must_differ = self._space.is_finite and not self._problem.spec.is_noisy

        def is_known(key: str) -> bool:
            return key in given or history.has_point(key)

        start = max(used, default=-1) + 1
        for row in range(start, start + (FEW_REPEATS if must_differ else MOST_ROWS)):
            point = self._distribution.point(row)
            if point is not None and not (must_differ and is_known(point_key(point))):
                break
        else:  # the distribution has settled where all is known or nothing is allowed
            rng = self._problem.generator(number, "cmaes outside")
            row, point = -1, unused(self._space, is_known, rng) if must_differ else draw(self._space, rng)
        if must_differ and point is not None:
            given.add(point_key(point))
        return row, point

    def _candidates(self) -> list[int]:
        """Rows that a generation with a surrogate chooses from: one more for each that was lost."""
        rows = self._distribution.allowed(self._run.popsize + len(self._open.lost), MOST_ROWS)
        return [row for row in rows if row not in self._open.lost]

    def _promising(self, used: set[int]) -> int | None:
        """The candidate that no trial has and that the model likes best; None if there is none."""
        if self._order is None:
            rows, model = self._candidates(), self._surrogate.model if self._surrogate else None
            self._order = rows
            if model is not None and rows:
                predicted = model.predict(self._distribution.boxed(rows))
                self._order = [rows[i] for i in np.argsort(predicted, kind="stable")]
        return next((row for row in self._order if row not in used), None)

    # -- the state

    def state(self) -> Blob | None:
        """What the closings so far have left; nothing before the first, for the start may still move."""
        if self._drawn is None or self._open.number == 0:
            return None
        document, arrays = self._drawn.save()
        document |= {
            "since": self._since, "begun": self._begun, "best": self._best, "failed": sorted(self._failed),
            "run": self._run.save(), "progress": self._progress.save(), "surrogate": self._saved[0],
            "penalty": None if self._penalty is None else self._penalty.save(),
        }  # fmt: skip
        return Blob(version=VERSION, document=document, arrays=arrays | self._saved[1])

    def _restore(self, history: History, blob: Blob) -> None:
        saved, arrays = dict(blob.document), dict(blob.arrays)
        self._run = Run(**saved["run"])
        self._start_run(Start((self._cube.lower + self._cube.upper) / 2, self._options.sigma0))
        self._distribution.load(saved, arrays)
        self._progress.load(saved["progress"])
        self._begun, self._since, self._read = saved["begun"], saved["since"], saved["since"]
        self._best = None if saved["best"] is None else (saved["best"][0], saved["best"][1])
        self._open, self._failed = Open(saved["generation"]), set(saved["failed"])
        if self._penalty is not None and saved["penalty"] is not None:
            self._penalty.load(saved["penalty"])
        if not saved["surrogate"]:
            self._surrogate = None
        elif self._surrogate is not None:
            self._surrogate.load(history, saved["surrogate"], arrays)
            self._surrogate.open(self._run.popsize)
            self._saved = self._surrogate.save()

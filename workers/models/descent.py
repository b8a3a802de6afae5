"""A direct search read from the trials: which iteration is open, around which points, with which frame.

Iterations are read from the outcomes in the order in which they came, whoever asked in whatever order: an iteration ends with the
first success, or when every point of its poll is back without one. What comes late, or was proposed by somebody else, is taken as
a success when it is better. Nothing here looks at what is still running, so what is read can be read again by any process.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.space import Point, point_key
from services.domain.suggester import Problem
from services.domain.trial import TrialState

from .barrier import Barrier, Tried, violation
from .mesh import Mesh

Array = NDArray[np.float64]
FINE_FRAME = 0.05


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How a descent goes.

    Attributes:
        initial_frame: of every run, in (0, 1].
        min_frame: below it a run has converged.
        opportunistic: end an iteration with the first success, not with the last point of the poll.
    """

    initial_frame: float
    min_frame: float
    opportunistic: bool


@dataclass(frozen=True)
class Slot:
    """A point of the open poll; `point` is None where a parameter constraint forbids it."""

    row: Array
    point: Point | None
    key: str


class Descent:
    """Runs and their iterations.

    Attributes:
        run: starts anew elsewhere whenever the frame has converged.
        iteration: counts through all runs.
        frame: largest move of a coordinate.
        barrier: incumbents of the run.
        direction: (d,) from the incumbent before to the one now, if the last iteration was a success.
        unconfirmed: in a noisy study, the trial whose value awaits its repetition.
    """

    def __init__(self, problem: Problem, codec: Codec, rules: Rules) -> None:
        self._problem, self._codec, self._rules = problem, codec, rules
        self.mesh = Mesh(codec)
        self.tried: list[Tried] = []
        self.run, self.iteration, self.frame = 0, 0, rules.initial_frame
        self.barrier = Barrier()
        self.direction: Array | None = None
        self.unconfirmed: Tried | None = None
        self._read, self._read_until = set[int](), -1
        self._keys: set[str] = set()
        self._best = (math.inf, math.inf)
        self._back: set[int] = set()
        self._further = 0
        self._waiting: list[tuple[Tried, bool]] = []
        self._slots: list[Slot | None] = []
        self._rows: Array | None = None

    # -- the poll of the open iteration

    @property
    def poll_size(self) -> int:
        """How many slots the open poll has; 0 before there is an incumbent."""
        return len(self._poll_rows())

    def slot(self, k: int) -> Slot:
        """Slot k of the open poll."""
        rows = self._poll_rows()
        self._slots += [None] * (len(rows) - len(self._slots))
        found = self._slots[k]
        if found is None:
            point = self._codec.decode(rows[k])
            allowed = not self._problem.space.broken(point)
            found = self._slots[k] = Slot(rows[k], point if allowed else None, point_key(point))
        return found

    def _poll_rows(self) -> Array:
        if self._rows is None:
            first, second = self.barrier.primary, self.barrier.secondary
            rows = [np.empty((0, self._codec.dimensions))]
            if first is not None:
                rng = self._problem.generator(self.iteration, "mads poll")
                rows.append(self.mesh.poll(first.point, self.frame, rng))
                if second is not None:
                    rows.append(self.mesh.poll(second.point, self.frame, rng, most=2))
                if self.frame < FINE_FRAME or self._is_finest() or not len(rows[1]):
                    rows.append(self.mesh.alternatives(first.point))
            self._rows = np.concatenate(rows)
        return self._rows

    def _is_finest(self) -> bool:
        return self.mesh.is_discrete and self.frame <= self.mesh.smallest_cell

    def _is_back(self, k: int) -> bool:
        if k in self._back:
            return True
        slot = self.slot(k)
        return slot.point is None or slot.key in self._keys

    # -- reading

    def is_outdated(self, history: History) -> bool:
        """Whether an outcome that was read has been replaced: a lost lease's trial was told after all. Begin anew then."""
        return any(t.number in self._read for t in history.finished_after(self._read_until))

    def read(self, history: History) -> None:
        """Take in the outcomes that came since; what was told before the first proposal was made is the start."""
        first = next((t for t in history.trials if own_origin(t)), None)
        until = history.seq if first is None else int(first.origin["seen"])
        new = history.finished_after(self._read_until)
        if self._read_until < 0:
            for trial in new:
                if trial.told_seq <= until:
                    self._note(history, trial)
            self._begin()
        for trial in new:
            if self._read_until >= 0 or trial.told_seq > until:
                self._take(history, trial)
        self._read.update(t.number for t in new)
        self._read_until = history.seq

    def _begin(self) -> None:
        """Start at the best that was there, with a frame that fits its surroundings."""
        for tried in self.tried:
            self.barrier.take(tried)
        self.barrier.close(True)
        best = self.barrier.primary
        if best is None:
            return
        gaps = [float(np.abs(t.row - best.row).max()) for t in self.tried]
        nearest = min((g for g in gaps if g > 0), default=self._rules.initial_frame / 2)
        least = min(10 * self._rules.min_frame, self._rules.initial_frame)
        self.frame = float(np.clip(2.0 * nearest, least, self._rules.initial_frame))
        self._open()
        self._close_spent()

    def _note(self, history: History, trial: Observation) -> Tried | None:
        self._keys.add(point_key(trial.parameters))
        if trial.state is not TrialState.COMPLETED:
            return None
        tried = self._tried(history, trial)
        self.tried.append(tried)
        return tried

    def _take(self, history: History, trial: Observation) -> None:
        origin = own_origin(trial)
        is_current = bool(origin) and origin["iteration"] == self.iteration
        from_poll = is_current and origin["step"] == "poll"
        if from_poll:
            self._back.add(int(origin["slot"]))
        elif is_current and origin["step"] == "further":
            self._further += 1
        tried = self._note(history, trial)
        if tried is not None and self._is_confirmed(tried, origin):
            if origin.get("run", 0) == self.run or (tried.violation, tried.value) < self._best:
                self._judge(tried, from_poll)
            self._best = min(self._best, (tried.violation, tried.value))
        self._close_spent()

    def _tried(self, history: History, trial: Observation) -> Tried:
        excess = history.violations(trial)
        return Tried(
            number=trial.number, point=trial.parameters, row=self._codec.encode(trial.parameters),
            value=history.values(trial)[0], violation=violation(excess), excess=excess,
            std=trial.std.get(history.spec.objectives[0].metric, 0.0),
        )  # fmt: skip

    def _is_confirmed(self, tried: Tried, origin: Mapping[str, Any]) -> bool:
        """Under noise of unknown size only a repetition counts, for the first value was picked for being low."""
        if not self._problem.spec.is_noisy or tried.std > 0 or self.barrier.primary is None:
            return True
        if origin.get("step") == "repeat":
            if self.unconfirmed is not None and self.unconfirmed.number == origin["of"]:
                self.unconfirmed = None
            return True
        if self.barrier.dominates(tried) and (self.unconfirmed is None or tried.value < self.unconfirmed.value):
            self.unconfirmed = tried
        return False

    def _judge(self, tried: Tried, from_poll: bool) -> None:
        if not self._rules.opportunistic and self.barrier.primary is not None:
            self._waiting.append((tried, from_poll))
            return
        before = self.barrier.feasible if tried.violation == 0 else self.barrier.infeasible
        if self.barrier.take(tried):
            self._succeed(tried, before, from_poll)

    def _succeed(self, tried: Tried, before: Tried | None, from_poll: bool) -> None:
        self.barrier.close(True)
        self.direction = None if before is None else tried.row - before.row
        if from_poll:
            self.frame = min(2.0 * self.frame, 1.0)
        self._open()

    def _close_spent(self) -> None:
        """End the open iteration, and those after it, while no point of their polls is left to wait for."""
        while self.barrier.primary is not None and self._is_spent():
            if self._settle_waiting():
                continue
            if not self.barrier.close(False):
                converged = self.frame / 2 < self._rules.min_frame or self._is_finest()
                self.frame /= 2
                if converged:
                    self._restart()
            self.direction = None
            self._open()

    def _is_spent(self) -> bool:
        size = self.poll_size
        gave_up = self._further >= max(size, 2)  # some point of the poll is out for as long as another poll would take
        return gave_up or (self.unconfirmed is None and all(self._is_back(k) for k in range(size)))

    def _settle_waiting(self) -> bool:
        """Judge a whole iteration at once, best first, so that the order of arrival does not matter."""
        waiting = sorted(self._waiting, key=lambda w: (w[0].violation > 0, w[0].value, w[0].violation, w[0].number))
        self._waiting = []
        feasible, infeasible = self.barrier.feasible, self.barrier.infeasible
        winners = [(tried, from_poll) for tried, from_poll in waiting if self.barrier.take(tried)]
        if winners:
            tried, from_poll = winners[0]
            self._succeed(tried, feasible if tried.violation == 0 else infeasible, from_poll)
        return bool(winners)

    def _restart(self) -> None:
        self.run, self.frame, self.barrier = self.run + 1, self._rules.initial_frame, Barrier()

    def _open(self) -> None:
        self.iteration += 1
        self.unconfirmed = None
        self._back, self._further, self._waiting = set(), 0, []
        self._slots, self._rows = [], None


def own_origin(trial: Observation) -> Mapping[str, Any]:
    """What was written on an own trial; empty for a foreign one."""
    return trial.origin if {"iteration", "step", "seen"} <= trial.origin.keys() else {}

"""Populations whose members move one at a time: who is asked next, who competes with whom, and what is kept.

The rows of a population are asked in turn, round after round, whatever is still running; a trial carries round and row (`origin`), so
that its outcome, however late, competes with the member of that row. Outcomes are taken in the order in which they came. A member
is the number of its trial: points are read from the trials, and the state is rebuilt from them where none was saved. Whoever asks for
a whole round and tells it before the next gets the synchronous form of the method.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState

from .generations import EVALUATED, ranks
from .positions import Places
from .rounds import Rounds
from .scores import Scores

Array = NDArray[np.float64]
Move = tuple[Array, Mapping[str, Any]]
TRIES = 20
COLLAPSED = 1e-9
ROUNDS_IN_BUDGET = 10
FEWEST_ROWS = 8


def usual_rows(problem: Problem, most: int) -> int:
    """Rows of a population where nobody says: by dimension, 20 to `most`, and few enough for some rounds of the budget."""
    usual = min(max(10 + 2 * Places(problem.space).size, 20), most)
    budget = problem.spec.limits.max_trials
    return usual if budget is None else min(usual, max(FEWEST_ROWS, budget // ROUNDS_IN_BUDGET))


class SteadyState(ABC):
    """A population of `size` rows; subclasses say how a row moves and what they learn from an outcome.

    Args:
        size: rows wanted; at most a third of limits.max_trials, or 8.

    Attributes:
        places: where points are in the unit cube.
        live: rows still in use.
        now: by row, the newest of its trials with an outcome.
        best: by row, the best of its trials.
        told: outcomes of the population's own trials.
        rounds: how often as many outcomes came as there were rows.
        era: how often the population was begun anew.
    """

    name: ClassVar[str]
    repeats: ClassVar[bool] = True  # under noise, the best member is evaluated again in its turn
    version: ClassVar[int] = 1

    def __init__(self, problem: Problem, size: int, blob: Blob | None) -> None:
        budget = problem.spec.limits.max_trials
        size = size if budget is None else min(size, max(FEWEST_ROWS, budget // 3))  # the rest is for moves
        self.problem = problem
        self.places = Places(problem.space)
        self.size = size
        self.live = list(range(size))
        self.now: list[int | None] = [None] * size
        self.best: list[int | None] = [None] * size
        self.told = self.rounds = self.era = 0
        self._in_round = self._seen = 0
        self._rows: dict[int, Array] = {}
        self._order: list[int] | None = None
        self._scores, self._unscored = Scores(problem.spec, size), set(range(size))
        self._turns = Rounds(self.name)
        self._must_differ = problem.space.is_finite and not problem.spec.is_noisy
        if blob is not None and blob.version == self.version and blob.document["basis"] == self._basis():
            self._restore(blob.document)

    # what a method says

    @abstractmethod
    def move(self, history: History, row: int, rng: np.random.Generator) -> Move | None:
        """Where a row goes, in the cube, and what its trial shall remember; None for a point drawn at random."""

    def learn(self, history: History, trial: Observation, row: int, before: int | None, is_better: bool) -> None:
        """An outcome of a row of its own; `before` is the best trial that it competed with."""
        return

    def end_round(self, history: History) -> None:
        """As many outcomes came as there are rows."""
        return

    def document(self) -> Mapping[str, Any]:
        """What the method learned (JSON)."""
        return {}

    def load(self, document: Mapping[str, Any]) -> None:
        """Take up what `document` saved."""
        return

    def places_kept(self) -> set[int]:
        """Trials beside the members whose places will be needed."""
        return set()

    # what methods use

    def place(self, history: History, number: int | None) -> Array:
        """The (n,) place of a trial."""
        assert number is not None
        if number not in self._rows:
            rng = self.problem.generator(number if self.places.has_room else 0, f"{self.name} place")
            self._rows[number] = self.places.place(self.trial(history, number).parameters, rng)
        return self._rows[number]

    def trial(self, history: History, number: int | None) -> Observation:
        """A trial by number."""
        found = None if number is None else history.get(number)
        assert found is not None
        return found

    def members(self) -> list[int]:
        """Rows that have an evaluated member."""
        return [r for r in self.live if self.best[r] is not None]

    def by_merit(self, history: History) -> list[int]:
        """The rows of `members`, by their best trial, the best one first."""
        if self._order is None:
            rows = self.members()
            for row in self._unscored.intersection(rows):
                self._scores.put(row, history, self.trial(history, self.best[row]))
            self._unscored.difference_update(rows)
            self._order = self._scores.order(rows)
        return self._order

    def compared(self, history: History, first: Observation, second: Observation) -> tuple[float, float]:
        """Ranks of two trials; a pruned one counts by the median of all members, not of these two."""
        pair = [first, second]
        if any(t.state is TrialState.PRUNED for t in pair):
            numbers = {self.best[r] for r in self.members()} - {first.number, second.number}
            pair += [self.trial(history, n) for n in sorted(n for n in numbers if n is not None)]
        found = ranks(history, pair)
        return found[0], found[1]

    def retire_worst(self, history: History) -> None:
        """Take the worst row out of use: one without a member first."""
        self.live.remove(self._worst(history))
        self._order = None

    def has_collapsed(self, history: History) -> bool:
        """Whether all members, and their newest trials, stand in one place; never where no parameter is continuous."""
        real = self.places.is_real
        if len(self.live) < 2 or not real.any() or any(self.best[r] is None for r in self.live):
            return False
        numbers = [n for r in self.live for n in (self.now[r], self.best[r]) if n is not None]
        first = self.place(history, numbers[0])[real]
        return all(float(np.abs(self.place(history, n)[real] - first).max()) < COLLAPSED for n in numbers)

    def begin_anew(self, history: History) -> None:
        """Forget every member but the best; their rows are drawn again."""
        keep = self.by_merit(history)[0]
        for row in range(self.size):
            if row != keep:
                self.now[row] = None
                self._lead(row, None)
        self.era += 1

    # outcomes

    def _catch_up(self, history: History) -> None:
        for trial in history.finished_after(self._seen):
            self._seen = trial.told_seq
            if trial.state in EVALUATED:
                self._take(history, trial)

    def _take(self, history: History, trial: Observation) -> None:
        is_own = trial.origin.get("method") == self.name
        is_old = is_own and trial.origin["era"] < self.era
        row = trial.origin["row"] if is_own else -1
        if is_old:
            row = self.by_merit(history)[0]  # only the member that was kept still has a place to lose
        elif row not in self.live:
            row = self._worst(history)
        before = self.best[row]
        if "again" in trial.origin and is_own:
            if before == trial.origin["again"] and not is_old:
                self._lead(row, trial.number)  # what is newer counts, so that no lucky value stays
            self._count(history)
            return
        is_better = before is None or self._is_better(history, trial, before)
        if is_better:
            self._lead(row, trial.number)
        if is_own and not is_old and row == trial.origin["row"]:
            self.now[row] = max(trial.number, self.now[row] or 0)
            self.learn(history, trial, row, before, is_better)
        elif is_better:
            self.now[row] = trial.number
        if is_own:
            self._count(history)

    def _lead(self, row: int, number: int | None) -> None:
        """A trial becomes the best of its row."""
        self.best[row], self._order = number, None
        self._unscored.add(row)

    def _is_better(self, history: History, trial: Observation, than: int) -> bool:
        new, old = self.compared(history, trial, self.trial(history, than))
        return new < old or (new == old and trial.state is not TrialState.INFEASIBLE and trial.number > than)

    def _count(self, history: History) -> None:
        self.told += 1
        self._in_round += 1
        if self._in_round >= len(self.live):
            self._in_round = 0
            self.rounds += 1
            self.end_round(history)
            kept = {*self.now, *self.best} | self.places_kept()
            self._rows = {n: x for n, x in self._rows.items() if n in kept}

    def _worst(self, history: History) -> int:
        empty = [r for r in self.live if self.best[r] is None]
        return empty[-1] if empty else self.by_merit(history)[-1]

    # proposals

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._catch_up(history)
        turn, free = self._turns.turn(history, self.live)
        keys: set[str] = set()
        found: list[Suggestion] = []
        for number in range(history.next_number, history.next_number + count):
            if not free:
                turn, free = turn + 1, self.live[::-1]
            row = free.pop()
            point, remembered = self._propose(history, turn, row, number, keys)
            if point is None:
                break
            keys.add(point_key(point))
            origin = {"method": self.name, "generation": turn, "row": row, "era": self.era, **remembered}
            found.append(Suggestion(parameters=point, reason=self.reason(turn, row, remembered), origin=origin))
        return found

    def reason(self, turn: int, row: int, remembered: Mapping[str, Any]) -> str:
        """Why the point, for people."""
        how = ", drawn at random" if "drawn" in remembered else ", the best once more" if "again" in remembered else ""
        return f"round {turn}, row {row}, {len(self.live)} rows" + how

    def _propose(
        self, history: History, turn: int, row: int, number: int, keys: set[str]
    ) -> tuple[Point | None, Mapping[str, Any]]:
        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        space = self.problem.space
        if self.repeats and self.problem.spec.is_noisy and self._leads(history, row):
            return dict(self.trial(history, self.best[row]).parameters), {"again": self.best[row]}
        for attempt in range(TRIES):
            rng = self.problem.generator(turn, f"{self.name} {row}" + (f" {attempt}" if attempt else ""))
            moved = self.move(history, row, rng)
            if moved is None:
                break
            point = self.places.point(moved[0])
            if not space.broken(point) and not (self._must_differ and is_known(point_key(point))):
                return point, moved[1]
        rng = self.problem.generator(number, f"{self.name} outside")
        drawn = unused(space, is_known, rng) if self._must_differ else draw(space, rng)
        return drawn, {"drawn": True}

    def _leads(self, history: History, row: int) -> bool:
        rows = self.by_merit(history)
        return len(rows) > 1 and rows[0] == row

    # the state

    def state(self) -> Blob | None:
        """Which trials are members, what the method learned, and how far the outcomes have been read."""
        document = {
            "basis": self._basis(), "seen": self._seen, "open": self._turns.open, "told": self.told, "rounds": self.rounds,
            "in_round": self._in_round, "era": self.era, "live": self.live, "now": self.now, "best": self.best,
            "learned": self.document(),
        }  # fmt: skip
        return Blob(version=self.version, document=document)

    def _basis(self) -> Sequence[Any]:
        """What a saved state must agree with: limits may be changed while a study runs."""
        return [self.size, self.problem.spec.limits.max_trials]

    def _restore(self, saved: Mapping[str, Any]) -> None:
        self._seen, self._turns.open, self._in_round = saved["seen"], saved["open"], saved["in_round"]
        self.told, self.rounds, self.era = saved["told"], saved["rounds"], saved["era"]
        self.live, self.now, self.best = list(saved["live"]), list(saved["now"]), list(saved["best"])
        self.load(saved["learned"])

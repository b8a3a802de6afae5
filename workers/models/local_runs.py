"""Searches that go one step after another, driven by trials that come in any order.

A search is a coroutine that wishes for points and is sent their outcomes. It is found again from the trials alone: what a wish is
worth is looked up by the point, so that points asked ahead, a user's own and those of another process all count. Several searches go
side by side (chains); where one ends the chain begins another (a round). Chain, round and start stand on the trials (`origin`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.domain.codec import Codec
from services.domain.history import History, Observation
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.suggester import Problem, Suggestion
from services.domain.trial import TrialState

Array = NDArray[np.float64]

FEASIBLE, PRUNED, VIOLATED, UNKNOWN, FORBIDDEN = range(5)
LARGEST = 1e280  # differences of values stay finite, also divided by a small step
MOST_TRIES = 2
MOST_EMPTY_ROUNDS = 3


@dataclass(frozen=True)
class Outcome:
    """What came of a point.

    Attributes:
        kind: `FEASIBLE`; `PRUNED` (the last measurement stands); `VIOLATED` (constraints are broken); `UNKNOWN` (infeasible, or failed
            twice: nothing was measured); `FORBIDDEN` (parameter constraints are broken: no trial was made).
        value: the objective, to be minimised; 0 where it is not known.
        violations: of each bound of the study's constraints, NaN where it is not known, then the margin of each parameter
            constraint; kept where <= 0. Empty where nothing is known.
    """

    kind: int
    value: float
    violations: tuple[float, ...]

    @property
    def order(self) -> tuple[int, float]:
        """Sorts from the best: feasible, pruned, then by violation, then what is not known."""
        if self.kind in (FEASIBLE, PRUNED):
            return self.kind, self.value
        return self.kind, min(sum(v for v in self.violations if v > 0), LARGEST)


@dataclass(frozen=True)
class Wish:
    """What a search wants to know: (n,) points in the unit cube.

    Attributes:
        needed: their outcomes are sent back, in this order.
        ahead: may be needed next.
        note: what for, for people.
    """

    needed: tuple[Array, ...]
    ahead: tuple[Array, ...] = ()
    note: str = ""


Search = Generator[Wish, list[Outcome], None]


@dataclass
class _Run:
    round: int
    origin: Observation | None
    start: Array
    search: Search
    wish: Wish | None = None


@dataclass
class _Known:
    """What the trials say, by point."""

    pending: dict[int, str] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    starts: dict[int, tuple[int, float]] = field(default_factory=dict)  # what others proposed, by how good it was
    used: set[int] = field(default_factory=set)
    rounds: dict[int, tuple[int, int | None]] = field(default_factory=dict)  # by chain: the latest, and where it began


class LocalRuns:
    """Proposes what the searches need, then what they may need, then from anywhere.

    Args:
        problem: of numbers and ordered levels.
        method: name on the trials' origins.
        begin: makes a search that starts at an (n,) point of the unit cube, n free coordinates.
        chains: searches that may go side by side; one more begins when all wait for trials.
    """

    def __init__(self, problem: Problem, method: str, begin: Callable[[Array], Search], chains: int) -> None:
        self._problem, self._method, self._begin, self._most = problem, method, begin, chains
        self._codec = Codec(problem.space)
        self._free = np.array([c.levels != 1 for c in self._codec.coordinates])
        self._forget()

    def _forget(self) -> None:
        self._known, self._seq, self._next_number = _Known(), 0, 1
        self._is_dry = False  # nothing that a new search would wish for is unknown
        self._runs: dict[int, _Run] = {}

    # -- what the trials say

    def _read(self, history: History) -> None:
        changed = history.finished_after(self._seq)
        if any(t.number in self._known.finished for t in changed) or history.next_number < self._next_number:
            self._forget()  # an outcome was replaced, or this is an earlier state of the study
            changed = history.finished
        new = (history.get(n) for n in range(self._next_number, history.next_number))
        for trial in new:
            if trial is not None:
                self._note(trial)
        for trial in changed:
            self._learn(history, trial)
        self._seq, self._next_number, self._is_dry = history.seq, history.next_number, False
        # A run whose trials were never made is begun again, from what is known then.
        rounds = self._known.rounds
        self._runs = {c: r for c, r in self._runs.items() if c in rounds and rounds[c][0] == r.round}

    def _is_step(self, trial: Observation) -> bool:
        return trial.origin.get("method") == self._method and "chain" in trial.origin

    def _note(self, trial: Observation) -> None:
        self._known.pending[trial.number] = point_key(trial.parameters)
        if not self._is_step(trial):
            return
        chain, number = int(trial.origin["chain"]), int(trial.origin["round"])
        start = trial.origin.get("from")
        if start is not None:
            self._known.used.add(int(start))
        if number >= self._known.rounds.get(chain, (0, None))[0]:
            self._known.rounds[chain] = (number, start)

    def _learn(self, history: History, trial: Observation) -> None:
        known = self._known
        known.finished.add(trial.number)
        key = known.pending.pop(trial.number, None) or point_key(trial.parameters)
        outcome = self._outcome(history, trial)
        if outcome is None:
            known.failures[key] = known.failures.get(key, 0) + 1
            if known.failures[key] >= MOST_TRIES or self._problem.space.is_finite:
                known.outcomes.setdefault(key, Outcome(UNKNOWN, 0.0, ()))
            return
        known.outcomes.setdefault(key, outcome)
        if outcome.kind <= VIOLATED and not self._is_step(trial):
            known.starts[trial.number] = outcome.order

    def _outcome(self, history: History, trial: Observation) -> Outcome | None:
        """What a trial is worth; None where another try may be worth more."""
        if trial.state in (TrialState.FAILED, TrialState.CANCELLED):
            return None
        objective = history.spec.objectives[0]
        if trial.state is TrialState.INFEASIBLE or objective.metric not in trial.metrics:
            return Outcome(UNKNOWN, 0.0, ())
        value = trial.metrics[objective.metric] * (1 if objective.goal == "minimize" else -1)
        value = min(max(value, -LARGEST), LARGEST)
        if trial.state is TrialState.PRUNED:
            return Outcome(PRUNED, value, ())
        violations = tuple(min(max(v, -LARGEST), LARGEST) for v in history.violations(trial))
        return Outcome(
            VIOLATED if max(violations, default=0.0) > 0 else FEASIBLE,
            value,
            violations + self._margins(trial.parameters),
        )

    # -- the searches

    def _run(self, history: History, chain: int) -> _Run:
        """A chain's open search, sent all that is known; its wish is None when it ended and nothing follows."""
        run = self._runs.get(chain)
        if run is None:
            number, start = self._known.rounds.get(chain, (0, self._best_start(chain, 0)))
            run = self._runs[chain] = self._started(history, chain, number, start)
        self._send_known(run)
        for _ in range(MOST_EMPTY_ROUNDS):
            if run.wish is not None or self._is_dry:
                break
            number = run.round + 1
            run = self._runs[chain] = self._started(history, chain, number, self._best_start(chain, number))
            self._send_known(run)
        self._is_dry = self._is_dry or run.wish is None
        return run

    def _best_start(self, chain: int, number: int) -> int | None:
        """The best trial of others that no search began at; the first search takes any, a later one what is not used."""
        taken = self._known.used | {r.origin.number for r in self._runs.values() if r.origin is not None}
        free = [(order, n) for n, order in self._known.starts.items() if n not in taken]
        return min(free)[1] if free else None

    def _started(self, history: History, chain: int, number: int, start: int | None) -> _Run:
        trial = None if start is None else history.get(start)
        row = self._codec.encode(trial.parameters) if trial is not None else self._place(chain, number)
        search = self._begin(row[self._free])
        return _Run(number, trial, row, search, next(search, None))

    def _place(self, chain: int, number: int) -> Array:
        """Where a search begins that nobody gave a start: the default or the middle for the first, else anywhere allowed."""
        space = self._problem.space
        if chain == number == 0:
            point = space.default() or self._codec.decode(np.full(self._codec.dimensions, 0.5))
            if not space.broken(point):
                return self._codec.encode(point)
        found = draw(space, self._problem.generator(number, f"{self._method} start {chain}"))
        return np.full(self._codec.dimensions, 0.5) if found is None else self._codec.encode(found)

    def _send_known(self, run: _Run) -> None:
        while run.wish is not None:
            outcomes = [self._look_up(self._point(run, row)) for row in run.wish.needed]
            if any(o is None for o in outcomes):
                return
            try:
                run.wish = run.search.send([o for o in outcomes if o is not None])
            except StopIteration:
                run.wish = None

    def _point(self, run: _Run, free: Array) -> Point:
        if run.origin is not None and np.array_equal(free, run.start[self._free]):
            return run.origin.parameters  # itself, and not what is left of it after two changes of scale
        row = run.start.copy()
        row[self._free] = free
        return self._codec.decode(row)

    def _margins(self, point: Point) -> tuple[float, ...]:
        expressions = self._problem.space.expressions
        return tuple(min(e.margin(point), LARGEST) if e.names <= point.keys() else 0.0 for e in expressions)

    def _look_up(self, point: Point) -> Outcome | None:
        if self._problem.space.broken(point):
            bounds = sum((c.max is not None) + (c.min is not None) for c in self._problem.spec.constraints)
            return Outcome(FORBIDDEN, 0.0, (math.nan,) * bounds + self._margins(point))
        return self._known.outcomes.get(point_key(point))

    # -- proposing

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        self._read(history)
        given: set[str] = set()
        out = set(self._known.pending.values())
        candidates = self._candidates(history)
        found: list[Suggestion] = []
        for number in range(history.next_number, history.next_number + count):
            suggestion = next((s for s in candidates if self._is_new(s.parameters, out, given)), None)
            if suggestion is None:
                suggestion = self._anywhere(history, number, given)
            if suggestion is None:
                break
            given.add(point_key(suggestion.parameters))
            found.append(suggestion)
        return found

    def _is_new(self, point: Point, out: set[str], given: set[str]) -> bool:
        key = point_key(point)
        return key not in given and key not in out and self._look_up(point) is None

    def _candidates(self, history: History) -> Iterator[Suggestion]:
        for chain in range(self._most):
            if not self._is_dry or chain in self._known.rounds:
                yield from self._wanted(history, chain, "step")
            if chain == min(max(self._known.rounds, default=0), self._most - 1):
                for earlier in range(chain + 1):
                    yield from self._wanted(history, earlier, "ahead")

    def _wanted(self, history: History, chain: int, role: str) -> Iterator[Suggestion]:
        run = self._run(history, chain)
        if run.wish is None:
            return
        origin = {"method": self._method, "chain": chain, "round": run.round, "role": role}
        if run.origin is not None:
            origin["from"] = run.origin.number
        which = f"search {chain}" + (f", round {run.round}" if run.round else "")
        reason = f"{run.wish.note}{' (asked ahead)' if role == 'ahead' else ''}; {which}"
        for row in run.wish.needed if role == "step" else run.wish.ahead:
            yield Suggestion(parameters=self._point(run, row), reason=reason, origin=origin)

    def _anywhere(self, history: History, number: int, given: set[str]) -> Suggestion | None:
        space = self._problem.space
        rng = self._problem.generator(number, f"{self._method} anywhere")
        known = lambda key: key in given or history.has_point(key)  # noqa: E731
        point = unused(space, known, rng) if space.is_finite else draw(space, rng)
        if point is None:
            return None
        reason = "anywhere: every search waits for trials; the best of these is where the next one begins"
        return Suggestion(parameters=point, reason=reason, origin={"method": self._method, "role": "anywhere"})

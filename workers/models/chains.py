"""Annealing chains: where each stands, how hot it is, and what an outcome does to it. Read from the outcomes in the order they came.

Kirkpatrick, Gelatt, Vecchi 1983, "Optimization by Simulated Annealing"; the first temperature by the share of moves that pass
(Johnson, Aragon, McGeoch, Schevon 1989); tempering: Geyer 1991, "Markov Chain Monte Carlo Maximum Likelihood".
A trial's origin says which chain proposed it, where the chain stood (`from`) and which trial it was made from (`parent`, another one
where the chain walked over points that were known already); a late outcome moves its chain only if that still stands at `from`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from services.domain.history import History, Observation
from services.domain.suggester import Problem
from services.domain.trial import TrialState

from .generations import EVALUATED

Energy: TypeAlias = tuple[int, float]
"""(0, value) where feasible, (1, violation) where not, (2, 0) where not known: what a chain goes down."""

ACCEPTED_AT_FIRST = 0.8
EXCHANGE_STEPS = 20
FIRST_STEPS = (10, 100)
STEPS = 1000
LADDER = 2.0
LARGEST = 1e308


def initial_temperature(gaps: Sequence[float]) -> float:
    """The temperature at which a move that worsens by the median of `gaps` (> 0) is accepted in 80 % of cases; 0 without any."""
    halves = float(np.median(np.array(gaps) / 2)) if len(gaps) else 0.0  # the mean of the two in the middle is finite
    return 2 * halves / math.log(1 / ACCEPTED_AT_FIRST)


def log_chance(before: Energy, after: Energy, temperature: float | None) -> float:
    """The logarithm of Metropolis' acceptance, unlimited above: the energy lost over the temperature.

    Feasible points are always accepted from others, others never from feasible ones; what was not evaluated never is.

    Args:
        temperature: None while it is not known yet: everything of the same kind is accepted.
    """
    if after[0] == 2 or after[0] > before[0]:
        return -math.inf
    lost = after[1] / 2 - before[1] / 2  # halves, for the difference of two finite numbers must be finite
    if after[0] < before[0] or temperature is None or lost == 0:
        return 0.0 if after[0] == before[0] else math.inf
    return -lost / temperature * 2 if temperature > 0 else -math.copysign(math.inf, lost)


def accepts(log_ratio: float, u: float) -> bool:
    """Whether a move is taken whose acceptance has this logarithm, given a uniform number."""
    return log_ratio >= 0 or u < math.exp(log_ratio)


def is_own(trial: Observation) -> bool:
    """Whether a chain proposed a trial."""
    return trial.origin.keys() >= {"chain", "from", "parent"}


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How the chains cool and help each other.

    Attributes:
        trials: over which they cool.
        end_ratio: last temperature over first.
        first: the first temperature of values, None to measure it.
        exchange: what happens every 20 steps of each chain.
    """

    trials: int
    end_ratio: float
    first: float | None
    exchange: Literal["replace", "tempering", "none"]

    @property
    def first_steps(self) -> int:
        """Steps that measure the first temperature."""
        low, high = FIRST_STEPS
        return min(max(self.trials // 20, low), high)


@dataclass
class State:
    """What is kept between calls (JSON).

    Attributes:
        since: outcomes are read up to here.
        told: how many; failed and cancelled trials are none, for a late outcome may still take the place of a lost lease.
        at: number of the trial at which each chain stands, None for one that has no place yet.
        steps: tests of each chain.
        tests: of values and of violations so far.
        gaps: by how much the worse ones of these were worse.
        first: temperatures of both, None while they are measured.
        largest: of each constraint's violations.
        best: number of the best trial.
        rounds: exchanges so far.
        until: tests since the last one.
    """

    since: int = 0
    told: int = 0
    at: list[int | None] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    tests: list[int] = field(default_factory=lambda: [0, 0])
    gaps: list[list[float]] = field(default_factory=lambda: [[], []])
    first: list[float | None] = field(default_factory=lambda: [None, None])
    largest: list[float] = field(default_factory=list)
    best: int | None = None
    rounds: int = 0
    until: int = 0


class Chains:
    """The chains of a study.

    Args:
        saved: a `State` as `document` gave it; None to read the history from its beginning.
    """

    def __init__(self, problem: Problem, rules: Rules, saved: dict[str, Any] | None = None) -> None:
        self._problem, self._rules = problem, rules
        self.state = State(first=[rules.first, None]) if saved is None else State(**saved)

    def document(self) -> dict[str, Any]:
        """The state as JSON."""
        return asdict(self.state)

    # -- temperatures

    @property
    def heat(self) -> float:
        """Temperature over first temperature: from 1 down to `end_ratio` with the trials told."""
        start = self._rules.first_steps
        share = (self.state.told - start) / max(1, self._rules.trials - start)
        return float(self._rules.end_ratio ** min(max(share, 0.0), 1.0))

    def temperature(self, chain: int, kind: int) -> float | None:
        """Of one chain, for values (kind 0) or violations (kind 1); None while it is not known."""
        first = self.state.first[kind] if kind < 2 else None
        return None if first is None else min(first * self.heat * self.factor(chain), LARGEST)

    def factor(self, chain: int) -> float:
        """How much hotter than the first a chain is."""
        return LADDER**chain if self._rules.exchange == "tempering" else 1.0

    # -- outcomes

    def energy(self, history: History, trial: Observation) -> Energy:
        """What a chain goes down; a pruned trial counts as not evaluated, for it was given up as worse than others."""
        if trial.state is not TrialState.COMPLETED:
            return 2, 0.0
        broken = [max(0.0, v) for v in history.violations(trial)]
        if any(broken):
            return 1, sum(v / scale for v, scale in zip(broken, self.state.largest, strict=True) if scale > 0)
        return 0, history.values(trial)[0]

    def energy_at(self, history: History, number: int) -> Energy:
        """The energy of a trial by number."""
        trial = history.get(number)
        return (2, 0.0) if trial is None else self.energy(history, trial)

    def read(self, history: History) -> None:
        """Take in the outcomes that came since the last call."""
        for trial in history.finished_after(self.state.since):
            self.state.since = trial.told_seq
            if trial.state in EVALUATED:
                self.state.told += 1
                self._take_in(history, trial)

    def _take_in(self, history: History, trial: Observation) -> None:
        state = self.state
        if trial.state is TrialState.COMPLETED:
            found = [max(0.0, v) for v in history.violations(trial)]
            state.largest = [max(pair) for pair in zip(state.largest or [0.0] * len(found), found, strict=True)]
        energy = self.energy(history, trial)
        if energy[0] < 2 and (state.best is None or energy < self.energy_at(history, state.best)):
            state.best = trial.number
        if is_own(trial):
            self._step(history, trial, trial.origin["chain"], energy)
        elif energy[0] < 2 and (known := self.standing(history)) and energy < min(e for e, _ in known):
            state.at[max(known)[1]] = trial.number  # a better point of the user's own: the worst chain goes there

    def standing(self, history: History) -> list[tuple[Energy, int]]:
        """Energy and index of every chain that has a place."""
        return [(self.energy_at(history, at), c) for c, at in enumerate(self.state.at) if at is not None]

    def place(self, chain: int) -> int | None:
        """Number of the trial at which a chain stands."""
        return self.state.at[chain] if chain < len(self.state.at) else None

    def _step(self, history: History, trial: Observation, chain: int, energy: Energy) -> None:
        """The acceptance test of a chain's own proposal; no test where the chain has moved on since, or for its first place."""
        state, parent = self.state, trial.origin["parent"]
        if self.place(chain) != trial.origin["from"] or (parent is None and energy[0] == 2):
            return
        missing = chain + 1 - len(state.at)
        state.at += [None] * missing
        state.steps += [0] * missing
        state.at[chain] = trial.number if parent is None else parent
        if parent is not None:
            self._test(history, trial, chain, energy)

    def _test(self, history: History, trial: Observation, chain: int, energy: Energy) -> None:
        state = self.state
        state.steps[chain] += 1
        before = self.energy_at(history, trial.origin["parent"])
        ratio = log_chance(before, energy, self.temperature(chain, energy[0])) + trial.origin.get("odds", 0.0)
        if accepts(ratio, float(self._problem.generator(trial.number, "annealing test").random())):
            state.at[chain] = trial.number
        self._measure(before, energy)
        state.until += 1
        if state.until >= EXCHANGE_STEPS * sum(at is not None for at in state.at):
            state.until = 0
            self._exchange(history)

    def _measure(self, before: Energy, after: Energy) -> None:
        """Learn the first temperature from the moves made without one."""
        state, kind = self.state, after[0]
        if kind == 2 or before[0] != kind or state.first[kind] is not None:
            return
        state.tests[kind] += 1
        gap = after[1] - before[1]
        if gap > 0:
            state.gaps[kind].append(min(gap, LARGEST))
        if state.tests[kind] >= self._rules.first_steps and state.gaps[kind]:
            state.first[kind] = min(initial_temperature(state.gaps[kind]), LARGEST)
            state.gaps[kind] = []

    def _exchange(self, history: History) -> None:
        state = self.state
        state.rounds += 1
        known = self.standing(history)
        if self._rules.exchange == "replace":
            state.at[max(known)[1]] = state.at[min(known)[1]]
        elif self._rules.exchange == "tempering":
            self._temper(known)

    def _temper(self, known: list[tuple[Energy, int]]) -> None:
        """Neighbours in temperature change places, even pairs and odd pairs by turns."""
        state = self.state
        rng = self._problem.generator(state.rounds, "annealing exchange")
        for i in range(state.rounds % 2, len(known) - 1, 2):
            (here, low), (there, high), u = known[i], known[i + 1], float(rng.random())
            cold, hot = self.temperature(low, here[0]), self.temperature(high, there[0])
            if cold is not None and hot is not None and accepts(log_exchange(here, there, cold, hot), u):
                state.at[low], state.at[high] = state.at[high], state.at[low]


def log_exchange(low: Energy, high: Energy, cold: float, hot: float) -> float:
    """The logarithm of the chance that a chain at `cold` and one at `hot` change places: the better one belongs to the cold."""
    if low[0] != high[0] or cold <= 0:
        return math.inf if low > high else -math.inf
    return (1 / cold - 1 / hot) * (low[1] - high[1])

"""Differential evolution that adapts itself: differences between members are the steps, what succeeded sets how long they are.

Storn, Price 1997; the mutation with an archive is JADE's (Zhang, Sanderson 2009), the memory of successes SHADE's (Tanabe, Fukunaga
2013) and the shrinking population L-SHADE's (Tanabe, Fukunaga 2014). Steady state: each outcome competes with its own target.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester
from services.domain.trial import TrialState
from workers.models.generations import ranks
from workers.models.positions import Places
from workers.models.steady_state import Move, SteadyState, usual_rows

Array = NDArray[np.float64]
MEMORY = 6
SPREAD = 0.1
FEWEST = 4
MOST_ROWS = 100


class DeOptions(Document):
    """What differential evolution can be told."""

    popsize: int | None = Field(
        default=None,
        ge=FEWEST,
        le=10_000,
        description="Members at first, a third of limits.max_trials at most; 10 + 2 n, from 20 to 100, if absent.",
    )
    scale: float = Field(default=0.5, gt=0, le=1, description="F at first: the length of steps, adapted from then on.")
    crossover: float = Field(
        default=0.9, ge=0, le=1, description="CR at first: share of coordinates that a step changes."
    )
    best_share: float = Field(
        default=0.1, gt=0, le=1, description="p: steps lead to one of this share of best members."
    )
    shrink: bool = Field(
        default=True, description="Shrink the population to 4 over limits.max_trials, where that is set."
    )


class DifferentialEvolution(SteadyState):
    """current-to-pbest/1/bin with success history, archive and, where the budget is known, a population that shrinks."""

    name = "de"

    def __init__(self, problem: Problem, options: DeOptions, blob: Blob | None) -> None:
        self._options = options
        self._scales: list[float] = [options.scale] * MEMORY
        self._crossovers: list[float | None] = [options.crossover] * MEMORY  # None: no success with any, 0 for good
        self._next = 0
        self._successes: list[tuple[float, float, float | None]] = []  # F, CR, gain
        self._archive: list[int] = []
        super().__init__(problem, options.popsize or usual_rows(problem, MOST_ROWS), blob)

    def move(self, history: History, row: int, rng: np.random.Generator) -> Move | None:
        """A mutant of the row's member crossed with it."""
        rows = self.by_merit(history)
        if self.best[row] is None or len(rows) < FEWEST:
            return None
        scale, crossover = self._drawn(rng)
        top = rows[: max(2, round(self._options.best_share * len(rows)))]
        towards = self.best[top[int(rng.integers(len(top)))]]
        target = self.best[row]
        others = [self.best[r] for r in rows if r != row]
        plus = others[int(rng.integers(len(others)))]
        pool = [n for n in others if n != plus] + [n for n in self._archive if n != target]
        minus = pool[int(rng.integers(len(pool)))]
        x, p, a, b = (self.place(history, n) for n in (target, towards, plus, minus))
        mutant = mutated(x, p, a, b, scale)
        return crossed(x, mutant, self.places.groups, crossover, rng), {"scale": scale, "crossover": crossover}

    def _drawn(self, rng: np.random.Generator) -> tuple[float, float]:
        """F and CR around one entry of the memory."""
        k = int(rng.integers(MEMORY))
        middle = self._crossovers[k]
        crossover = 0.0 if middle is None else float(np.clip(rng.normal(middle, SPREAD), 0.0, 1.0))
        scale = 0.0
        while scale <= 0.0:
            scale = self._scales[k] + SPREAD * float(rng.standard_cauchy())
        return min(scale, 1.0), crossover

    def learn(self, history: History, trial: Observation, row: int, before: int | None, is_better: bool) -> None:
        """A step that gained is a success; the member that it beat goes to the archive."""
        if before is None or not is_better:
            return
        is_gain, gain = _gain(history, trial, self.trial(history, before))
        if not is_gain:
            return
        if "scale" in trial.origin:
            self._successes.append((trial.origin["scale"], trial.origin["crossover"], gain))
        self._archive.append(before)
        self._trim()

    def _trim(self) -> None:
        rng = self.problem.generator(self.told, "de archive")
        while len(self._archive) > len(self.live):
            self._archive.pop(int(rng.integers(len(self._archive))))

    def end_round(self, history: History) -> None:
        """Remember what succeeded, shrink, begin anew where nothing differs any more."""
        if self._successes:
            self._scales[self._next], self._crossovers[self._next] = _adapted(
                self._successes, self._crossovers[self._next]
            )
            self._next = (self._next + 1) % MEMORY
            self._successes = []
        budget = self.problem.spec.limits.max_trials
        if self._options.shrink and budget is not None:
            wanted = round(self.size + (min(FEWEST, self.size) - self.size) * min(1.0, self.told / budget))
            while len(self.live) > wanted:
                self.retire_worst(history)
            self._trim()
        if self.has_collapsed(history):
            self.begin_anew(history)
            self._archive = []

    def places_kept(self) -> set[int]:
        """The archive."""
        return set(self._archive)

    def reason(self, turn: int, row: int, remembered: Mapping[str, Any]) -> str:
        """Round, row and step."""
        step = f", F {remembered['scale']:.2f}, CR {remembered['crossover']:.2f}" if "scale" in remembered else ""
        return super().reason(turn, row, remembered) + step

    def document(self) -> Mapping[str, Any]:
        """Memory, successes of the open round, archive."""
        return {
            "scales": self._scales, "crossovers": self._crossovers, "next": self._next, "archive": self._archive,
            "successes": [list(s) for s in self._successes],
        }  # fmt: skip

    def load(self, document: Mapping[str, Any]) -> None:
        """Take them up."""
        self._scales, self._crossovers = list(document["scales"]), list(document["crossovers"])
        self._next, self._archive = document["next"], list(document["archive"])
        self._successes = [(s[0], s[1], s[2]) for s in document["successes"]]


def mutated(x: Array, towards: Array, plus: Array, minus: Array, scale: float) -> Array:
    """x + F (p - x) + F (a - b); what leaves the cube goes half the way from x to the wall."""
    found = x + scale * (towards - x) + scale * (plus - minus)
    found = np.where(found < 0.0, x / 2, found)
    return np.asarray(np.where(found > 1.0, (1.0 + x) / 2, found))


def crossed(x: Array, mutant: Array, groups: NDArray[np.int_], share: float, rng: np.random.Generator) -> Array:
    """Binomial crossover: each group of columns from the mutant with probability `share`, and one in any case."""
    count = int(groups[-1]) + 1
    taken = rng.random(count) < share
    taken[int(rng.integers(count))] = True
    return np.where(taken[groups], mutant, x)


def _gain(history: History, trial: Observation, parent: Observation) -> tuple[bool, float | None]:
    """Whether a trial is strictly better, and by how much where both are feasible values."""
    new, old = ranks(history, [trial, parent])
    if new >= old:
        return False, None
    if not all(t.state is TrialState.COMPLETED and max(history.violations(t), default=0) <= 0 for t in (trial, parent)):
        return True, None
    gain = history.values(parent)[0] - history.values(trial)[0]
    return True, gain if math.isfinite(gain) else None


def _adapted(
    successes: Sequence[tuple[float, float, float | None]], before: float | None
) -> tuple[float, float | None]:
    """The new entry of the memory: Lehmer means weighted by gain; steps without a number weigh as the others' mean."""
    known = np.array([g for _, _, g in successes if g is not None])
    top = float(known.max()) if known.size and known.max() > 0 else 1.0
    usual = float((known / top).mean()) if known.size else 1.0
    weights = np.array([usual if g is None else g / top for _, _, g in successes])
    scales, crossovers = (np.array([s[i] for s in successes]) for i in (0, 1))
    scale = float((weights * scales**2).sum() / (weights * scales).sum())
    if before is None or crossovers.max() <= 0.0:
        return scale, None
    total = float((weights * crossovers).sum())
    return scale, float((weights * crossovers**2).sum() / total) if total > 0 else None


def _refuse(spec: StudySpec, _: DeOptions) -> list[FieldError]:
    size = Places(spec.space).size
    return [FieldError("/parameters", f"de serves up to 10000 coordinates, not {size}")] if size > 10_000 else []


def _create(problem: Problem, options: DeOptions, blob: Blob | None) -> Suggester:
    return DifferentialEvolution(problem, options, blob)


SPEC = Spec(
    name="de",
    summary="Differential evolution with success history: rugged or separable landscapes, mixed spaces, many workers.",
    reference="Storn, Price 1997; Tanabe, Fukunaga 2013 and 2014, SHADE and L-SHADE",
    honours=Honours(types=ENUMERABLE | {"vector"}, examples=True),
    options=DeOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

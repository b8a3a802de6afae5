"""Populations of texts: founders first, then generations, every member read from the trials.

A population is a function of the outcomes that a step knows, so nothing is kept beside the history: which trial took whose place
stands in its origin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from services.domain.history import History, Observation
from services.domain.llm import Talk
from services.domain.suggester import Blob, Problem, Suggestion

from .drafts import Attempts, Rejected, Texts
from .merit import Scored, scored
from .steps import CLOSING_SHARE, Step, Steps, Writer
from .texts import candidate_key, components, starting_candidates

Array = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True)
class Member:
    """A candidate with an outcome.

    Attributes:
        trial: the first one with these texts that told something.
        texts: by component.
        merit: mean over the trials with these texts, higher is better.
    """

    trial: Observation
    texts: Texts
    merit: float

    @property
    def number(self) -> int:
        """Of its trial."""
        return self.trial.number

    def remembers(self, method: str) -> Mapping[str, Any]:
        """What this method, its founders included, wrote on the trial; nothing where somebody else proposed it."""
        return self.trial.origin if self.trial.origin.get("method") in (method, founders_of(method)) else {}


def founders_of(method: str) -> str:
    """The name under which the founders of a method stand in the ledger."""
    return f"{method}-start"


def members(problem: Problem, found: Sequence[Scored]) -> list[Member]:
    """The distinct candidates among outcomes, in the order of their trials."""
    told: dict[Any, list[Scored]] = {}
    for outcome in found:
        told.setdefault(candidate_key(components(problem.space, outcome.trial.parameters)), []).append(outcome)
    made = []
    for outcomes in told.values():
        first = min(outcomes, key=lambda o: o.trial.number)
        merit = math.fsum(o.merit / len(outcomes) for o in outcomes)
        made.append(Member(first.trial, components(problem.space, first.trial.parameters), merit))
    return sorted(made, key=lambda m: m.number)


def best_first(pool: Sequence[Member]) -> list[Member]:
    """By merit, the older one first among equals."""
    return sorted(pool, key=lambda m: (-m.merit, m.number))


def wheel(merits: Sequence[float]) -> Array:
    """(n,) probabilities in proportion to n merits; to their ranks, 1 for the worst, where one is negative or all are 0."""
    values = np.asarray(merits, dtype=float)
    top = float(values.max())
    if values.min() < 0 or top <= 0:
        order = np.sort(values)
        lower, upper = np.searchsorted(order, values, "left"), np.searchsorted(order, values, "right")
        values, top = (lower + 1 + upper) / 2, float(len(values))  # equal ones share their mean rank
    shares = values / top
    return np.asarray(shares / shares.sum())


def write_all(
    texts: Texts, key: str, attempts: Mapping[str, Callable[[Texts], Attempts[str]]]
) -> Talk[tuple[Texts | None, Rejected]]:
    """Rewrite each component of a candidate by a call of its own, one after the other: the new texts, or None and why.

    Args:
        attempts: by component; given the texts as they stand by then.
    """
    written = dict(texts)
    rejected: tuple[str, ...] = ()
    for name, of in attempts.items():
        text, why = yield from of(dict(written)).talk(f"{key}/{name}")
        rejected += why.rejected
        if text is None:
            return None, Rejected(rejected, why.failure)
        written[name] = text
    return written, Rejected(rejected)


class OncePerStep(Generic[T]):
    """A function of a step, computed once while the slots of the same step are written."""

    def __init__(self, compute: Callable[[Step], T]) -> None:
        self._compute = compute
        self._latest: tuple[Step, T] | None = None

    def __call__(self, step: Step) -> T:
        if self._latest is None or self._latest[0] is not step:
            self._latest = step, self._compute(step)
        return self._latest[1]


class Population:
    """Hands out founders until there are enough of them, then what the generations write.

    Args:
        name: of the method.
        problem: over text parameters only.
        size: members wanted.
        founder: writes founders beside the starting texts; its size is `missing(problem, size)`.
        breeder: writes the children of a generation.
        edits: as in `Steps`.
    """

    def __init__(
        self, name: str, problem: Problem, size: int, *, founder: Writer, breeder: Writer, edits: bool = True
    ) -> None:
        self._starts = starting_candidates(problem.space)
        self._size = max(size, len(self._starts))
        self._founding = Steps(founders_of(name), problem, founder, edits=edits)
        self._breeding = Steps(name, problem, breeder, edits=edits)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` candidates.

        Raises:
            NeedsReplies: calls that a slot waits for.
        """
        if not self._is_founded(history):
            given = self._founding.suggest(history, count)
            if given or not scored(history):
                return given
        return self._breeding.suggest(history, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    def _is_founded(self, history: History) -> bool:
        """Whether three quarters of the founders are told, or a generation has begun."""
        trials = history.trials
        if any(t.origin.get("method") == self._breeding.name for t in trials):
            return True
        known = self._founding.known(history)
        if any(self._founding.key(texts) not in known for texts in self._starts):
            return False
        told = sum(not t.is_pending for t in trials)
        return len(trials) >= self._size and told >= math.ceil(CLOSING_SHARE * self._size)


def missing(problem: Problem, size: int) -> int:
    """Founders to write beside the starting texts; at least one, for whoever asks before those are told."""
    return max(1, size - len(starting_candidates(problem.space)))

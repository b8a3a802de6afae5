"""Simulated annealing: chains that accept what is worse ever more rarely; for orders, subsets, sequences and whatever has neighbours.

Kirkpatrick, Gelatt, Vecchi 1983. Chains, temperatures and acceptance stand in `workers.models.chains`, moves in `moves` and
`proposals`. In a discrete space a chain walks over points that are known without asking for them again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from services.domain.document import Document
from services.domain.errors import FieldError
from services.domain.history import History
from services.domain.sampling import draw, unused
from services.domain.space import Point, point_key
from services.domain.study import StudySpec
from services.domain.suggester import ENUMERABLE, Blob, Honours, Problem, Resources, Spec, Suggester, Suggestion
from workers.models.proposals import Proposal

if TYPE_CHECKING:
    from workers.models.chains import Chains

VERSION = 1
MOST_CHAINS = 64
MOST_TEMPERED = 8
MOST_STEPS = 64
SEQUENCES = ("tokens", "permutation")


class AnnealingOptions(Document):
    """What annealing can be told."""

    chains: int | None = Field(
        default=None, ge=1, le=256, description="At most so many; `max_running` if absent, or 64 (tempering: 8)."
    )
    initial_temperature: float | None = Field(
        default=None, gt=0, le=1e300, description="First temperature; where absent, 80 % of the first moves pass."
    )
    end_ratio: float = Field(default=1e-3, ge=1e-9, le=1, description="Last temperature over first; 1: no cooling.")
    trials: int | None = Field(
        default=None, ge=1, le=10**9, description="Trials over which it cools; `max_trials` if absent, or 1000."
    )
    exchange: Literal["replace", "tempering", "none"] = Field(
        default="replace",
        description="Every 20 steps of each chain: the worst goes where the best is, or chains, each twice as hot as the one "
        "before, change places.",
    )
    proposal: Proposal = Field(default_factory=Proposal, description="Which moves are proposed; evenly if absent.")


class Annealing:
    """Hands out the next proposal of the chain that has waited longest; opens another chain where all are out."""

    def __init__(self, problem: Problem, options: AnnealingOptions, blob: Blob | None) -> None:
        from workers.models.chains import STEPS, Chains, Rules
        from workers.models.proposals import Proposer

        limits = problem.spec.limits
        rules = Rules(
            trials=options.trials or limits.max_trials or STEPS,
            end_ratio=options.end_ratio,
            first=options.initial_temperature,
            exchange=options.exchange,
        )
        self._problem, self._space = problem, problem.space
        usual = min(limits.max_running or MOST_CHAINS, MOST_CHAINS)
        self._most = options.chains or (min(usual, MOST_TEMPERED) if options.exchange == "tempering" else usual)
        self._must_differ = self._space.is_finite and not problem.spec.is_noisy
        is_discrete = all(p.size is not None or p.type in SEQUENCES for p in self._space.parameters)
        self._remembers = is_discrete and not problem.spec.is_noisy
        self._proposer = Proposer(self._space, options.proposal)
        self._rules = {**asdict(rules), "most": self._most}
        is_same = blob is not None and blob.version == VERSION and blob.document["rules"] == self._rules
        self._chains: Chains = Chains(problem, rules, dict(blob.document["chains"]) if blob and is_same else None)
        self._numbers: dict[str, int] = {}
        self._keyed, self._first_open = 0, 1

    # -- what is known

    def _read(self, history: History) -> list[int]:
        """Take in what was told; how many proposals of each chain are out."""
        from workers.models.chains import is_own

        self._chains.read(history)
        if self._remembers:
            for trial in history.finished_after(self._keyed):
                self._numbers[point_key(trial.parameters)] = trial.number
                self._keyed = trial.told_seq
        while (first := history.get(self._first_open)) is not None and not first.is_pending:
            self._first_open += 1
        out = [0] * self._most
        for number in range(self._first_open, history.next_number):
            opened = history.get(number)
            if opened is not None and opened.is_pending and is_own(opened) and opened.origin["chain"] < self._most:
                out[opened.origin["chain"]] += 1
        return out

    def _next_chain(self, out: Sequence[int]) -> int:
        """The chain with the fewest proposals out; among equals one that has a place, with the fewest steps."""

        def rank(chain: int) -> tuple[int, bool, int, int]:
            is_new = self._chains.place(chain) is None
            return out[chain], is_new, 0 if is_new else self._chains.state.steps[chain], chain

        return min(range(self._most), key=rank)

    # -- the interface

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` points; fewer when a finite space is used up."""
        out = self._read(history)
        keys: set[str] = set()
        found: list[Suggestion] = []

        def is_known(key: str) -> bool:
            return key in keys or history.has_point(key)

        for number in range(history.next_number, history.next_number + count):
            suggestion = self._proposed(history, number, self._next_chain(out), is_known)
            if suggestion is None:
                break
            out[suggestion.origin["chain"]] += 1
            keys.add(point_key(suggestion.parameters))
            found.append(suggestion)
        return found

    def _proposed(
        self, history: History, number: int, chain: int, is_known: Callable[[str], bool]
    ) -> Suggestion | None:
        place = self._chains.place(chain)
        rng = self._problem.generator(number, f"annealing {chain}")
        origin: dict[str, Any] = {
            "chain": chain,
            "from": place,
            "parent": self._start(chain) if place is None else place,
        }
        point: Point | None = None
        if origin["parent"] is not None:
            point = self._walked(history, origin, rng, is_known)
        if point is None:
            point = unused(self._space, is_known, rng) if self._must_differ else draw(self._space, rng)
        if point is None:
            return None
        reason = (
            f"start of chain {chain}"
            if origin["parent"] is None
            else f"move of chain {chain} from trial {origin['parent']}"
        )
        temperature = self._chains.temperature(chain, 0)
        return Suggestion(parameters=point, reason=reason, origin=origin, receipt={"temperature": temperature})

    def _start(self, chain: int) -> int | None:
        """Where a chain without a place begins: at the best trial; while temperatures are measured only the first one does."""
        is_measured = any(first is not None for first in self._chains.state.first)
        return self._chains.state.best if chain == 0 or is_measured else None

    def _walked(
        self, history: History, origin: dict[str, Any], rng: np.random.Generator, is_known: Callable[[str], bool]
    ) -> Point | None:
        """The first proposal that is allowed and new, walking over known points by their outcomes; None if none was found.

        Writes on `origin` the trial that the walk came to, and the odds of the last move.
        """
        parent: int = origin["parent"]
        trial = history.get(parent)
        if trial is None:
            return None
        at = trial.parameters
        heat = self._chains.heat * self._chains.factor(origin["chain"])
        for _ in range(MOST_STEPS):
            point, odds = self._proposer.propose(at, heat, rng)
            if point == at or self._space.broken(point):
                continue
            key = point_key(point) if self._remembers else ""
            if not self._remembers or not is_known(key):
                origin["parent"] = parent
                if odds:
                    origin["odds"] = odds
                return point
            if key in self._numbers and self._accepts(history, origin["chain"], parent, self._numbers[key], odds, rng):
                parent, at = self._numbers[key], point
        for _ in range(MOST_STEPS if self._remembers else 0):  # the neighbourhood is known: moves on moves
            at, _ = self._proposer.propose(at, heat, rng)
            if not self._space.broken(at) and not is_known(point_key(at)):
                return at
        return None

    def _accepts(
        self, history: History, chain: int, parent: int, to: int, odds: float, rng: np.random.Generator
    ) -> bool:
        from workers.models.chains import accepts, log_chance

        before, after = (self._chains.energy_at(history, number) for number in (parent, to))
        ratio = log_chance(before, after, self._chains.temperature(chain, after[0])) + odds
        return accepts(ratio, float(rng.random()))

    def state(self) -> Blob:
        """Where the chains stand and up to where outcomes have been read."""
        return Blob(version=VERSION, document={"rules": self._rules, "chains": self._chains.document()})


def _refuse(spec: StudySpec, options: AnnealingOptions) -> list[FieldError]:
    where = "/suggester/options/proposal"
    return [FieldError(f"{where}{pointer}", message) for pointer, message in options.proposal.problems(spec.space)]


def _create(problem: Problem, options: AnnealingOptions, blob: Blob | None) -> Suggester:
    return Annealing(problem, options, blob)


SPEC = Spec(
    name="annealing",
    summary="Simulated annealing: for orders, subsets and token sequences, with one worker or a chain for each.",
    reference="Kirkpatrick, Gelatt, Vecchi 1983; Geyer 1991; Correia, Worrall, Bondesan 2023",
    honours=Honours(types=ENUMERABLE | {"vector", "tokens", "permutation"}, examples=True),
    options=AnnealingOptions,
    create=_create,
    resources=Resources(timeout_seconds=60.0),
    refuse=_refuse,
)

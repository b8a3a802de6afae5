"""What is known of a study, and what follows for its iterations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.domain.history import History, Observation
from services.domain.suggester import Problem
from workers.models.example_results import ExampleResults, is_valid, own_scores, sign
from workers.models.texts import candidate_key, components, starting_candidates

from . import GepaOptions
from .course import Iteration, iterations
from .pool import Key, Pool, Texts


@dataclass(frozen=True)
class Verdict:
    """What came of an iteration's probe.

    Attributes:
        seq: of its outcome.
        sums: of the parent and of the probe on the minibatch; None without valid results.
        accepted: whether the candidate earned a full evaluation.
    """

    seq: int
    sums: tuple[float, float] | None
    accepted: bool


@dataclass
class Memo:
    """What does not change once it is known, kept from ask to ask: only to save work.

    Attributes:
        texts, keys: of trials by number.
        closed: iterations that need nothing more.
        verdicts: on iterations by index.
        told: when outcomes came, by number.
    """

    texts: dict[int, Texts] = field(default_factory=dict)
    keys: dict[int, Key] = field(default_factory=dict)
    closed: set[int] = field(default_factory=set)
    verdicts: dict[int, Verdict] = field(default_factory=dict)
    told: dict[int, int] = field(default_factory=dict)

    def read(self, history: History) -> None:
        """Forget what followed from outcomes if one was replaced: a lost lease's trial was told after all."""
        told = {t.number: t.told_seq for t in history.finished}
        if any(told.get(number) != seq for number, seq in self.told.items()):
            self.closed.clear()
            self.verdicts.clear()
        self.told = told


class Known:
    """A study as told up to now.

    Attributes:
        results: every row.
        pool: the candidates scored on the full set.
        ledger: the iterations by index.
        split: of the minibatches.
    """

    def __init__(self, problem: Problem, options: GepaOptions, history: History, memo: Memo) -> None:
        self._space = problem.space
        self._options = options
        self._history = history
        self._memo = memo
        memo.read(history)
        self._sign = sign(history.spec)
        self._starts = starting_candidates(problem.space)
        self.results = ExampleResults(history)
        for trial in [*history.finished, *history.pending]:
            self.results.add(trial, self.key(trial))
        self.pool = Pool(history, self)
        self.ledger = iterations(history)
        self._lines: dict[int, dict[Key, Observation]] = {}
        examples = history.spec.examples
        self.split = "train" if examples is not None and examples.train else "validation"

    def texts(self, trial: Observation) -> Texts:
        """The candidate of a trial."""
        found = self._memo.texts.get(trial.number)
        if found is None:
            found = self._memo.texts[trial.number] = components(self._space, trial.parameters)
            self._memo.keys[trial.number] = candidate_key(found)
        return found

    def key(self, trial: Observation) -> Key:
        """What it is known by."""
        self.texts(trial)
        return self._memo.keys[trial.number]

    def keys(self) -> set[Key]:
        """Of every trial, in any state."""
        return {self.key(trial) for trial in self._history.trials}

    def sums(self, iteration: Iteration, probe: Observation) -> tuple[float, float] | None:
        """The sums of the parent and of the probe on its examples; None where the probe has no valid result on them."""
        ids = probe.origin["minibatch"]
        scores = own_scores(probe, self._history.spec)
        if not is_valid(probe) or any(i not in scores for i in ids):
            return None
        after = math.fsum(scores[i] for i in ids)
        if "merged" in probe.origin:
            sides = [self._candidate_sum(number, ids, probe.told_seq) for number in probe.origin["merged"][:2]]
            return max(sides), after
        before = self.results.total(self.parent_key(iteration), self.split, ids, probe.told_seq)
        return None if before is None else (before, after)

    def parent_key(self, iteration: Iteration) -> Key:
        """What the candidate that an iteration mutates is known by."""
        number = iteration.origin["parent"]
        trial = iteration.trials.get("parent") or (None if number is None else self._history.get(number))
        return candidate_key(self._starts[iteration.origin["of_start"]]) if trial is None else self.key(trial)

    def verdict(self, iteration: Iteration) -> Verdict | None:
        """What its probe showed; None while that is not told."""
        probe = iteration.probe
        if probe is None or probe.is_pending:
            return None
        found = self._memo.verdicts.get(iteration.index)
        if found is None:
            sums = self.sums(iteration, probe)
            accepted = sums is not None and self.is_accepted(probe, *sums)
            found = self._memo.verdicts[iteration.index] = Verdict(probe.told_seq, sums, accepted)
        return found

    def accepted_since(self, key: Key, until: int) -> list[Observation]:
        """The line of accepted children of a candidate whose full evaluations were not told up to the `seq` `until`, as known then.

        Of several children the one with the highest gain goes on, the earliest among equals.
        """
        if until not in self._lines:
            self._lines[until] = self._waiting(until)
        line: list[Observation] = []
        while key in self._lines[until] and len(line) < len(self._lines[until]):
            line.append(self._lines[until][key])
            key = self.key(line[-1])
        return line

    def _waiting(self, until: int) -> dict[Key, Observation]:
        """Of each candidate the best accepted child that waits for its full evaluation."""
        found: dict[Key, tuple[float, Observation]] = {}
        for iteration in self.ledger.values():
            verdict, probe = self.verdict(iteration), iteration.probe
            if verdict is None or verdict.sums is None or probe is None or "merged" in probe.origin:
                continue
            if not verdict.accepted or verdict.seq > until or iteration.is_scored(until):
                continue
            parent, gain = self.parent_key(iteration), verdict.sums[1] - verdict.sums[0]
            if parent not in found or gain > found[parent][0]:
                found[parent] = gain, probe
        return {parent: probe for parent, (_, probe) in found.items()}

    def _candidate_sum(self, number: int, ids: Sequence[str], until: int) -> float:
        candidate = next((c for c in self.pool.at(until) if c.number == number), None)
        scores = {} if candidate is None else dict(zip(self.pool.ids, candidate.scores, strict=True))
        return math.fsum(scores.get(i, -math.inf) for i in ids)

    def is_accepted(self, probe: Observation, before: float, after: float) -> bool:
        """Whether these sums earn the probe's candidate a full evaluation."""
        if "merged" in probe.origin or probe.origin.get("solved"):
            return after >= before
        margin = self._options.accept_margin
        return after > before + margin if self._options.accept == "better" else after >= before + margin

    def skips(self, key: Key, ids: Sequence[str], until: int) -> bool:
        """Whether every one of these examples is perfect, and that is a reason not to reflect."""
        best = self._sign * self._perfect
        scores = [self.results.score(key, self.split, i, until) for i in ids]
        return self._options.skip_perfect_score and all(s is not None and s >= best for s in scores)

    @property
    def _perfect(self) -> float:
        told = self._options.perfect_score
        return told if told is not None else (1.0 if self._sign > 0 else 0.0)

    def scale(self, scores: Sequence[float]) -> tuple[float, float]:
        """What is shown as 0 and as 100: as declared, or from nothing (or the worst here) to perfect (or the best here)."""
        declared = self._options.score_range
        if declared is not None:
            low, high = sorted(self._sign * s for s in declared)
            return low, high
        best = self._sign * self._perfect
        return min(0.0, best - 1.0, *scores) if self._sign < 0 else min(0.0, *scores), max(best, *scores)

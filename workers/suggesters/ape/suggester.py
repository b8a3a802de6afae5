"""The course of APE: iterations over a pool of candidates; in each, rounds of the bandit on few examples, then the full set.

Where a trial belongs stands in its origin (iteration, round, what was known when they opened), so the course is read from the history.
A round is over when three quarters of it are told; who asks before waits, since all of it is handed out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.domain.history import History, Observation
from services.domain.llm import converse
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.drafts import Rejected, Texts, in_words
from workers.models.merit import best, is_full, scored
from workers.models.phrases import neighbour
from workers.models.steps import CLOSING_SHARE
from workers.models.texts import (
    TextRules,
    candidate_key,
    components,
    known_keys,
    starting_candidates,
    tally,
    text_parameters,
)  # fmt: skip

from . import ApeOptions
from .bandit import arms, by_bound, by_mean
from .candidates import NAME, Sampling, distinct


@dataclass(frozen=True)
class Round:
    """A round that candidates are handed out from.

    Attributes:
        iteration: from 0.
        index: in the iteration; the last one scores on the full set.
        opened: the `seq` when the iteration began.
        snapshot: the `seq` when the round began.
        trials: handed out already.
    """

    iteration: int
    index: int
    opened: int
    snapshot: int
    trials: Sequence[Observation] = ()

    @property
    def is_told(self) -> bool:
        """Whether three quarters of what was handed out are told."""
        return sum(not t.is_pending for t in self.trials) >= math.ceil(CLOSING_SHARE * len(self.trials))


@dataclass(frozen=True)
class Pool:
    """The candidates of an iteration.

    Attributes:
        texts: distinct, in order.
        why: what kept the language model from writing more.
        is_away: calls failed and none brought a text: the iteration cannot begin.
    """

    texts: Sequence[Texts]
    why: Rejected
    is_away: bool


class Ape:
    """The suggester: all it knows is on the trials."""

    def __init__(self, problem: Problem, options: ApeOptions) -> None:
        self._problem, self._options = problem, options
        self._starts = [s for s in starting_candidates(problem.space) if _says_something(problem, s)]
        self._sampling = Sampling(problem, options)
        has_bandit = problem.spec.examples is not None and options.scoring != "all"
        self._pulls = options.rounds if has_bandit else 0

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` candidates; fewer while a round waits for its outcomes.

        Raises:
            NeedsReplies: calls that the candidates wait for.
        """
        known = known_keys(history)
        given = [self._start(texts) for texts in self._starts if candidate_key(texts) not in known][:count]
        current = self._latest(history)
        for _ in range(self._pulls + 3):
            if len(given) == count:
                return given
            pool = self._pool(history, current)
            if pool.is_away:
                break
            free = self._free(history, current, pool, {candidate_key(s.parameters) for s in given})
            given += [self._suggestion(current, pool, texts) for texts in free[: count - len(given)]]
            if given or not current.is_told:
                return given
            current = self._next(history, current)
        return given or self._edits(history, current, pool, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    @staticmethod
    def _start(texts: Texts) -> Suggestion:
        return Suggestion(parameters=dict(texts), reason="a starting text", origin={"start": True})

    # -- the course, read from the trials

    def _latest(self, history: History) -> Round:
        places = [_place(t) for t in history.trials if t.origin.get("method") == NAME]
        return self._at(history, *max(places, default=(0, 0)))

    def _next(self, history: History, current: Round) -> Round:
        is_last = current.index >= self._pulls
        return self._at(history, current.iteration + is_last, 0 if is_last else current.index + 1)

    def _at(self, history: History, iteration: int, index: int) -> Round:
        ours = [t for t in history.trials if t.origin.get("method") == NAME and t.origin["iteration"] == iteration]
        trials = [t for t in ours if _place(t) == (iteration, index)]
        recorded = history.replies.snapshot(f"{NAME}-{iteration}")
        opened = [t.origin["opened"] for t in ours] + ([] if recorded is None else [recorded])
        return Round(
            iteration, index, min(opened, default=history.seq),
            min((t.origin["snapshot"] for t in trials), default=history.seq), trials,
        )  # fmt: skip

    # -- who is in it

    def _pool(self, history: History, current: Round) -> Pool:
        kept = self._kept(history, current) if current.iteration else self._starts
        sampled = converse(self._sampling.talks(current.iteration, current.opened, kept), history.replies)
        failure = next((s.failure for s in sampled if s.failure), None)
        rejected = tuple(reason for s in sampled for reason in s.rejected)
        written = [texts for s in sampled for texts in s.texts]
        return Pool(distinct([*kept, *written]), Rejected(rejected, failure), failure is not None and not written)

    def _kept(self, history: History, current: Round) -> list[Texts]:
        """The top share, as large as the iteration before had candidates for, of all that was told when this one began."""
        found = scored(history, current.opened)
        known = arms(found, self._key)
        before = {self._key(s) for s in found if s.trial.origin.get("iteration") == current.iteration - 1}
        told = distinct(components(self._problem.space, s.trial.parameters) for s in found)
        order = by_mean([candidate_key(t) for t in told], known)
        return [told[i] for i in order[: max(1, math.ceil(self._options.keep * len(before)))]] or self._starts

    def _free(self, history: History, current: Round, pool: Pool, given: set[Any]) -> list[Texts]:
        """What is left to hand out of a round."""
        taken = {self._key_of(t) for t in current.trials} | given
        found = scored(history, current.snapshot)
        keys = [candidate_key(t) for t in pool.texts]
        if current.index < self._pulls:
            rng = self._problem.generator(current.index, f"{NAME} round {current.iteration}")
            order = by_bound(keys, arms(found, self._key), self._options.exploration, rng)[: self._options.per_round]
        else:
            order = self._finals(history, current, keys)
        return [pool.texts[i] for i in order if keys[i] not in taken]

    def _finals(self, history: History, current: Round, keys: Sequence[Any]) -> list[int]:
        """The bandit's best ones that nobody scored on the full set yet; without it all that are new."""
        if not self._pulls:
            known = known_keys(history)
            return [i for i, key in enumerate(keys) if key not in known]
        own = {t.number for t in current.trials}
        full = {self._key_of(t) for t in history.trials if is_full(t, history.spec) and t.number not in own}
        order = by_mean(keys, arms(scored(history, current.snapshot), self._key))[: self._options.finalists]
        return [i for i in order if keys[i] not in full]

    def _key(self, outcome: Any) -> Any:
        return self._key_of(outcome.trial)

    def _key_of(self, trial: Observation) -> Any:
        return candidate_key(components(self._problem.space, trial.parameters))

    # -- suggestions

    def _suggestion(self, current: Round, pool: Pool, texts: Texts) -> Suggestion:
        is_pull = current.index < self._pulls
        receipt: dict[str, Any] = {
            "iteration": current.iteration,
            "round": current.index,
            "candidates": len(pool.texts),
        }
        if pool.why.rejected:
            receipt["rejected"] = tally(pool.why.rejected)
        told = f"round {current.index + 1} of the bandit" if is_pull else "on the full set"
        return Suggestion(
            parameters=self._problem.space.sorted(texts), reason=f"iteration {current.iteration}, {told}",
            origin=self._origin(current), receipt=receipt, evaluate_on=self._drawn(current, texts) if is_pull else None,
        )  # fmt: skip

    @staticmethod
    def _origin(current: Round) -> dict[str, Any]:
        return {
            "method": NAME, "iteration": current.iteration, "round": current.index, "opened": current.opened,
            "snapshot": current.snapshot,
        }  # fmt: skip

    def _drawn(self, current: Round, texts: Texts) -> dict[str, Any]:
        """Examples for one pull, drawn for each candidate on its own."""
        sets = self._problem.spec.examples
        assert sets is not None, "the bandit runs only where examples are declared"
        split, ids = ("train", sets.train) if sets.train else sets.full()
        rng = self._problem.generator(current.index, f"{NAME} pull {current.iteration} {candidate_key(texts)}")
        places = rng.choice(len(ids), size=min(self._options.pull, len(ids)), replace=False)
        return {"split": split, "ids": [ids[int(i)] for i in sorted(places)]}

    def _edits(self, history: History, current: Round, pool: Pool, count: int) -> list[Suggestion]:
        """Local edits of the best text where the model wrote nothing new.

        They count as trials of the round, unless its calls failed: then the model is asked again with the next ask.
        """
        if self._options.fallback == "none":
            return []
        top = best(scored(history))
        space, known = self._problem.space, known_keys(history)
        texts = components(space, top.trial.parameters) if top else starting_candidates(space)[0]
        parameter = text_parameters(space)[current.iteration % len(text_parameters(space))]
        given = []
        for number in range(history.next_number, history.next_number + count):
            rng = self._problem.generator(number, f"{NAME} edit")

            def is_taken(text: str) -> bool:
                return candidate_key({**texts, parameter.name: text}) in known

            text = neighbour(texts[parameter.name], TextRules(parameter), rng, is_taken)
            if text is None:
                continue
            edited = {**texts, parameter.name: text}
            known.add(candidate_key(edited))
            origin = {"edit": True} | ({} if pool.is_away else self._origin(current))
            reason = f"an edit of the best text: {in_words(pool.why)}"
            given.append(Suggestion(parameters=space.sorted(edited), reason=reason, origin=origin))
        return given


def _place(trial: Observation) -> tuple[int, int]:
    return trial.origin["iteration"], trial.origin["round"]


def _says_something(problem: Problem, texts: Texts) -> bool:
    """Whether a starting candidate is more than placeholders."""
    bare = dict(texts)
    for parameter in text_parameters(problem.space):
        for slot in parameter.placeholders:
            bare[parameter.name] = bare[parameter.name].replace(slot, "")
    return all(any(c.isalpha() for c in text) for text in bare.values())

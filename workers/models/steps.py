"""Methods that write texts in steps: who was handed what, when a step closes, and what it may know.

A step opens with a snapshot of the history (`seq`); its slots are written from that alone, whatever is told meanwhile, so that a restart
in the middle makes the same calls, which are in the ledger. What belongs to a step stands on its trials (`origin`: method, step, slot,
snapshot). It closes when three quarters of its size are told; who asks before gets further slots of it (card prompt 0.6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from services.domain.errors import FieldError
from services.domain.history import History, Observation
from services.domain.llm import LlmReply, LlmRequest, Talk, converse
from services.domain.study import StudySpec
from services.domain.suggester import Problem, Suggestion

from .merit import Scored, best, scored
from .meta_prompt import Read
from .phrases import neighbour
from .texts import (
    TextRules,
    candidate_key,
    components,
    known_keys,
    starting_candidates,
    tally,
    text_parameters,
)

Texts = dict[str, str]
Key = tuple[tuple[str, str], ...]
T = TypeVar("T")
CLOSING_SHARE = 0.75
TRIES = 3


@dataclass(frozen=True)
class Draft:
    """A candidate that a conversation ended with.

    Attributes:
        texts: by component.
        reason: for people.
        origin: what the method wants to find again on the trial.
        rejected: why replies before it were not taken.
        evaluate_on: examples to score it on, None for all.
    """

    texts: Texts
    reason: str
    origin: Mapping[str, Any] = field(default_factory=dict)
    rejected: tuple[str, ...] = ()
    evaluate_on: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Rejected:
    """A conversation that ended without a candidate."""

    rejected: tuple[str, ...]
    failure: str | None = None


@dataclass(frozen=True)
class Step:
    """One step of a method.

    Attributes:
        index: from 0.
        snapshot: what is known to it: outcomes told up to this `seq`.
        found: those outcomes, in the order in which they came.
        component: the text parameter that it changes.
        name: of the step in the ledger.
    """

    index: int
    snapshot: int
    found: tuple[Scored, ...]
    component: str
    name: str

    @property
    def top(self) -> Scored | None:
        """The best outcome known to it."""
        return best([s for s in self.found if s.is_valid]) or best(self.found)

    def texts(self, trial: Observation) -> Texts:
        """The texts of a trial."""
        return {name: value for name, value in trial.parameters.items() if isinstance(value, str)}


class Writer(Protocol):
    """What a method adds to the steps."""

    @property
    def size(self) -> int:
        """Slots that fill a step."""
        ...

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        """The conversation that fills a slot."""
        ...


class Steps:
    """Hands out the starting candidates, then the slots of one step after the other.

    Args:
        name: of the method, in origins and in the ledger.
        problem: over text parameters only.
        writer: writes the candidates.
        edits: where nothing valid came of the model, edit the best candidate instead (`fallback: edit`).
        starts: candidates to try first; the starting texts of the parameters if absent.
    """

    def __init__(
        self,
        name: str,
        problem: Problem,
        writer: Writer,
        *,
        edits: bool = True,
        starts: Sequence[Texts] | None = None,
    ) -> None:
        self.name = name
        self.problem = problem
        self.rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._writer = writer
        self._edits = edits
        self._starts = starting_candidates(problem.space) if starts is None else list(starts)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` candidates.

        Raises:
            NeedsReplies: calls that a slot waits for.
        """
        known = known_keys(history)
        given = [self._start(texts) for texts in self._starts if candidate_key(texts) not in known][:count]
        if len(given) < count:
            given += self._slots(history, count - len(given), known | {candidate_key(s.parameters) for s in given})
        return given

    @staticmethod
    def _start(texts: Texts) -> Suggestion:
        return Suggestion(parameters=dict(texts), reason="a starting text", origin={"start": True})

    # -- the ledger of steps

    def _ours(self, history: History) -> dict[int, list[Observation]]:
        """This method's trials by step."""
        found: dict[int, list[Observation]] = {}
        for trial in history.trials:
            if trial.origin.get("method") == self.name:
                found.setdefault(trial.origin["step"], []).append(trial)
        return found

    def open_step(self, history: History) -> tuple[Step, list[int]]:
        """The step that candidates are handed out from now, and its slots that are taken."""
        ours = self._ours(history)
        index = max(ours, default=0)
        trials = ours.get(index, [])
        enough = max(1, math.ceil(CLOSING_SHARE * self._writer.size))
        if len(trials) >= self._writer.size and sum(not t.is_pending for t in trials) >= enough:
            index, trials = index + 1, []
        return self._step(history, index, trials), sorted(t.origin["slot"] for t in trials)

    def _step(self, history: History, index: int, trials: Sequence[Observation]) -> Step:
        name = f"{self.name}-{index}"
        recorded = history.replies.snapshot(name)
        snapshots = [t.origin["snapshot"] for t in trials] + ([recorded] if recorded is not None else [])
        snapshot = min(snapshots, default=history.seq)
        names = list(self.rules)
        return Step(index, snapshot, tuple(scored(history, snapshot)), names[index % len(names)], name)

    def _slots(self, history: History, count: int, known: set[Key]) -> list[Suggestion]:
        step, taken = self.open_step(history)
        free = [slot for slot in range(self._writer.size + len(taken) + count) if slot not in taken]
        # A whole step is written at once: its calls run beside each other, and later asks find their candidates made.
        wanted = max(count, sum(slot < self._writer.size for slot in free))
        drafts = self._drafts(history, step, free[:wanted], known)
        given = []
        for slot, draft in zip(free, drafts, strict=False):
            if isinstance(draft, Rejected):
                draft = self._edited(step, slot, known, draft)
            if draft is None:
                continue
            known.add(candidate_key(draft.texts))
            given.append(self._suggestion(step, slot, draft))
            if len(given) == count:
                break
        return given

    def _drafts(self, history: History, step: Step, slots: Sequence[int], known: set[Key]) -> list[Draft | Rejected]:
        """The slots' candidates, each other than those before it.

        Raises:
            NeedsReplies: calls that a slot waits for.
        """
        written: set[Key] = set()

        def is_taken(texts: Texts) -> bool:
            key = candidate_key(texts)
            return key in known or key in written

        def noted(slot: int) -> Talk[Draft | Rejected]:
            draft = yield from self._writer.write(step, slot, is_taken)
            if isinstance(draft, Draft):
                written.add(candidate_key(draft.texts))
            return draft

        return converse([noted(slot) for slot in slots], history.replies)

    def _edited(self, step: Step, slot: int, known: set[Key], why: Rejected) -> Draft | None:
        """A local edit in place of what the model did not write."""
        if not self._edits:
            return None
        texts = step.texts(step.top.trial) if step.top is not None else dict(self._starts[0])
        rng = self.problem.generator(step.index, f"{self.name} edit {slot}")
        rules = self.rules[step.component]

        def is_taken(text: str) -> bool:
            return candidate_key({**texts, step.component: text}) in known

        text = neighbour(texts[step.component], rules, rng, is_taken)
        if text is None:
            return None
        told = _WORDS.get(why.failure or "", "the language model's replies could not be used")
        return Draft(
            {**texts, step.component: text}, f"an edit of the best text: {told}", {"edit": True}, why.rejected
        )

    def _suggestion(self, step: Step, slot: int, draft: Draft) -> Suggestion:
        origin = {"method": self.name, "step": step.index, "slot": slot, "snapshot": step.snapshot} | dict(draft.origin)
        receipt: dict[str, Any] = {"step": step.index, "component": step.component, "seen": len(step.found)}
        if draft.rejected:
            receipt["rejected"] = tally(draft.rejected)
        return Suggestion(
            parameters=self.problem.space.sorted(draft.texts), reason=draft.reason, origin=origin, receipt=receipt,
            evaluate_on=draft.evaluate_on,
        )  # fmt: skip


_WORDS = {
    "budget": "the language model's budget is used up",
    "no_profile": "the language model's profile is gone",
    "timeout": "the language model did not answer in time",
    "rate_limited": "the language model refuses more calls for now",
    "unreachable": "the language model is away",
    "server": "the language model is broken",
    "not_permitted": "the language model refused the key",
    "bad_request": "the language model refused the request",
    "context_length": "the history is too long for the language model",
    "empty": "the language model answered nothing",
}


@dataclass(frozen=True)
class Attempts(Generic[T]):
    """How a slot is asked for, again where the reply cannot be used.

    Attributes:
        ask: makes the request of an attempt from its key and how often what is shown was halved.
        read: takes the candidate out of a reply: the texts and its words for people, or what was wrong.
        tries: attempts, the first one included.
    """

    ask: Callable[[str, int], LlmRequest]
    read: Callable[[LlmReply], T | Read]
    tries: int = TRIES

    def talk(self, key: str) -> Talk[tuple[T | None, Rejected]]:
        """Ask until something can be used; halve what is shown, twice at most, where it was too long."""
        rejected: list[str] = []
        halvings, attempt = 0, 0
        while attempt < self.tries:
            (reply,) = yield [self.ask(f"{key}/{attempt}.{halvings}" if halvings else f"{key}/{attempt}", halvings)]
            if reply.failure == "context_length" and halvings < 2:
                halvings += 1
                continue
            if reply.failure is not None:
                return None, Rejected(tuple(rejected), reply.failure)
            found = self.read(reply)
            if not isinstance(found, Read):
                return found, Rejected(tuple(rejected))
            rejected.append(found.fault or "unparsable")
            attempt += 1
        return None, Rejected(tuple(rejected))



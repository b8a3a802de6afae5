"""Methods that write texts in steps: who was handed what, when a step closes, and what it may know.

A step opens with a snapshot of the history (`seq`); its slots are written from that alone, whatever is told meanwhile, so that a
restart in the middle makes the same calls, which are in the ledger. What belongs to a step stands on its trials (`origin`: method,
step, slot, snapshot). It closes when three quarters of its size are told; who asks before gets further slots of it (card prompt 0.6).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.domain.history import History, Observation
from services.domain.llm import Talk, converse
from services.domain.suggester import Problem, Suggestion

from .drafts import TRIES, Attempts, Draft, Rejected, Texts, in_words
from .merit import Scored, best, is_full, scored
from .phrases import neighbour
from .texts import TextRules, candidate_key, known_keys, starting_candidates, tally, text_parameters

__all__ = ["CLOSING_SHARE", "TRIES", "Attempts", "Draft", "Rejected", "Step", "Steps", "Texts", "Writer"]

CLOSING_SHARE = 0.75
EXTRA_ROUNDS = 2


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

    Candidates that the model wrote go out first; a local edit takes the place of one that it did not write only where those do not
    suffice, so a call that failed has a second chance when the next candidate is asked for.

    Args:
        name: of the method, in origins and in the ledger.
        problem: over text parameters only.
        writer: writes the candidates.
        edits: where nothing valid came of the model, edit the best candidate instead (`fallback: edit`).
        starts: candidates to try first; the starting texts of the parameters if absent.
        closing: share of a step's size that must be told before the next one opens.
        ends_blind: a step that knew no outcome at all ends with the first one.
        in_full: outcomes on parts of the examples (another method's, before the study was given this one) do not count.
    """

    edited = "an edit of the best text"

    def __init__(
        self,
        name: str,
        problem: Problem,
        writer: Writer,
        *,
        edits: bool = True,
        starts: Sequence[Texts] | None = None,
        closing: float = CLOSING_SHARE,
        ends_blind: bool = False,
        in_full: bool = False,
    ) -> None:
        self.name = name
        self.problem = problem
        self.rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._writer = writer
        self._edits = edits
        self._starts = starting_candidates(problem.space) if starts is None else list(starts)
        self._closing = closing
        self._ends_blind = ends_blind
        self._in_full = in_full

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` candidates.

        Raises:
            NeedsReplies: calls that a slot waits for.
        """
        known = self.known(history)
        given = [self._start(texts) for texts in self._starts if self.key(texts) not in known][:count]
        if len(given) < count:
            known |= {self.key(s.parameters) for s in given}
            given += self._slots(history, count - len(given), known)
        return given

    def _start(self, texts: Texts) -> Suggestion:
        return Suggestion(parameters=self.problem.space.sorted(texts), reason="a starting text", origin={"start": True})

    # -- what a candidate is: texts here, points of other spaces where a method overrides these

    def key(self, candidate: Mapping[str, Any]) -> Hashable:
        """Equal for candidates that count as the same."""
        return candidate_key(candidate)

    def known(self, history: History) -> set[Hashable]:
        """The keys of every trial's candidate, in any state."""
        return set(known_keys(history))

    def components(self) -> list[str]:
        """What the steps change, in turns."""
        return list(self.rules)

    def edit(self, step: Step, slot: int, is_taken: Callable[[Mapping[str, Any]], bool]) -> dict[str, Any] | None:
        """A local edit of the best candidate; None where none is found."""
        first = self._starts or starting_candidates(self.problem.space)
        texts = step.texts(step.top.trial) if step.top is not None else dict(first[0])
        rng = self.problem.generator(step.index, f"{self.name} edit {slot}")

        def is_known(text: str) -> bool:
            return is_taken({**texts, step.component: text})

        text = neighbour(texts[step.component], self.rules[step.component], rng, is_known)
        return None if text is None else {**texts, step.component: text}

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
        step = self._step(history, index, trials)
        is_blind = self._ends_blind and not step.found and bool(self._scored(history, history.seq))
        if is_blind or self._is_closed(trials, 0):
            step, trials = self._step(history, index + 1, ()), []
        return step, sorted({t.origin["slot"] for t in trials})

    def _is_closed(self, trials: Sequence[Observation], empty: int) -> bool:
        """Whether a step with these trials is over, so many of its slots staying empty."""
        size = self._writer.size - empty
        told = sum(not t.is_pending for t in trials)
        return len(trials) >= size and told >= (max(1, math.ceil(self._closing * size)) if size > 0 else 0)

    def _step(self, history: History, index: int, trials: Sequence[Observation]) -> Step:
        name = f"{self.name}-{index}"
        recorded = history.replies.snapshot(name)
        snapshots = [t.origin["snapshot"] for t in trials] + ([recorded] if recorded is not None else [])
        snapshot = min(snapshots, default=history.seq)
        names = self.components()
        return Step(index, snapshot, tuple(self._scored(history, snapshot)), names[index % len(names)], name)

    def _scored(self, history: History, until: int) -> list[Scored]:
        return [s for s in scored(history, until) if not self._in_full or is_full(s.trial, history.spec)]

    def _slots(self, history: History, count: int, known: set[Hashable]) -> list[Suggestion]:
        step, taken = self.open_step(history)
        given: list[Suggestion] = []
        while True:
            # A whole step is written at once: its calls run beside each other, and later asks find their candidates made.
            own = [slot for slot in range(self._writer.size) if slot not in taken]
            first = own + self._further(taken, count - len(given) - len(own))
            found, empty = self._filled(history, step, first, count - len(given), known)
            given += found
            if len(given) == count:
                return given
            trials = self._ours(history).get(step.index, [])
            if not self._is_closed(trials, len(empty & set(own))) or history.seq <= step.snapshot:
                break
            # Slots that stay empty for good end a step like told ones, once there is something new to show the model.
            step, taken = self._step(history, step.index + 1, ()), []
        tried = set(taken) | set(first)
        for _ in range(EXTRA_ROUNDS if empty else 0):
            slots = self._further(tried, count - len(given))
            given += self._filled(history, step, slots, count - len(given), known)[0]
            tried |= set(slots)
        return given

    def _further(self, taken: Sequence[int] | set[int], count: int) -> list[int]:
        """The next slots beyond the step's size."""
        size = self._writer.size
        return [slot for slot in range(size, size + len(taken) + max(count, 0)) if slot not in taken][: max(count, 0)]

    def _filled(
        self, history: History, step: Step, slots: Sequence[int], count: int, known: set[Hashable]
    ) -> tuple[list[Suggestion], set[int]]:
        """Up to `count` candidates of some slots, and the slots that stay empty for good.

        Raises:
            NeedsReplies: calls that a slot waits for.
        """
        drafts = dict(zip(slots, self._drafts(history, step, slots, known), strict=True))
        written = {slot: draft for slot, draft in drafts.items() if isinstance(draft, Draft)}
        known |= {self.key(draft.texts) for draft in written.values()}
        empty: set[int] = set()
        for slot, why in drafts.items():
            if isinstance(why, Draft) or len(written) >= count:
                continue
            edited = self._edited(step, slot, known, why)
            if edited is not None:
                written[slot] = edited
                known.add(self.key(edited.texts))
            elif why.failure is None:
                empty.add(slot)
        return [self._suggestion(step, slot, draft) for slot, draft in written.items()][:count], empty

    def _drafts(
        self, history: History, step: Step, slots: Sequence[int], known: set[Hashable]
    ) -> list[Draft | Rejected]:
        """The slots' candidates, each other than those before it."""
        written: set[Hashable] = set()

        def is_taken(texts: Mapping[str, Any]) -> bool:
            key = self.key(texts)
            return key in known or key in written

        def noted(slot: int) -> Talk[Draft | Rejected]:
            draft = yield from self._writer.write(step, slot, is_taken)
            if isinstance(draft, Draft):
                written.add(self.key(draft.texts))
            return draft

        return converse([noted(slot) for slot in slots], history.replies)

    def _edited(self, step: Step, slot: int, known: set[Hashable], why: Rejected) -> Draft | None:
        """A local edit in place of what the model did not write."""
        if not self._edits or why.is_dropped:
            return None
        texts = self.edit(step, slot, lambda candidate: self.key(candidate) in known)
        if texts is None:
            return None
        return Draft(texts, f"{self.edited}: {in_words(why)}", {"edit": True}, why.rejected)

    def _suggestion(self, step: Step, slot: int, draft: Draft) -> Suggestion:
        origin = {"method": self.name, "step": step.index, "slot": slot, "snapshot": step.snapshot} | dict(draft.origin)
        receipt: dict[str, Any] = {"step": step.index, "component": step.component, "seen": len(step.found)}
        if draft.rejected:
            receipt["rejected"] = tally(draft.rejected)
        return Suggestion(
            parameters=self.problem.space.sorted(draft.texts), reason=draft.reason, origin=origin, receipt=receipt,
            evaluate_on=draft.evaluate_on,
        )  # fmt: skip

"""Hands out the starting texts, then the slots of one step after the other; all it knows is on the trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.domain.history import History
from services.domain.llm import Talk, converse
from services.domain.suggester import Blob, Problem, Suggestion
from workers.models.phrases import has_letters, neighbour
from workers.models.texts import TextRules, candidate_key, known_keys, starting_candidates, tally, text_parameters

from . import PlumOptions, ledger
from .edits import MODEL_TRIES, Edit, Editor, crossed, harmony
from .ledger import Key, Member, Scores, Step, Texts, Worth
from .search import State, begin, edited_members, is_tabu, tournament, updated

TRIES = 30
OTHER_PARENTS = 10


@dataclass(frozen=True)
class Candidate:
    """What fills a slot.

    Attributes:
        texts: by component.
        component: the one that was changed.
        edit: how.
        parents: what it was made of.
        rejected: why others before it were not taken.
    """

    texts: Texts
    component: str
    edit: Edit
    parents: tuple[Member, ...]
    rejected: tuple[str, ...]


@dataclass(frozen=True)
class Now:
    """A step with all that its candidates are made from."""

    step: Step
    state: State
    scores: Scores
    members: tuple[Member, ...]
    size: int


class Plum:
    """Metaheuristics over phrase edits."""

    def __init__(self, problem: Problem, options: PlumOptions) -> None:
        self._problem, self._options = problem, options
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._starts = starting_candidates(problem.space)
        self._worth = Worth(problem.spec, options)

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` candidates; fewer when no new text is found, or the search is over and is not to begin again.

        Raises:
            NeedsReplies: paraphrases that a slot waits for.
        """
        known = known_keys(history)
        given = [self._start(texts) for texts in self._starts if candidate_key(texts) not in known][:count]
        known |= {candidate_key(s.parameters) for s in given}
        now = self._now(history)
        while len(given) < count and not now.state.is_done:
            made = self._filled(history, now, count - len(given), known)
            given += made
            if made or not self._is_told(now):
                break
            later = self._following(history, now)  # all that could be made of this step's texts is tried
            if later.members == now.members:
                break
            now = later
        return given

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None

    @staticmethod
    def _start(texts: Texts) -> Suggestion:
        return Suggestion(parameters=dict(texts), reason="a starting text", origin={"start": True})

    # -- where the search stands

    def _now(self, history: History) -> Now:
        """The step that candidates are handed out from, read anew from the trials."""
        found = ledger.steps(history)
        scores = Scores(history, self._worth)
        first = found[0] if found else ledger.opened(history, 0)
        told = scores.take(first.snapshot)
        state = begin([scores.member(t) for t in self._starts], told, scores, self._options)
        now = self._at(first, state, scores)
        for step in found[1:]:
            now = self._advanced(now, step)
        return self._following(history, now) if now.step.slots >= set(range(now.size)) and self._is_told(now) else now

    def _following(self, history: History, now: Now) -> Now:
        return self._advanced(now, ledger.opened(history, now.step.index + 1))

    def _advanced(self, now: Now, step: Step) -> Now:
        draw = self._problem.generator(now.step.index, "plum accept").random()
        fresh = now.scores.take(step.snapshot)
        return self._at(step, updated(now.state, fresh, now.scores, self._options, draw), now.scores)

    def _at(self, step: Step, state: State, scores: Scores) -> Now:
        options, rng = self._options, self._problem.generator(step.index, "plum parents")
        if options.algorithm == "hs":
            return Now(step, state, scores, state.pool, options.candidates)
        if state.stage == "cross":
            return Now(step, state, scores, state.pool, options.offspring)
        members = edited_members(state, scores, options, rng)
        return Now(step, state, scores, tuple(members), options.candidates * len(members))

    def _is_told(self, now: Now) -> bool:
        """Whether enough of a step's trials are over to begin the next one."""
        waited = max(1, math.ceil((1 - self._options.straggler_fraction) * min(now.size, len(now.step.trials))))
        return now.step.ended >= waited

    # -- candidates

    def _filled(self, history: History, now: Now, count: int, known: set[Key]) -> list[Suggestion]:
        taken = now.step.slots
        free = [slot for slot in range(now.size + len(taken) + count) if slot not in taken][:count]
        if self._asks_model:  # a whole step at once: its calls run beside each other
            free = sorted({*free, *(slot for slot in range(now.size) if slot not in taken)})
        written, is_dry = set(known), False

        def filled(slot: int) -> Talk[Candidate | None]:
            nonlocal is_dry
            if is_dry:  # hundreds of tries for the slot before found nothing new
                return None
            candidate = yield from self._write(now, slot, lambda texts: candidate_key(texts) in written)
            if candidate is None:
                is_dry = True
            else:
                written.add(candidate_key(candidate.texts))
            return candidate

        found = converse([filled(slot) for slot in free], history.replies)
        given = [self._suggestion(now, slot, made) for slot, made in zip(free, found, strict=True) if made][:count]
        known |= {candidate_key(s.parameters) for s in given}
        return given

    @property
    def _asks_model(self) -> bool:
        return self._options.paraphraser == "llm" and self._problem.spec.llm is not None

    def _write(self, now: Now, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Candidate | None]:
        """What fills a slot: the first valid one of some tries, else an edit of any kind."""
        rng = self._problem.generator(now.step.index, f"plum slot {slot}")
        component = list(self._rules)[int(rng.integers(len(self._rules)))]
        rules, rejected = self._rules[component], list[str]()
        for attempt in range(TRIES):
            asks = self._asks_model and attempt < MODEL_TRIES
            editor = Editor(rules, self._options, now.step.name, now.step.snapshot, asks)
            made = yield from self._made(now, slot, component, editor, rng)
            if made is None:
                continue
            edit, parents = made
            texts = {**parents[0].texts, component: rules.clean(edit.text)}
            fault = rules.fault(texts[component]) or (None if has_letters(texts[component]) else "empty")
            if fault is not None or is_taken(texts):
                rejected.append(fault or "duplicate")
            elif self._options.algorithm == "tabu" and self._is_refused(texts, now, rng):
                rejected.append("tabu")
            else:
                return Candidate(texts, component, edit, parents, tuple(rejected))
        return self._stepped(now, slot, component, rng, is_taken, rejected)

    def _is_refused(self, texts: Texts, now: Now, rng: np.random.Generator) -> bool:
        return is_tabu(texts, now.state, self._options) and rng.random() >= self._options.tabu_leniency

    def _made(
        self, now: Now, slot: int, component: str, editor: Editor, rng: np.random.Generator
    ) -> Talk[tuple[Edit, tuple[Member, ...]] | None]:
        """One try at a candidate: an edit and what it was made of."""
        members = now.members
        if self._options.algorithm == "hs":
            memory = [(m.texts[component], m.deleted.get(component, ())) for m in members]
            edit, used = yield from harmony(editor, memory, self._options, rng)
            return (edit, tuple(members[i] for i in used)) if used else None
        if now.state.stage == "cross":
            one, two = (tournament(members, now.scores, self._options.tournament, rng) for _ in range(2))
            first, second = editor.split(one.texts[component]), editor.split(two.texts[component])
            cut = int(rng.integers(max(len(first), len(second), 1)))
            return Edit(crossed(first, second, cut), ("cross",)), (one, two)
        parent = members[slot // self._options.candidates % len(members)]
        composed = yield from editor.composed(parent.texts[component], parent.deleted.get(component, ()), rng)
        return None if composed is None else (composed, (parent,))

    def _stepped(
        self,
        now: Now,
        slot: int,
        component: str,
        rng: np.random.Generator,
        is_taken: Callable[[Texts], bool],
        rejected: list[str],
    ) -> Candidate | None:
        """Where the tries bring nothing new: a step further away, which may also add a short instruction."""
        first = now.members[slot // self._options.candidates % len(now.members)]
        for parent in (first, *now.scores.top(now.scores.told, OTHER_PARENTS)):
            text = self._neighbour(parent.texts, component, rng, is_taken)
            if text is not None:
                texts = {**parent.texts, component: text}
                return Candidate(texts, component, Edit(text, ("step",)), (parent,), tuple(rejected))
        return None

    def _neighbour(
        self, texts: Texts, component: str, rng: np.random.Generator, is_taken: Callable[[Texts], bool]
    ) -> str | None:
        rules = self._rules[component]
        return neighbour(texts[component], rules, rng, lambda text: is_taken({**texts, component: text}))

    def _suggestion(self, now: Now, slot: int, made: Candidate) -> Suggestion:
        state, edit = now.state, made.edit
        numbers = [m.number for m in made.parents if m.number]
        origin = ledger.origin(
            now.step,
            slot,
            component=made.component,
            parents=numbers,
            deleted=list(edit.deleted),
            added=list(edit.added),
        )
        receipt: dict[str, Any] = {
            "algorithm": self._options.algorithm, "step": now.step.index, "run": state.run, "iteration": state.iteration,
            "idle": state.idle, "component": made.component, "edits": list(edit.kinds), "of": numbers,
            "best": state.best.number or None,
        }  # fmt: skip
        if self._options.algorithm == "sa":
            receipt["temperature"] = state.temperature
        if made.rejected:
            receipt["rejected"] = tally(made.rejected)
        reason = _words(edit, numbers) + (f"; {edit.note}: words from the table" if edit.note else "")
        return Suggestion(
            parameters=self._problem.space.sorted(made.texts), reason=reason, origin=origin, receipt=receipt
        )


def _words(edit: Edit, numbers: list[int]) -> str:
    kinds = ", ".join(edit.kinds) or "segments"
    if not numbers:
        return f"{kinds}: of a starting text"
    return f"{kinds}: of trial{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"

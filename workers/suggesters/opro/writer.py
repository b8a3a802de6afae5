"""What is shown, and what is taken from the replies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from services.domain.history import History
from services.domain.llm import LlmReply, LlmRequest, Talk
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState
from workers.models import meta_prompt
from workers.models.drafts import Attempts, Draft, Rejected, Texts, counted
from workers.models.exemplars import Exemplar
from workers.models.merit import Scored, display, merged, span
from workers.models.meta_prompt import Read
from workers.models.steps import Step, Steps
from workers.models.texts import TAG, TextRules, candidate_key, starting_candidates, text_parameters

from . import SHORTEST_LIMIT, OproOptions
from .choice import drawn, most_often_wrong
from .held_out import HeldOut
from .meta import Messages, Meta, Shown

_DIGIT = re.compile(r"\d")
_OPENER = re.compile(rf"<{TAG}\s*>", re.IGNORECASE)
_CLOSER = re.compile(rf"</{TAG}\s*>", re.IGNORECASE)


class Opro:
    """The suggester over texts: all it knows is on the trials and in the ledger."""

    def __init__(self, problem: Problem, options: OproOptions) -> None:
        writer = Writer(problem, options)
        steps = Steps(
            "opro",
            problem,
            writer,
            edits=options.fallback == "edit",
            closing=1.0 - options.straggler_fraction,
            ends_blind=True,
            in_full=options.score_on == "full",
        )
        examples = problem.spec.examples
        self._suggest = steps.suggest
        if options.score_on == "train" and examples is not None:
            self._suggest = HeldOut(steps, examples, options.held_out_every).suggest

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` texts.

        Raises:
            NeedsReplies: the calls of the open step.
        """
        return self._suggest(history, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None


class Writer:
    """Fills slots: every call of a step has the same meta-prompt."""

    def __init__(self, problem: Problem, options: OproOptions) -> None:
        self._problem, self._options = problem, options
        parameters = {p.name: p for p in text_parameters(problem.space)}
        self._rules = {name: TextRules(p) for name, p in parameters.items()}
        self._made: tuple[Step, int, Messages] | None = None
        self._start = starting_candidates(problem.space)[0]
        longest = max((len(text) for p in parameters.values() for text in p.initial), default=0)
        wanted = options.max_length or max(SHORTEST_LIMIT, 2 * longest)
        self._longest = {name: min(wanted, p.max_length) for name, p in parameters.items()}
        self._meta = Meta(
            parameters=parameters, buckets=options.buckets, longest=self._longest, start=self._start, place=options.insertion,
            exemplars_first=options.exemplars_first, forbid_digits=options.forbid_digits,
        )  # fmt: skip

    @property
    def size(self) -> int:
        """Candidates of a step."""
        return self._options.per_step

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        """One candidate: up to `attempts` samples of the step's meta-prompt."""
        base = dict(self._start) if step.top is None else step.texts(step.top.trial)

        def ask(key: str, halvings: int) -> LlmRequest:
            return LlmRequest(
                key=key, role="optimiser", snapshot=step.snapshot, messages=self.messages(step, halvings),
                temperature=self._options.temperature_at(step.index), max_tokens=self._options.max_tokens,
            )  # fmt: skip

        def read(reply: LlmReply) -> str | Read:
            found = self.read(reply.text, step.component)
            if found.fault is None and is_taken({**base, step.component: found.text}):
                return Read(fault="duplicate") if self._options.resample_duplicates else ""
            return found if found.fault is not None else found.text

        text, why = yield from Attempts(ask, read, self._options.attempts).talk(f"{step.name}/{slot}")
        if not text:
            return self._options.left(why, is_known=text is not None)
        reason = f"written from {counted(len(step.found), 'outcome')}, sample {slot} of step {step.index}"
        return Draft({**base, step.component: text}, reason, rejected=why.rejected)

    def messages(self, step: Step, halvings: int = 0) -> Messages:
        """The meta-prompt of a step; each halving shows half as many texts."""
        if self._made is None or self._made[0] is not step or self._made[1] != halvings:
            self._made = step, halvings, self._rendered(step, halvings)
        return self._made[2]

    def _rendered(self, step: Step, halvings: int) -> Messages:
        shown = self.shown(step, halvings)
        if self._options.optimizer == "base":
            return self._meta.base(step.component, [self._as_read(s, step) for s in shown])
        exemplars = self._exemplars(step, shown)
        return self._meta.tuned(step.component, [self._as_read(s, step) for s in shown], exemplars)

    def shown(self, step: Step, halvings: int = 0) -> list[Scored]:
        """The tried texts that a step shows, ascending: first cut to the best, then held against the threshold (as published).

        A base model reads all of them.
        """
        options = self._options
        ascending = sorted(self._merged(step), key=lambda s: s.merit)
        is_base = options.optimizer == "base"
        most = max(1, (len(ascending) if is_base else options.max_shown) >> halvings)
        kept = ascending[-most:]
        if is_base:
            return kept
        limits = self._span(step)
        return [
            s for s in kept if options.threshold == 0 or display(s.merit, *limits, 1000) >= 1000 * options.threshold
        ]

    def read(self, reply: str, component: str) -> Read:
        """The new text in a reply, cleaned and held against the rules of its component; duplicates aside."""
        found = continued(reply) if self._options.optimizer == "base" else meta_prompt.read(reply, key=TAG, whole=True)
        if found.fault is not None:
            return found
        rules = self._rules[component]
        text = rules.clean(polished(found.text, rules))
        fault = rules.fault(text)
        if fault is None and len(text) > self._longest[component]:
            fault = "too_long"
        if fault is None and self._options.forbid_digits and _DIGIT.search(without(text, rules.wanted)):
            fault = "not_allowed"
        return Read(text) if fault is None else Read(fault=fault)

    # -- what the meta-prompt is made of

    def _merged(self, step: Step) -> list[Scored]:
        return merged(step.found, lambda t: candidate_key(step.texts(t)), shrink=self._options.shrink)

    def _span(self, step: Step) -> tuple[float, float]:
        return span(step.found, self._problem.spec, self._options.score_range)

    def _as_read(self, found: Scored, step: Step) -> Shown:
        score = display(found.merit, *self._span(step), self._options.buckets)
        is_partial = found.trial.state is TrialState.PRUNED
        is_told = not found.is_valid and self._problem.spec.shares_examples
        feedback = found.trial.feedback or "" if is_told else ""
        return Shown(step.texts(found.trial), score, found.is_valid, is_partial, feedback)

    def _exemplars(self, step: Step, shown: Sequence[Scored]) -> list[Exemplar]:
        options, pool = self._options, self._options.exemplars
        if not self._problem.spec.shares_examples:
            return []
        match options.exemplar_choice:
            case "accumulative_most_frequent":
                trials = [s.trial for s in step.found]
            case "current_most_frequent":
                trials = [s.trial for s in shown]
            case choice:
                index = 0 if choice == "constant" else step.index
                return drawn(pool, options.exemplars_shown, self._problem.generator(index, "opro exemplars"))
        sign = -1.0 if self._problem.spec.objectives[0].goal == "minimize" else 1.0
        return most_often_wrong(pool, trials, sign, options.exemplars_shown)


def polished(text: str, rules: TextRules) -> str:
    """Without bold marks, the first letter upper-cased; placeholders stay as they are."""
    if not any("**" in placeholder for placeholder in rules.wanted):
        text = text.replace("**", "")
    text = text.strip()
    return text[:1].upper() + text[1:] if not text.startswith(tuple(rules.wanted)) else text


def without(text: str, placeholders: Iterable[str]) -> str:
    """The text without its placeholders."""
    for placeholder in placeholders:
        text = text.replace(placeholder, "")
    return text


def continued(reply: str) -> Read:
    """What a base model went on with: up to the closing tag, or the first line where there is none."""
    before, *after = _CLOSER.split(reply, maxsplit=1)
    text = _OPENER.split(before)[-1].strip()
    if not after:
        text = text.split("\n", 1)[0]
    return Read(text) if text else Read(fault="empty")

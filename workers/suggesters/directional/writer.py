"""One proposal: a direction from the base's feedback or from the analyst, then the base rewritten along it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.domain.history import History
from services.domain.llm import LlmReply, LlmRequest, Talk
from services.domain.suggester import Blob, Problem, Suggestion
from services.domain.trial import TrialState
from workers.models import meta_prompt
from workers.models.drafts import Attempts, Draft, Rejected, Texts
from workers.models.merit import Scored, display, span
from workers.models.meta_prompt import Read
from workers.models.steps import Step, Steps
from workers.models.texts import TAG, TextRules, starting_candidates, text_key, text_parameters

from . import DirectionalOptions
from .course import METHOD, Course, Source, course, is_directional, told
from .requests import DIRECTION, Entry, Outcome, analysis, rewriting

LONGEST_KEPT = 4000
SHORTEST_COPY = 20
MOST_TRIED = 10


class Directional:
    """The suggester: all it knows is on the trials and in the ledger."""

    def __init__(self, problem: Problem, options: DirectionalOptions) -> None:
        self._steps = Steps(
            METHOD, problem, Writer(problem, options), edits=options.fallback == "edit", ends_blind=True, in_full=True
        )

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` texts: rewritings along the direction of the open step.

        Raises:
            NeedsReplies: the calls of the open step.
        """
        return self._steps.suggest(history, count)

    def state(self) -> Blob | None:
        """None: everything is read from the trials."""
        return None


class Writer:
    """Fills slots: those of one step share its direction."""

    def __init__(self, problem: Problem, options: DirectionalOptions) -> None:
        self._problem, self._options = problem, options
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._sign = -1.0 if problem.spec.objectives[0].goal == "minimize" else 1.0
        self._known: tuple[Step, Course] | None = None
        self._start = starting_candidates(problem.space)[0]

    @property
    def size(self) -> int:
        """Rewritings of a step."""
        return self._options.per_step

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        """One rewriting."""
        now = self._now(step)
        direction, source = yield from self._direction(step, now)
        texts = dict(self._start) if now.base is None else step.texts(now.base.trial)

        def ask(key: str, halvings: int) -> LlmRequest:
            return LlmRequest(
                key=key, role="writer", snapshot=step.snapshot, messages=self._rewriting(step, now, direction, halvings),
                temperature=self._options.temperature, max_tokens=self._options.max_tokens,
            )  # fmt: skip

        def read(reply: LlmReply) -> str | Read:
            found = self.read(reply.text, step)
            if found.fault is None and is_taken({**texts, step.component: found.text}):
                return Read(fault="duplicate")
            return found if found.fault is not None else found.text

        text, why = yield from Attempts(ask, read, self._options.attempts).talk(f"{step.name}/{slot}")
        if text is None:
            return why
        origin = {"base": None if now.base is None else now.base.trial.number, "direction": direction[:LONGEST_KEPT]}
        words = {
            "feedback": "the feedback told about",
            "synthesis": "a direction found for",
            "none": "the scores, from",
        }
        reason = "written from the task" if now.base is None else f"by {words[source]} trial {now.base.trial.number}"
        return Draft({**texts, step.component: text}, reason, origin | {"by": source}, why.rejected)

    def read(self, reply: str, step: Step) -> Read:
        """The new text in a reply, held against its rules and against being a copy of what a client told; duplicates aside."""
        found = meta_prompt.read(reply, key=TAG)
        if found.fault is not None:
            return found
        rules = self._rules[step.component]
        text = rules.clean(found.text)
        fault = rules.fault(text)
        if fault is None and not self._options.accept_client_text and self._is_told(text, step):
            fault = "not_allowed"
        return Read(text) if fault is None else Read(fault=fault)

    def _is_told(self, text: str, step: Step) -> bool:
        key = text_key(text)
        return len(key) >= SHORTEST_COPY and any(key in text_key(self._feedback(s)) for s in step.found)

    def _now(self, step: Step) -> Course:
        if self._known is None or self._known[0] is not step:
            self._known = step, course(step.found, self._options.patience)
        return self._known[1]

    # -- the direction

    def _direction(self, step: Step, now: Course) -> Talk[tuple[str, Source]]:
        """The direction of a step and where it comes from; the same call for each of its slots."""
        if now.base is None:
            return "", "none"
        words, mode = self._feedback(now.base), self._options.synthesize
        if words and (mode == "never" or (mode == "auto" and is_directional(words))):
            return words, "feedback"
        if mode != "never":
            found = yield from self._synthesised(step, now)
            if found:
                return found, "synthesis"
        return (words, "feedback") if words else ("", "none")

    def _synthesised(self, step: Step, now: Course) -> Talk[str | None]:
        def ask(key: str, halvings: int) -> LlmRequest:
            return LlmRequest(
                key=key, role="analyst", snapshot=step.snapshot, messages=self._analysis(step, now, halvings),
                temperature=self._options.synthesis_temperature, max_tokens=self._options.max_tokens,
            )  # fmt: skip

        def read(reply: LlmReply) -> str | Read:
            found = meta_prompt.read(reply.text, tag=DIRECTION, key=DIRECTION)
            return found.text if found.fault is None and found.text else found

        direction, _ = yield from Attempts(ask, read, 1).talk(f"{step.name}/{DIRECTION}")
        return direction

    # -- what is shown

    def _analysis(self, step: Step, now: Course, halvings: int) -> tuple[tuple[str, str], ...]:
        window = step.found[-max(2, self._options.window >> halvings) :]
        assert now.base is not None
        return analysis(
            self._rules[step.component].parameter, self._part(step), self._entries(step, window),
            self._entries(step, [now.base])[0], self._tried(step, now),
        )  # fmt: skip

    def _rewriting(self, step: Step, now: Course, direction: str, halvings: int) -> tuple[tuple[str, str], ...]:
        k, m = self._options.k >> halvings, self._options.m >> halvings
        others = [s for s in now.ranked if now.base is None or s.trial.number != now.base.trial.number]
        best = others[:k][::-1]
        shown = {s.trial.number for s in best} | ({now.base.trial.number} if now.base is not None else set())
        base = self._start[step.component] if now.base is None else self._entries(step, [now.base])[0]
        latest = [s for s in step.found[max(0, len(step.found) - m) :] if s.trial.number not in shown]
        return rewriting(
            self._rules[step.component], self._part(step), base, direction, self._entries(step, best),
            self._entries(step, latest), self._tried(step, now), may_adopt=self._options.accept_client_text,
        )  # fmt: skip

    def _part(self, step: Step) -> str:
        return step.component if len(self._rules) > 1 else ""

    def _entries(self, step: Step, found: Sequence[Scored]) -> list[Entry]:
        limits = span(step.found, self._problem.spec, self._options.score_range)
        return [
            Entry(
                s.trial.number, step.texts(s.trial), display(s.merit, *limits), s.is_valid,
                s.trial.state is TrialState.PRUNED, self._feedback(s),
            )
            for s in found
        ]  # fmt: skip

    def _tried(self, step: Step, now: Course) -> list[Outcome]:
        if now.base is None:
            return []
        limits = span(step.found, self._problem.spec, self._options.score_range)
        at, gains = display(now.base.merit, *limits), dict[str, list[float]]()
        for tried in now.tried:
            if tried.is_told and not self._problem.spec.shares_examples:
                continue  # sharing was withdrawn meanwhile
            gains.setdefault(tried.direction, []).append(tried.gain)
        changes = {d: tuple(display(now.base.merit + g, *limits) - at for g in of) for d, of in gains.items()}
        return [Outcome(d, changes[d], max(of) > 0) for d, of in gains.items()][-MOST_TRIED:]

    def _feedback(self, found: Scored) -> str:
        return told(found.trial, self._sign) if self._problem.spec.shares_examples else ""

"""One ask of GEPA: go on with the iterations that are open, then open new ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.domain.history import History
from services.domain.llm import Talk, converse
from services.domain.suggester import Problem, Suggestion
from workers.models.drafts import Attempts, Draft, NothingUsable, Rejected, in_words
from workers.models.phrases import neighbour
from workers.models.texts import TextRules, candidate_key, starting_candidates, tally, text_parameters

from . import GepaOptions
from .batches import Batches
from .known import Memo
from .plan import Plan
from .pool import Key, Texts
from .reflection import reader
from .tasks import Child, Task, Trial

MOST_WASTED = 10


class Gepa:
    """Reflective evolution of texts.

    The whole course is read from the trials at each call: their origins say iteration, role, parent, component and minibatch. A call
    to the language model belongs to an iteration and depends on what was told when that was opened.
    """

    def __init__(self, problem: Problem, options: GepaOptions) -> None:
        examples = problem.spec.examples
        if examples is None:
            raise ValueError("gepa needs a study with examples")
        self._problem = problem
        self._options = options
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._batches = Batches(problem, examples.train or examples.validation, options.minibatch)
        self._starts = starting_candidates(problem.space)
        self._memo = Memo()

    def suggest(self, history: History, count: int) -> list[Suggestion]:
        """Up to `count` trials: fewer while nothing can be done before a running trial is told, or when nothing more fits.

        Raises:
            NeedsReplies: reflections that children wait for.
            NothingUsable: with `fallback: none`, where the replies bring nothing.
        """
        plan = Plan(self._problem, self._options, history, self._batches, self._starts, self._memo)
        known = set(plan.keys)
        given: dict[int, Suggestion] = {}
        tasks: list[Task] = []
        wasted: list[Rejected] = []
        new = 0  # of those; what an earlier ask wasted is read again from the ledger, costs no call, and must not stop this one
        while True:
            more = plan.tasks(count - len(given))
            tasks += more
            made = self._made(history, more, known, len(tasks) - len(more))
            for place, found in made.items():
                if isinstance(found, Rejected):
                    wasted.append(found)
                    new += tasks[place].origin["snapshot"] == history.seq
                    plan.came_to_nothing()
                else:
                    given[place] = found
            if len(given) == count or not more or new >= MOST_WASTED or _is_away(wasted):
                break
        if wasted and not given:
            raise NothingUsable(_why(wasted))
        return [given[place] for place in sorted(given)]

    def state(self) -> None:
        """Nothing: everything is on the trials."""

    # -- tasks into suggestions

    def _made(
        self, history: History, tasks: Sequence[Task], known: set[Key], first: int
    ) -> dict[int, Suggestion | Rejected]:
        """What becomes of tasks, by their places; the calls of all of them beside each other."""
        children = [(place, task) for place, task in enumerate(tasks, first) if isinstance(task, Child)]
        written: set[Key] = set()
        talks = [self._written(task, known, written) for _, task in children]
        found: dict[int, Suggestion | Rejected] = {}
        for (place, task), draft in zip(children, converse(talks, history.replies), strict=True):
            if isinstance(draft, Rejected):
                draft = self._edited(task, known | written, draft) or draft
            if isinstance(draft, Rejected):
                found[place] = draft
            else:
                written.add(candidate_key(draft.texts))
                found[place] = self._suggestion(task.trial(draft))
        known |= written
        found |= {place: self._suggestion(t) for place, t in enumerate(tasks, first) if isinstance(t, Trial)}
        return found

    def _written(self, task: Child, known: set[Key], written: set[Key]) -> Talk[Draft | Rejected]:
        """The reflection of one iteration."""
        options, component = self._options, task.component

        def rewrite(text: str) -> Texts:
            return {**task.texts, component: text}

        def is_taken(texts: Texts) -> bool:
            key = candidate_key(texts)
            return key in known or key in written

        attempts = Attempts(
            ask=lambda key, halvings: task.reflection.request(key, halvings, options.temperature, options.max_tokens),
            read=reader(self._rules[component], rewrite, is_taken),
        )
        text, end = yield from attempts.talk(f"{task.name}/{component}")
        if text is None:
            return end
        texts = rewrite(text)
        written.add(candidate_key(texts))
        return Draft(texts, "rewritten after reading its results", rejected=end.rejected)

    def _edited(self, task: Child, taken: set[Key], why: Rejected) -> Draft | None:
        """A small edit of the parent in place of what the model did not write."""
        if self._options.fallback == "none":
            return None
        component = task.component

        def is_taken(text: str) -> bool:
            return candidate_key({**task.texts, component: text}) in taken

        rng = self._problem.generator(task.index, "gepa edit")
        text = neighbour(task.texts[component], self._rules[component], rng, is_taken)
        if text is None:
            return None
        return Draft({**task.texts, component: text}, f"an edit: {in_words(why)}", {"edit": True}, why.rejected)

    def _suggestion(self, trial: Trial) -> Suggestion:
        receipt = dict(trial.receipt)
        if parents := _parents(trial.origin):
            receipt["parents"] = parents
        if trial.rejected:
            receipt["rejected"] = tally(trial.rejected)
        return Suggestion(
            parameters=self._problem.space.sorted(trial.texts), reason=trial.reason, origin=trial.origin,
            receipt=receipt or None, evaluate_on=trial.evaluate_on,
        )  # fmt: skip


def _parents(origin: Mapping[str, Any]) -> list[int]:
    """Numbers of the trials that a new candidate was made from."""
    made_from = origin["merged"][:2] if "merged" in origin else [origin.get("parent")]
    return [] if origin.get("role") == "parent" else [number for number in made_from if number is not None]


def _is_away(wasted: Sequence[Rejected]) -> bool:
    """Whether the language model itself failed: then new iterations would only use up evaluations."""
    return any(w.failure is not None for w in wasted)


def _why(wasted: Sequence[Rejected]) -> str:
    failures = [w.failure for w in wasted if w.failure is not None]
    if failures:
        return f"the language model brought no reply ({failures[0]}), and no edit stood in for it"
    faults = tally(fault for w in wasted for fault in w.rejected)
    return f"no reply of {len(wasted)} iterations could be used ({faults}), and no edit stood in for them"

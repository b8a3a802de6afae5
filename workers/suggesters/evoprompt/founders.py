"""The founders of a population beside the starting texts: induced from answers, or starting texts in other words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from services.domain.llm import LlmRequest, Talk
from services.domain.suggester import Problem
from workers.models.drafts import Attempts, Draft, Rejected, Texts
from workers.models.populations import best_first, members, missing, write_all
from workers.models.steps import Step
from workers.models.texts import TextRules, starting_candidates, text_parameters
from workers.models.variations import INDUCTION, accepting, drawn, in_other_words, induced

from . import EvopromptOptions


class Founders:
    """Writes one founder a slot, all its components."""

    def __init__(self, problem: Problem, options: EvopromptOptions) -> None:
        self._problem, self._options = problem, options
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._starts = starting_candidates(problem.space)
        self._exemplars = options.exemplars if problem.spec.shares_examples else ()

    @property
    def size(self) -> int:
        """Founders that are missing beside the starting texts."""
        return missing(self._problem, self._options.population)

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        """A founder."""
        how = "induced from answers" if self._exemplars else "a starting text in other words"
        attempts = {name: partial(self._attempts, step, slot, name, is_taken) for name in self._rules}
        texts, why = yield from write_all(self._source(step, slot), f"{step.name}/{slot}", attempts)
        return why if texts is None else Draft(texts, how, {"founder": True}, why.rejected)

    def _source(self, step: Step, slot: int) -> Texts:
        """The starting texts in turns, the better ones first as far as that is known."""
        told = [m.texts for m in best_first(members(self._problem, step.found)) if m.texts in self._starts]
        sources = told + [texts for texts in self._starts if texts not in told]
        return sources[slot % len(sources)]

    def _attempts(
        self, step: Step, slot: int, name: str, is_taken: Callable[[Texts], bool], texts: Texts
    ) -> Attempts[str]:
        rules = self._rules[name]
        settings: Mapping[str, Any] = {"temperature": self._options.temperature}
        asked = in_other_words(texts[name], rules)
        if self._exemplars:
            rng = self._problem.generator(slot, f"{step.name} pairs")
            asked, settings = induced(drawn(self._exemplars, rng), rules), INDUCTION

        def ask(key: str, halvings: int) -> LlmRequest:
            return LlmRequest(key=key, role="founder", snapshot=step.snapshot, messages=asked, **settings)

        def taken(text: str) -> bool:
            return is_taken({**texts, name: text})

        return Attempts(ask, accepting(rules, taken, completes=bool(self._exemplars)))

"""The first units beside the starting texts: a drawn mutation prompt and a drawn thinking style, applied to the problem."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from services.domain.llm import LlmRequest, Talk
from services.domain.suggester import Problem
from workers.models.drafts import Attempts, Draft, Rejected, Texts
from workers.models.populations import missing, write_all
from workers.models.steps import Step
from workers.models.texts import TextRules, starting_candidates, text_parameters
from workers.models.variations import accepting

from . import PromptbreederOptions, asking
from .tables import MUTATION_PROMPTS, THINKING_STYLES


def draw_mutation(rng: np.random.Generator) -> str:
    """One of the mutation prompts of the table."""
    return MUTATION_PROMPTS[int(rng.integers(len(MUTATION_PROMPTS)))]


class Founders:
    """Writes one founder a slot, all its components."""

    def __init__(self, problem: Problem, options: PromptbreederOptions) -> None:
        self._problem, self._options = problem, options
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._starts = starting_candidates(problem.space)

    @property
    def size(self) -> int:
        """Founders that are missing beside the starting texts."""
        return missing(self._problem, self._options.population)

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        """A founder."""
        rng = self._problem.generator(step.index, f"{step.name} {slot}")
        mutation = draw_mutation(rng)
        style = THINKING_STYLES[int(rng.integers(len(THINKING_STYLES)))]
        attempts = {name: partial(self._attempts, step, name, (mutation, style), is_taken) for name in self._rules}
        source = self._starts[slot % len(self._starts)]
        texts, why = yield from write_all(source, f"{step.name}/{slot}", attempts)
        if texts is None:
            return why
        return Draft(texts, "a founder", {"founder": True, "mutation": mutation, "style": style}, why.rejected)

    def _attempts(
        self, step: Step, name: str, way: tuple[str, str], is_taken: Callable[[Texts], bool], texts: Texts
    ) -> Attempts[str]:
        rules = self._rules[name]

        def ask(key: str, halvings: int) -> LlmRequest:
            asked = asking.initial(*way, texts[name], rules)
            return LlmRequest(
                key=key, role="founder", snapshot=step.snapshot, messages=asked, temperature=self._options.temperature
            )

        return Attempts(ask, accepting(rules, lambda text: is_taken({**texts, name: text})))

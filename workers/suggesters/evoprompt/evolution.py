"""Generations of prompts: who the parents are, and what the language model is asked to do with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from services.domain.llm import LlmRequest, Talk
from services.domain.suggester import Problem
from workers.models.drafts import Attempts, Draft, Rejected, Texts
from workers.models.meta_prompt import data
from workers.models.populations import Member, OncePerStep, Population, best_first, members, wheel
from workers.models.steps import Step
from workers.models.texts import TextRules, text_parameters
from workers.models.variations import ASK, Messages, accepting, crossed, messages, purpose

from . import EvopromptOptions
from .founders import Founders

NAME = "evoprompt"


def evolution(problem: Problem, options: EvopromptOptions) -> Population:
    """The suggester."""
    founders = Founders(problem, options)
    kind = Genetic if options.operator == "ga" else Differential
    return Population(
        NAME, problem, options.population, founder=founders, breeder=kind(problem, options, founders),
        edits=options.fallback == "edit",
    )  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How one child is to be made.

    Attributes:
        base: texts of the components that stay.
        asked: of the language model.
        reason: for people.
        origin: for the trial.
    """

    base: Texts
    asked: Messages
    reason: str
    origin: Mapping[str, Any] = field(default_factory=dict)


class Breeder(ABC):
    """Writes one child a slot; a further founder while the population is too small."""

    least = 2

    def __init__(self, problem: Problem, options: EvopromptOptions, founders: Founders) -> None:
        self.problem, self.options, self._founders = problem, options, founders
        self.rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._living = OncePerStep(self.population)

    @property
    def size(self) -> int:
        """Children of a generation."""
        return self.options.population

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        """A child."""
        pool = self._living(step)
        if len(pool) < self.least:
            return (yield from self._founders.write(step, slot, is_taken))
        plan = self.plan(step, slot, pool)

        def ask(key: str, halvings: int) -> LlmRequest:
            return LlmRequest(
                key=key,
                role="operator",
                snapshot=step.snapshot,
                messages=plan.asked,
                temperature=self.options.temperature,
            )

        def taken(text: str) -> bool:
            return is_taken({**plan.base, step.component: text})

        attempts = Attempts(ask, accepting(self.rules[step.component], taken))
        child, why = yield from attempts.talk(f"{step.name}/{slot}")
        if child is None:
            return why
        return Draft({**plan.base, step.component: child}, plan.reason, plan.origin, why.rejected)

    @abstractmethod
    def population(self, step: Step) -> list[Member]:
        """Who lives when a step opens."""

    @abstractmethod
    def plan(self, step: Step, slot: int, pool: Sequence[Member]) -> Plan:
        """How a slot's child is made."""


class Genetic(Breeder):
    """Crosses two parents and mutates; the best of old and new survive, or the new ones alone."""

    def population(self, step: Step) -> list[Member]:
        """The survivors."""
        found = best_first(members(self.problem, step.found))
        if self.options.survivors == "replace":
            newest = step.index - 1
            found.sort(key=lambda m: (m.remembers(NAME).get("method"), m.remembers(NAME).get("step")) != (NAME, newest))
        return found[: self.size]

    def plan(self, step: Step, slot: int, pool: Sequence[Member]) -> Plan:
        """Two parents, the first of which gives the components that stay."""
        first, second = self._parents(step, slot, pool)
        asked = crossed(first.texts[step.component], second.texts[step.component], self.rules[step.component])
        reason = f"a child of trials {first.number} and {second.number}"
        return Plan(first.texts, asked, reason, {"parents": [first.number, second.number]})

    def _parents(self, step: Step, slot: int, pool: Sequence[Member]) -> tuple[Member, Member]:
        rng = self.problem.generator(step.index, f"{NAME} parents {slot}")
        if self.options.selection == "tournament":
            first = self._better(pool, rng)
            return first, self._better([m for m in pool if m is not first], rng)
        parents = self._mating(step, pool)
        first = parents[int(rng.integers(len(parents)))]
        others = [m for m in parents if m is not first] or [m for m in pool if m is not first]
        return first, others[int(rng.integers(len(others)))]

    def _mating(self, step: Step, pool: Sequence[Member]) -> Sequence[Member]:
        """The list that a generation's parents are drawn from: all alike, or in proportion to merit with repeats."""
        if self.options.selection == "random":
            return pool
        rng = self.problem.generator(step.index, f"{NAME} wheel")
        chosen = rng.choice(len(pool), size=self.size, p=wheel([m.merit for m in pool]))
        return [pool[int(i)] for i in chosen]

    @staticmethod
    def _better(pool: Sequence[Member], rng: np.random.Generator) -> Member:
        pair = rng.choice(len(pool), size=min(2, len(pool)), replace=False)
        return best_first([pool[int(i)] for i in pair])[0]


class Differential(Breeder):
    """Each member competes with one child, made of it, of what two others differ in, and of the best so far.

    A child's origin names the trial that it competes with (`target`), so members are the best of such lineages, and no lineage ever
    gets worse. Whoever has no target begins one: founders, edits and the users' own points.
    """

    least = 4

    def population(self, step: Step) -> list[Member]:
        """The best member of each lineage, in the order of the lineages' founders; the best lineages where there are too many."""
        found = members(self.problem, step.found)
        roots: dict[int, int] = {}
        best: dict[int, Member] = {}
        for member in found:
            root = roots.get(member.remembers(NAME).get("target", member.number), member.number)
            roots[member.number] = root
            if root not in best or member.merit > best[root].merit:
                best[root] = member
        kept = {m.number for m in best_first(list(best.values()))[: self.size]}
        return [member for _, member in sorted(best.items()) if member.number in kept]

    def plan(self, step: Step, slot: int, pool: Sequence[Member]) -> Plan:
        """The target gives the components that stay."""
        rng = self.problem.generator(step.index, f"{NAME} donors {slot}")
        place = slot % len(pool)
        target, others = pool[place], [m for i, m in enumerate(pool) if i != place]
        one, other, third = (others[int(i)] for i in rng.choice(len(others), size=3, replace=False))
        if self.options.donor == "best":
            third = best_first(pool)[0]
        asked = self._asked(step.component, target, one, other, third)
        reason = (
            f"against trial {target.number}: what {one.number} and {other.number} differ in, and trial {third.number}"
        )
        donors = [one.number, other.number, third.number]
        return Plan(target.texts, asked, reason, {"target": target.number, "donors": donors})

    def _asked(self, name: str, target: Member, one: Member, other: Member, third: Member) -> Messages:
        return messages(
            "Make a new text out of four in these steps. First: find what texts A and B say differently. Second: change only those "
            "differing parts, into something new. Third: put them into text C in place of its matching parts. Fourth: cross what "
            "came of it with text D, so that parts of both stand in the result.",
            purpose(self.rules[name]),
            *(data(m.texts[name], label) for m, label in ((one, "A"), (other, "B"), (third, "C"), (target, "D"))),
            ASK,
        )  # fmt: skip

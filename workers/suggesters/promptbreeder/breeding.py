"""Tournaments of two: the loser's place goes to a mutated copy of the winner, its mutation prompt included.

A child's origin names the trial whose place it takes (`loser`) and its mutation prompt; who lives is read from that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.domain.llm import LlmRequest, Talk
from services.domain.suggester import Problem
from workers.models.drafts import Attempts, Draft, Rejected, Texts
from workers.models.meta_prompt import Read
from workers.models.populations import Member, OncePerStep, Population, best_first, members, wheel
from workers.models.steps import Step
from workers.models.texts import TextRules, text_parameters
from workers.models.variations import Messages, accepting, crossed

from . import Operator, PromptbreederOptions, asking
from .founders import Founders, draw_mutation
from .lists import diverse, elites, latter, right_answers
from .tables import THINKING_STYLES

NAME = "promptbreeder"
ANSWERS_SHOWN = 3
_WORDS: dict[Operator, str] = {
    "zero_order": "a fresh prompt",
    "first_order": "a mutation",
    "distribution": "the next one of a list of diverse prompts",
    "ranked": "the next one of a list by merit",
    "lineage": "the next one of those that once were best",
    "zero_order_hyper": "a mutation by a new mutation prompt",
    "first_order_hyper": "a mutation by an improved mutation prompt",
    "lamarckian": "induced from right answers",
}


def breeding(problem: Problem, options: PromptbreederOptions) -> Population:
    """The suggester."""
    founders = Founders(problem, options)
    return Population(
        NAME, problem, options.population, founder=founders, breeder=Tournaments(problem, options, founders),
        edits=options.fallback == "edit",
    )  # fmt: skip


@dataclass(frozen=True)
class Birth:
    """What one child is made of.

    Attributes:
        units: the living.
        winner, loser: of the tournament.
        operator: drawn for it.
        mutation: the winner's mutation prompt, or the new one that replaces it.
    """

    step: Step
    slot: int
    units: Sequence[Member]
    winner: Member
    loser: Member
    operator: Operator
    mutation: str

    @property
    def text(self) -> str:
        """The winner's, of the component that is changed."""
        return self.winner.texts[self.step.component]


class Tournaments:
    """Writes one child a slot, of a tournament of its own."""

    def __init__(self, problem: Problem, options: PromptbreederOptions, founders: Founders) -> None:
        self._problem, self._options, self._founders = problem, options, founders
        self._rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}
        self._living = OncePerStep(self.living)
        self._operators = OncePerStep(self._usable)

    @property
    def size(self) -> int:
        """Tournaments in which every unit fights once."""
        return self._options.population // 2

    def write(self, step: Step, slot: int, is_taken: Callable[[Texts], bool]) -> Talk[Draft | Rejected]:
        """A child; a further founder while fewer than two live."""
        units = self._living(step)
        if len(units) < 2:
            return (yield from self._founders.write(step, slot, is_taken))
        birth = self._birth(step, slot, units)
        if birth.operator.endswith("hyper"):
            birth = yield from self._mutated(birth)
        written, why = yield from self._child(birth, is_taken)
        if written is None:
            return why
        texts: Texts = {**birth.winner.texts, step.component: written}
        origin: dict[str, Any] = {
            "winner": birth.winner.number, "loser": birth.loser.number, "operator": birth.operator, "mutation": birth.mutation,
        }  # fmt: skip
        if self._rng(step, slot, "crossing").random() < self._options.crossover:
            mate = self._mate(birth)
            texts, is_crossed = yield from self._crossed(birth, texts, mate, is_taken)
            origin |= {"mate": mate.number} if is_crossed else {}
        reason = f"{_WORDS[birth.operator]}: trial {birth.winner.number} beat trial {birth.loser.number}"
        return Draft(texts, reason, origin, why.rejected)

    def living(self, step: Step) -> list[Member]:
        """The units, in the order of their trials: those whose place no told child has taken; the best where there are too many."""
        found = members(self._problem, step.found)
        gone = {m.remembers(NAME).get("loser") for m in found}
        units = best_first([m for m in found if m.number not in gone])[: self._options.population]
        return sorted(units, key=lambda m: m.number)

    def _rng(self, step: Step, slot: int, purpose: str) -> np.random.Generator:
        return self._problem.generator(step.index, f"{NAME} {purpose} {slot}")

    def _birth(self, step: Step, slot: int, units: Sequence[Member]) -> Birth:
        """Pairs are drawn anew whenever all have fought; a slot beyond them belongs to the next drawing."""
        half = len(units) // 2
        order = self._rng(step, slot // half, "pairs").permutation(len(units))
        place = 2 * (slot % half)
        winner, loser = best_first([units[int(i)] for i in order[place : place + 2]])
        operators = self._operators(step)
        operator = operators[int(self._rng(step, slot, "operator").integers(len(operators)))]
        mutation = winner.remembers(NAME).get("mutation") or draw_mutation(
            self._problem.generator(winner.number, f"{NAME} mutation")
        )
        return Birth(step, slot, units, winner, loser, operator, mutation)

    def _usable(self, step: Step) -> list[Operator]:
        """The operators that have what they show; `first_order` always has."""
        spec = self._problem.spec
        lacking: set[Operator] = set()
        if not (spec.shares_examples and right_answers(spec, step.found)):
            lacking.add("lamarckian")
        if len(elites(step, step.component)) < 2:
            lacking.add("lineage")
        return [o for o in self._options.operators if o not in lacking] or ["first_order"]

    # -- what is asked

    def _child(self, birth: Birth, is_taken: Callable[[Texts], bool]) -> Talk[tuple[str | None, Rejected]]:
        step, rules = birth.step, self._rules[birth.step.component]

        def ask(key: str, halvings: int) -> LlmRequest:
            return self._request(key, birth.operator, step, self._asked(birth, rules, halvings))

        def taken(text: str) -> bool:
            return is_taken({**birth.winner.texts, step.component: text})

        return (yield from Attempts(ask, accepting(rules, taken)).talk(f"{step.name}/{birth.slot}"))

    def _request(self, key: str, role: str, step: Step, asked: Messages) -> LlmRequest:
        return LlmRequest(
            key=key, role=role, snapshot=step.snapshot, messages=asked, temperature=self._options.temperature
        )

    def _asked(self, birth: Birth, rules: TextRules, halvings: int) -> Messages:
        step, name, options = birth.step, birth.step.component, self._options
        rng = self._rng(step, birth.slot, "shown")
        match birth.operator:
            case "zero_order":
                return asking.hint(birth.text, rules)
            case "distribution":
                shuffled = [birth.units[int(i)].texts[name] for i in rng.permutation(len(birth.units))]
                return asking.continued(
                    latter(diverse(shuffled, options.similarity)[: options.max_shown], halvings), rules
                )
            case "ranked":
                ranked = diverse([m.texts[name] for m in best_first(birth.units)], options.similarity)
                return asking.continued_ranked(latter(ranked[: options.max_shown][::-1], halvings), rules)
            case "lineage":
                return asking.continued_lineage(latter(elites(step, name)[-options.max_shown :], halvings), rules)
            case "lamarckian":
                rows = right_answers(self._problem.spec, step.found)
                drawn = [rows[int(i)] for i in rng.permutation(len(rows))[:ANSWERS_SHOWN]]
                return asking.explained(latter(drawn, halvings), rules)
        return asking.applied(birth.mutation, birth.text, rules)

    def _mutated(self, birth: Birth) -> Talk[Birth]:
        """The birth with a new mutation prompt; with the old one where no usable one came."""
        step, slot = birth.step, birth.slot
        asked = asking.better_mutation(birth.mutation)
        if birth.operator == "zero_order_hyper":
            style = THINKING_STYLES[int(self._rng(step, slot, "style").integers(len(THINKING_STYLES)))]
            asked = asking.new_mutation(style, birth.text, self._rules[step.component])

        def ask(key: str, halvings: int) -> LlmRequest:
            return self._request(key, "mutation_prompt", step, asked)

        attempts = Attempts(ask, lambda reply: asking.read_mutation(reply.text) or Read(fault="unparsable"))
        mutation, _ = yield from attempts.talk(f"{step.name}/{slot}/mutation")
        return Birth(step, slot, birth.units, birth.winner, birth.loser, birth.operator, mutation or birth.mutation)

    # -- crossing

    def _mate(self, birth: Birth) -> Member:
        """One of the others, in proportion to merit."""
        others = [m for m in birth.units if m is not birth.winner]
        shares = wheel([m.merit for m in others])
        return others[int(self._rng(birth.step, birth.slot, "mate").choice(len(others), p=shares))]

    def _crossed(
        self, birth: Birth, texts: Texts, mate: Member, is_taken: Callable[[Texts], bool]
    ) -> Talk[tuple[Texts, bool]]:
        """The child crossed with a mate, and whether it was: another component from the mate, or one call where there is just one."""
        step, name = birth.step, birth.step.component
        others = [other for other in self._rules if other != name]
        if others:
            other = others[int(self._rng(step, birth.slot, "component").integers(len(others)))]
            joined = {**texts, other: mate.texts[other]}
            is_new = joined != texts and not is_taken(joined)
            return (joined, True) if is_new else (texts, False)
        rules = self._rules[name]

        def ask(key: str, halvings: int) -> LlmRequest:
            return self._request(key, "crossover", step, crossed(texts[name], mate.texts[name], rules))

        def taken(text: str) -> bool:
            return is_taken({**texts, name: text})

        text, _ = yield from Attempts(ask, accepting(rules, taken)).talk(f"{step.name}/{birth.slot}/crossing")
        return (texts, False) if text is None else ({**texts, name: text}, True)

"""What a candidate is, and how a new one is written: two parents crossed by the language model, then mutated by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from services.domain.llm import LlmRequest, Talk
from services.domain.suggester import Problem
from workers.models.drafts import Attempts, Rejected, Texts
from workers.models.exemplars import Exemplar
from workers.models.meta_prompt import data
from workers.models.phrases import neighbour
from workers.models.texts import TextRules, candidate_key, text_parameters
from workers.models.variations import ASK, Messages, accepting, in_other_words, messages, purpose

from . import CapoOptions

Taken = Callable[[Texts], bool]


@dataclass(frozen=True)
class Candidate:
    """Instructions and demonstrations, and the texts that they make.

    Attributes:
        instructions: by text parameter.
        shown: places of its demonstrations among the declared ones, in their order.
        texts: as evaluated, by text parameter.
        how: it came to be, for people.
        place: generation and slot in which it was born.
    """

    instructions: Texts
    shown: tuple[int, ...]
    texts: Texts
    how: str = "a starting text"
    place: tuple[int, int] = (0, 0)

    @cached_property
    def key(self) -> tuple[tuple[str, str], ...]:
        """Equal for candidates that count as the same."""
        return candidate_key(self.texts)

    def origin(self) -> dict[str, Any]:
        """What its trials carry."""
        generation, slot = self.place
        return {
            "generation": generation, "slot": slot, "instructions": self.instructions, "shown": list(self.shown),
            "how": self.how,
        }  # fmt: skip

    def receipt(self) -> dict[str, Any]:
        """What their receipts say."""
        return {"words": self.words, "demonstrations": len(self.shown)}

    @property
    def words(self) -> int:
        """Its length."""
        return sum(len(text.split()) for text in self.texts.values())


class Nursery:
    """Writes candidates; a pure function of parents, generation, slot and replies."""

    def __init__(self, problem: Problem, options: CapoOptions) -> None:
        self._problem, self._options = problem, options
        self.rules = {p.name: TextRules(p) for p in text_parameters(problem.space)}

    def candidate(self, instructions: Texts, shown: Sequence[int], how: str) -> Candidate:
        """A candidate with as many of its demonstrations as fit into the text and leave it valid."""
        fitting: list[int] = []
        for i in shown:
            if self._is_valid(instructions, [*fitting, i]):
                fitting.append(i)
        return Candidate(dict(instructions), tuple(fitting), self._texts(instructions, fitting), how)

    def _texts(self, instructions: Texts, shown: Sequence[int]) -> Texts:
        return {name: self._rendered(text, shown) for name, text in instructions.items()}

    def _is_valid(self, instructions: Texts, shown: Sequence[int]) -> bool:
        return all(self.rules[name].fault(text) is None for name, text in self._texts(instructions, shown).items())

    def _rendered(self, instruction: str, shown: Sequence[int]) -> str:
        pairs = [self._options.demonstrations[i] for i in shown]
        if not pairs:
            return instruction
        block = "\n\n".join(_pair(e) for e in pairs)
        # An instruction with placeholders takes the input itself: what comes before must be known by then.
        has_slots = any(rules.wanted for rules in self.rules.values())
        return f"{block}\n\n{instruction}" if has_slots else f"{instruction}\n\n{block}"

    def start(self, texts: Texts, slot: int) -> Candidate:
        """A starting candidate with a random number of random demonstrations."""
        rng = self._problem.generator(slot, "capo demonstrations")
        return self.candidate(texts, self._drawn(rng), "a starting text")

    def _drawn(self, rng: np.random.Generator) -> list[int]:
        declared = len(self._options.demonstrations)
        most = min(declared, self._options.max_demonstrations)
        return [int(i) for i in rng.permutation(declared)[: int(rng.integers(most + 1))]]

    # -- conversations

    def founder(self, step: str, slot: int, source: Texts, snapshot: int, is_taken: Taken) -> Talk[Candidate | None]:
        """A starting candidate in other words."""
        name = list(self.rules)[slot % len(self.rules)]
        asked = in_other_words(source[name], self.rules[name])
        found: Texts | Rejected | None
        found = yield from self._asked("founder", f"{step}/{slot}/{name}", asked, name, source, snapshot, is_taken)
        if isinstance(found, Rejected):
            found = self._edited(step, slot, name, source, is_taken)
        if found is None:
            return None
        rng = self._problem.generator(slot, f"{step} demonstrations")
        return self.candidate(found, self._drawn(rng), "a starting text in other words")

    def child(
        self,
        step: str,
        slot: int,
        parents: tuple[Candidate, Candidate],
        generation: int,
        snapshot: int,
        is_taken: Taken,
    ) -> Talk[Candidate | None]:
        """Two instructions merged, what came of it mutated; half of both parents' demonstrations, one more or less, shuffled."""
        first, second = parents
        name = list(self.rules)[generation % len(self.rules)]
        one, two = first.instructions[name], second.instructions[name]
        merged = yield from self._asked(
            "crossover", f"{step}/{slot}/cross", _merge(one, two, self.rules[name]), name, first.instructions, snapshot,
            lambda texts: False,
        )  # fmt: skip
        how = "two parents crossed, then mutated"
        found: Texts | Rejected | None = merged
        if not isinstance(merged, Rejected):
            asked = _mutate(merged[name], self.rules[name])
            found = yield from self._asked(
                "mutation", f"{step}/{slot}/mutate", asked, name, first.instructions, snapshot, is_taken
            )
        if isinstance(found, Rejected):
            found = self._edited(step, slot, name, first.instructions, is_taken)
            how = "an edit of a parent: the language model wrote nothing that could be used"
        if found is None:
            return None
        rng = self._problem.generator(slot, f"{step} demonstrations")
        return self.candidate(found, self._inherited(first, second, rng), how)

    def _inherited(self, first: Candidate, second: Candidate, rng: np.random.Generator) -> list[int]:
        union = list(dict.fromkeys(first.shown + second.shown))
        shown = [union[int(i)] for i in rng.permutation(len(union))[: (len(union) + 1) // 2]]
        fate, most = int(rng.integers(3)), self._options.max_demonstrations
        others = [i for i in range(len(self._options.demonstrations)) if i not in shown]
        if fate == 0 and others and len(shown) < most:
            shown.append(others[int(rng.integers(len(others)))])
        elif fate == 1 and shown:
            del shown[int(rng.integers(len(shown)))]
        return [shown[int(i)] for i in rng.permutation(len(shown))][:most]

    def _asked(
        self, role: str, key: str, asked: Messages, name: str, base: Texts, snapshot: int, is_taken: Taken
    ) -> Talk[Texts | Rejected]:
        options = self._options

        def ask(place: str, halvings: int) -> LlmRequest:
            return LlmRequest(
                key=place, role=role, snapshot=snapshot, messages=asked, temperature=options.temperature,
                max_tokens=options.max_tokens,
            )  # fmt: skip

        def taken(text: str) -> bool:
            return is_taken({**base, name: text})

        text, why = yield from Attempts(ask, accepting(self.rules[name], taken)).talk(key)
        return why if text is None else {**base, name: text}

    def _edited(self, step: str, slot: int, name: str, texts: Texts, is_taken: Taken) -> Texts | None:
        if self._options.fallback == "none":
            return None
        rng = self._problem.generator(slot, f"{step} edit")
        text = neighbour(texts[name], self.rules[name], rng, lambda t: is_taken({**texts, name: t}))
        return None if text is None else {**texts, name: text}


def read_candidate(nursery: Nursery, origin: Mapping[str, Any]) -> Candidate:
    """The candidate that a trial was made for."""
    found = nursery.candidate(dict(origin["instructions"]), origin["shown"], origin["how"])
    return replace(found, place=(origin["generation"], origin["slot"]))


def _pair(exemplar: Exemplar) -> str:
    return f"Input: {exemplar.input}\nOutput: {exemplar.output}"


def _merge(one: str, two: str, rules: TextRules) -> Messages:
    return messages(
        "Two instructions for one task are to become one. Take what is good in each and write a single instruction, no longer than "
        "it must be.",
        purpose(rules), data(one, "the first instruction"), data(two, "the second instruction"), ASK,
    )  # fmt: skip


def _mutate(text: str, rules: TextRules) -> Messages:
    return messages(
        "Change this instruction: keep what it is for, but vary how it says it, or add or drop one idea, so that its task may be "
        "done better.",
        purpose(rules), data(text, "the instruction"), ASK,
    )  # fmt: skip

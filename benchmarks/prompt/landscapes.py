"""Synthetic scores of prompts: cheap, noise-free, with per-example results and feedback, and with a known best.

All prompts begin with the same stem, so that a scripted optimiser can tell them from the words around them.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

STEM = "Answer the question."
RULES = (
    "sources", "units", "dates", "names", "steps", "limits", "examples", "doubts", "tables", "dosage",
    "ranges", "reasons", "risks", "costs", "origins", "errors", "totals", "places", "methods", "summary",
)  # fmt: skip
HARMFUL = ("poems", "jokes", "guesses", "slang", "riddles", "rumours", "songs", "emojis")
NEUTRAL = (
    "tone", "style", "context", "audience", "format", "length", "focus", "order", "detail", "voice", "layout", "purpose",
)  # fmt: skip
VOCABULARY = RULES + HARMFUL + NEUTRAL
_WORD = re.compile(r"\w+")


def words(text: str) -> set[str]:
    """The distinct words of a text."""
    return set(_WORD.findall(text.casefold()))


class Landscape(Protocol):
    """What a client would evaluate."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def seed_text(self) -> str:
        """The prompt to begin with."""
        ...

    @property
    def train(self) -> tuple[str, ...]:
        """Ids of examples to learn from."""
        ...

    @property
    def validation(self) -> tuple[str, ...]:
        """Ids of examples that decide."""
        ...

    def row(self, text: str, example: str) -> dict[str, Any]:
        """What one example gives: id, score from 0 to 1, output, feedback."""
        ...


def rows(landscape: Landscape, text: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    """What some examples give."""
    return [landscape.row(text, example) for example in ids]


def mean(found: Sequence[dict[str, Any]]) -> float:
    """The trial's score: the mean over its examples."""
    return sum(float(row["score"]) for row in found) / len(found)


def quality(landscape: Landscape, text: str) -> float:
    """The mean over all validation examples."""
    return mean(rows(landscape, text, landscape.validation))


@dataclass(frozen=True)
class Coverage:
    """Each example passes when the prompt asks for what it needs; harmful words cost, and so do words beyond 60.

    The feedback of a failed example names what was missing, as a good metric does. The best prompt scores 1.
    """

    seed: int
    name: str = "coverage"
    seed_text: str = STEM

    @cached_property
    def train(self) -> tuple[str, ...]:
        """30 ids."""
        return tuple(f"t{i}" for i in range(30))

    @cached_property
    def validation(self) -> tuple[str, ...]:
        """20 ids, one for each rule."""
        return tuple(f"v{i}" for i in range(20))

    def need(self, example: str) -> str:
        """The rule that an example depends on."""
        return RULES[(int(example[1:]) + self.seed) % len(RULES)]

    def row(self, text: str, example: str) -> dict[str, Any]:
        """1 with what it needs, 0.2 without; less 0.1 for each harmful word and 0.01 for each word beyond 60."""
        found, need = words(text), self.need(example)
        penalty = 0.1 * len(found & set(HARMFUL)) + 0.01 * max(0, len(_WORD.findall(text)) - 60)
        passed = need in found
        score = max(0.0, (1.0 if passed else 0.2) - penalty)
        bad = sorted(found & set(HARMFUL))
        told = [] if passed else [f"the answer should mention {need}"]
        told += [f"the answer should not have {bad[0]}"] if bad else []
        return {
            "id": example,
            "score": score,
            "output": "complete" if passed else "incomplete",
            "feedback": "; ".join(told) or "right",
        }


@dataclass(frozen=True)
class Wording:
    """Every word has a hidden weight, a little different for each example; what is seen is a squashed sum.

    No feedback says what to do: 'wrong' or 'right' only. Any edit of any word changes the score.
    """

    seed: int
    name: str = "wording"
    seed_text: str = (
        f"{STEM} Read the whole passage with care, think about what is asked, weigh every option, then give a short and clear reply "
        "in plain words and check it once more."
    )

    @cached_property
    def train(self) -> tuple[str, ...]:
        """30 ids."""
        return tuple(f"t{i}" for i in range(30))

    @cached_property
    def validation(self) -> tuple[str, ...]:
        """20 ids."""
        return tuple(f"v{i}" for i in range(20))

    def weight(self, word: str, example: str = "") -> float:
        """About standard normal, by hash."""
        digest = hashlib.sha256(f"{self.seed}/{example}/{word}".encode()).digest()
        return sum(digest[i] / 255 - 0.5 for i in range(12))

    def row(self, text: str, example: str) -> dict[str, Any]:
        """The logistic of the words' weights, over the root of how many there are."""
        found = sorted(words(text)) or [""]
        total = sum(self.weight(w) + 0.5 * self.weight(w, example) for w in found) / math.sqrt(len(found))
        score = 1 / (1 + math.exp(-total))
        return {
            "id": example,
            "score": score,
            "output": f"{score:.2f}",
            "feedback": "right" if score > 0.5 else "wrong",
        }


LANDSCAPES: dict[str, type[Coverage] | type[Wording]] = {"coverage": Coverage, "wording": Wording}

"""A landscape of words for methods that breed texts, with the operators that a scripted language model plays; a sign test."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Sequence
from math import comb
from typing import Any

from services.domain.llm import LlmRequest

GOOD = ("clear", "brief", "kind", "exact", "honest", "calm", "warm", "plain", "sharp", "fair", "bold", "wise")
OTHER = tuple(f"word{i}" for i in range(60))
LONGEST = 12
_SHOWN = re.compile(r"<data(?: of=\"([^\"]*)\")?>\n(.*?)\n</data>", re.DOTALL)


def shown(request: LlmRequest) -> dict[str, str]:
    """What a request shows as data, by label; the last one where a label comes twice."""
    return dict(_SHOWN.findall(request.messages[-1][1]))


def draws(*parts: Any) -> random.Random:
    """Random numbers that are a function of the parts."""
    return random.Random(hashlib.sha256(repr(parts).encode()).hexdigest())


def noise(text: str) -> float:
    """A value that says nothing about the text."""
    return draws("noise", text).random()


def coverage(text: str) -> float:
    """Share of the twelve good words that a text has, less 0.02 for each word beyond twelve."""
    words = text.split()
    return len(set(words) & set(GOOD)) / len(GOOD) - 0.02 * max(0, len(words) - LONGEST)


def start_texts(seed: int, count: int = 4) -> list[str]:
    """Texts of eight words without a good one."""
    rng = draws("words", seed)
    return [" ".join(rng.choice(OTHER) for _ in range(8)) for _ in range(count)]


def mutated(words: Sequence[str], rng: random.Random) -> str:
    """One word replaced, sometimes one more."""
    words = list(words) or ["text"]
    words[rng.randrange(len(words))] = rng.choice(GOOD + OTHER)
    if rng.random() < 0.3 and len(words) < LONGEST + 2:
        words.append(rng.choice(GOOD + OTHER))
    return " ".join(words)


def mixed(one: Sequence[str], other: Sequence[str], rng: random.Random) -> list[str]:
    """Place by place from one or the other; the rest of the longer one."""
    both = [rng.choice(pair) for pair in zip(one, other, strict=False)]
    return both + list(max(one, other, key=len)[len(both) :])


def random_edits(seed: int, count: int, starts: Sequence[str] = ()) -> float:
    """The best of so many edits of starting texts (those of the seed where none are given)."""
    rng, sources = draws("edits", seed), starts or start_texts(seed)
    return max(coverage(mutated(rng.choice(sources).split(), rng)) for _ in range(count))


def sign_test(one: Sequence[float], other: Sequence[float]) -> float:
    """Probability that fair coins let `one` win so often or more often; ties do not count."""
    wins = sum(a > b for a, b in zip(one, other, strict=True))
    n = wins + sum(a < b for a, b in zip(one, other, strict=True))
    return sum(comb(n, k) for k in range(wins, n + 1)) / 2.0**n

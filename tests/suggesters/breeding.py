"""What the tests of methods that breed texts share: studies, a landscape of words with scripted operators, a sign test."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Callable, Sequence
from math import comb
from typing import Any

from services.domain.llm import LlmRequest
from services.domain.suggester import Problem
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm
from workers.suggesters.registry import get

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


# -- studies


def problem(
    name: str,
    initial: Sequence[str],
    seed: int = 0,
    *,
    parameter: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    **options: Any,
) -> Problem:
    """A study of one text, to be maximised, checked as at its creation.

    Args:
        parameter, fields: of the text and of the study, in place of the usual ones.
        options: of the suggester of this name.
    """
    usual = {
        "parameters": [{"name": "prompt", "type": "text", "initial": list(initial), **(parameter or {})}],
        "objectives": [{"metric": "score", "goal": "maximize"}],
        "seed": seed,
        "llm": {"profile": "scripted", "share_examples": True},
        "suggester": {"name": name, "options": options},
    }
    of = study(**(usual | (fields or {})))
    of.check()
    get(name).check(of)
    return Problem(study="st", spec=of, seed=seed)


def ask(one: law.Study, count: int) -> list[int]:
    """Trials of what a suggester proposes that knows nothing but the history."""
    spec = get(one.spec.suggester.name)
    return [one.start(s) for s in one.ask(law.make(spec, one.problem), count)]


def ask_and_tell(one: law.Study, count: int, value: Callable[[str], float]) -> int:
    """The same, told what their texts are worth; how many there were."""
    numbers = ask(one, count)
    for number in numbers:
        one.tell(number, value(text_of(one, number)))
    return len(numbers)


def evolve(of: Problem, trials: int, value: Callable[[str], float], llm: ScriptedLlm, count: int) -> law.Study:
    """A study of so many trials, asked for `count` at a time."""
    one = law.Study(of, llm)
    while len(one.trials) < trials:
        assert ask_and_tell(one, count, value)
    return one


def text_of(one: law.Study, number: int) -> str:
    """The text of a trial."""
    return str(one.trials[number].parameters["prompt"])


def texts_of(one: law.Study) -> list[str]:
    """The texts of all trials."""
    return [text_of(one, number) for number in one.trials]


# -- promptbreeder


NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa")
STARTS = [f"Judge the review in manner {name}." for name in NAMES]


def units(seed: int = 0, initial: Sequence[str] = STARTS, **options: Any) -> Problem:
    """A study of ten units."""
    return problem("promptbreeder", initial, seed, **{"population": len(NAMES), **options})


def by_key(request: LlmRequest) -> str:
    """A text, or a mutation prompt, that says which call it answers."""
    if request.role == "mutation_prompt":
        return f"<text>Change it the way of {request.key.replace('/', ' ')}.</text>"
    return f"<text>A prompt of {request.role} {request.key.replace('/', ' ')}</text>"


def founded(of: Problem, llm: ScriptedLlm, examples: Callable[[int], list[dict[str, Any]]] | None = None) -> law.Study:
    """A study whose ten starting texts are told 1 to 10."""
    one = law.Study(of, llm)
    for number in ask(one, len(NAMES)):
        one.tell(number, float(number), examples=None if examples is None else examples(number))
    return one


# -- ape


EXEMPLARS = [{"input": f"question {i}", "output": f"answer {i}"} for i in range(12)]
IDS = [f"e{i}" for i in range(50)]
EXAMPLES: dict[str, Any] = {"examples": {"train": IDS}}


def induction(seed: int = 0, initial: Sequence[str] = (), **options: Any) -> Problem:
    """A study of `ape` with twelve pairs."""
    return problem("ape", initial, seed, **{"exemplars": EXEMPLARS, **options})


def numbered(request: LlmRequest) -> list[str]:
    """Distinct instructions, as many as are asked for."""
    return [f"<text>Instruction {request.key.replace('/', ' ')} number {i}.</text>" for i in range(request.n)]

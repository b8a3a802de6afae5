"""Plum on a landscape of words: rewards and penalties for words and pairs of neighbours."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from itertools import pairwise
from typing import Any

from services.domain.history import Observation
from services.domain.parameters import TextParameter
from services.domain.suggester import Problem, Suggester, Suggestion
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm
from workers.models.chunks import words_of
from workers.suggesters.plum import SPEC

ALGORITHMS = ("hc", "sa", "ga_m", "ga_c", "tabu", "hs")
START = (
    "Read the review {q} carefully, and decide whether its writer is happy with the film or not. Think about every important detail "
    "before you answer, but ignore the plot. Use simple words; give a short reason, then say good or bad."
)
OTHER = "Study {q} with care. Say in one word, good or bad, how the author felt about the picture, and check your answer twice."
Told = Callable[[str, int], float]


@lru_cache(100_000)
def weight(word: str, seed: int) -> float:
    """Of a word: reward or penalty, in [-1, 1)."""
    return int.from_bytes(sha256(f"{seed}/{word}".encode()).digest()[:4], "little") / 2**31 - 1


def score(text: str, seed: int) -> float:
    """Words present are rewarded or punished, half as much are pairs of neighbours, and length costs."""
    words = [text[w.start : w.end].casefold() for w in words_of(text, ("{q}",))]
    pairs = {" ".join(pair) for pair in pairwise(words)}
    found = [weight(w, seed) for w in set(words)] + [weight(p, seed) / 2 for p in pairs]
    return math.fsum(found) - 0.02 * len(words)


def problem(seed: int = 1, starts: tuple[str, ...] = (START,), goal: str = "maximize", **options: Any) -> Problem:
    fields = options.pop("fields", {})
    parameter = {"name": "p", "type": "text", "initial": list(starts), "placeholders": ["{q}"], "max_length": 600}
    made = study(
        **{
            "parameters": [parameter], "objectives": [{"metric": "s", "goal": goal}],
            "suggester": {"name": "plum", "options": options}, "seed": seed, **fields,
        }
    )  # fmt: skip
    SPEC.check(made)
    return Problem(study="st", spec=made, seed=seed)


def run(of: Problem, budget: int, told: Told = score, count: int = 10, llm: ScriptedLlm | None = None) -> law.Study:
    """Ask for some at a time and tell all of them."""
    one = law.Study(of, llm)
    suggester = law.make(SPEC, of)
    while len(one.trials) < budget:
        found = one.ask(suggester, min(count, budget - len(one.trials)) if one.trials else 1)
        if not found:
            break
        for number, suggestion in [(one.start(s), s) for s in found]:
            one.tell(number, told(suggestion.parameters["p"], of.seed))
    return one


def texts(one: law.Study) -> list[str]:
    return [t.parameters["p"] for t in one.trials.values()]


def best(one: law.Study) -> float:
    return max(score(text, one.problem.seed) for text in texts(one))


def ours(one: law.Study) -> list[Observation]:
    return [t for t in one.trials.values() if t.origin.get("method") == "plum"]


def fill(one: law.Study, suggester: Suggester, count: int) -> list[Suggestion]:
    found = one.ask(suggester, count)
    for s in found:
        one.start(s)
    return found


def text_parameter(*starts: str, **fields: Any) -> TextParameter:
    wire = {"name": "p", "type": "text", "initial": starts or (START,), "placeholders": ["{q}"], "max_length": 600}
    return TextParameter.model_validate_json(json.dumps(wire | fields))

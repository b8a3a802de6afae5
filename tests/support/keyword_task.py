"""A text task with a known optimum: each example is right where the text holds its rule, and its feedback may name it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from services.domain.llm import LlmRequest
from services.domain.suggester import Suggestion
from tests.suggesters.law import Study

RULES = tuple(f"rule{chr(97 + i // 5)}{chr(97 + i % 5)}" for i in range(20))
START = "Answer the question."


def rows(text: str, ids: Sequence[str], *, feedback: bool = True) -> list[dict[str, Any]]:
    """What the client tells of its examples: example `e7` needs the eighth rule."""
    words = set(re.findall(r"\w+", text))
    told = []
    for example in ids:
        rule = RULES[int(re.findall(r"\d+", example)[0]) % len(RULES)]
        right = rule in words
        row: dict[str, Any] = {"id": example, "score": float(right), "output": "right" if right else "wrong"}
        if feedback:
            row["feedback"] = "well done" if right else f"the text must say {rule}"
        told.append(row)
    return told


def told(one: Study, suggestion: Suggestion, *, feedback: bool = True) -> int:
    """A trial of a suggestion, evaluated and told; its number."""
    number = one.start(suggestion)
    tell(one, number, feedback=feedback)
    return number


def tell(one: Study, number: int, *, feedback: bool = True) -> None:
    """Evaluate a trial that runs."""
    trial = one.trials[number]
    text = " ".join(str(value) for value in trial.parameters.values() if isinstance(value, str))
    assert trial.evaluate_on is not None
    found = rows(text, trial.evaluate_on["ids"], feedback=feedback)
    one.tell(number, float(np.mean([row["score"] for row in found])), examples=found)


def present_text(request: LlmRequest) -> str:
    """The component's wording that a reflection shows."""
    found = re.search(r"```\n(.*?)\n```", request.messages[-1][1], re.DOTALL)
    assert found is not None
    return found.group(1)


def reflector(request: LlmRequest) -> str:
    """Adds every rule that the feedback names."""
    named = re.findall(r"must say (\w+)", request.messages[-1][1])
    text = present_text(request)
    new = [rule for rule in dict.fromkeys(named) if rule not in text]
    return f"The failures are plain.\n```\n{' '.join([text, *new])}\n```"


def guesser(request: LlmRequest) -> str:
    """Writes without reading: a word at random in place of another or at the end, from four times as many words as there are rules."""
    rng = np.random.default_rng(int(request.digest[:12], 16))
    words = present_text(request).split()
    word = RULES[rng.integers(20)] if rng.random() < 0.25 else f"other{rng.integers(60)}"
    place = int(rng.integers(len(words) + 1))
    return f"```\n{' '.join([*words[:place], word, *words[place + 1 :]])}\n```"


def best_full(one: Study, options: Mapping[str, Any] | None = None) -> float:
    """The best value of a full evaluation."""
    metric = one.spec.objectives[0].metric
    size = len(one.spec.examples.full()[1]) if one.spec.examples else 0
    full = [t for t in one.trials.values() if t.metrics and t.evaluate_on and len(t.evaluate_on["ids"]) == size]
    return max((t.metrics[metric] for t in full), default=0.0)

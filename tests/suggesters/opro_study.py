"""Studies of OPRO with a scripted model, and what its requests show."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from services.domain.llm import LlmRequest
from services.domain.suggester import Problem, Suggester
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm
from workers.suggesters.registry import get

SPEC = get("opro")
START = "Decide whether the writer of the review was happy."
ENTRY = re.compile(r'<data of="text">\n(.*?)\n</data>\nscore: (\d+)', re.DOTALL)


def problem(
    options: dict[str, Any] | None = None, *, seed: int = 3, parameter: dict[str, Any] | None = None, **fields: Any
) -> Problem:
    text = {"name": "prompt", "type": "text", "initial": [START], "task": "sentiment"} | (parameter or {})
    fields.setdefault("parameters", [text])
    fields.setdefault("llm", {"profile": "p", "share_examples": True})
    spec = study(suggester={"name": "opro", "options": options or {}}, seed=seed, **fields)
    SPEC.check(spec)
    return Problem(study="s", spec=spec, seed=seed)


def begin(
    script: Callable[[LlmRequest], Any] | None = None, options: dict[str, Any] | None = None, **fields: Any
) -> tuple[law.Study, Suggester]:
    of = problem(options, **fields)
    return law.Study(of, ScriptedLlm(script or by_key)), law.make(SPEC, of)


def by_key(request: LlmRequest) -> str:
    """Another text for each call."""
    return f"<text>Text of step and slot {request.key.removeprefix('opro-').replace('/', ' ')}</text>"


def user(request: LlmRequest) -> str:
    return request.messages[-1][1]


def shown(request: LlmRequest) -> list[tuple[str, int]]:
    return [(text, int(score)) for text, score in ENTRY.findall(user(request))]


def steps(one: law.Study, suggester: Suggester, rounds: int, value: Callable[[str], float], count: int = 8) -> float:
    """Ask and tell whole steps; the best value."""
    best = -np.inf
    for _ in range(rounds):
        found = one.ask(suggester, count)
        numbers = [one.start(s) for s in found]
        for number, suggestion in zip(numbers, found, strict=True):
            worth = value(suggestion.parameters["prompt"])
            best = max(best, worth)
            one.tell(number, worth)
    return float(best)

"""Studies of `mipro`: a text and a set of demonstrations, scored on numbered examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from services.domain.llm import LlmReply, LlmRequest
from services.domain.suggester import Problem, Suggestion
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import Script, ScriptedLlm, failed
from workers.suggesters.registry import get

SPEC = get("mipro")
TRAIN = [f"t{n}" for n in range(40)]
TEXT: dict[str, Any] = {"name": "prompt", "type": "text", "initial": ["Instruction number 0."], "max_length": 500}
DEMOS: dict[str, Any] = {"name": "demos", "type": "tokens", "vocabulary": TRAIN, "max_length": 8}
Score = Callable[[dict[str, Any], str], float]


def writer(request: LlmRequest) -> str:
    if "/summary/" in request.key:
        return "They are sums." if request.key.endswith(("/0", "/end")) else "COMPLETE"
    return f"<text>Instruction number {request.key.split('/')[2]}.</text>"


def away(request: LlmRequest) -> LlmReply:
    return failed(request, "unreachable")


def problem(
    seed: int = 1, *, validation: int = 60, train: bool = True, budget: int | None = None, **fields: Any
) -> Problem:
    sets = {"train": TRAIN if train else [], "validation": [f"v{n}" for n in range(validation)]}
    usual: dict[str, Any] = {
        "parameters": [TEXT, DEMOS],
        "objectives": [{"metric": "accuracy", "goal": "maximize"}],
        "suggester": {"name": "mipro", "options": fields.pop("options", {})},
        "examples": {split: ids for split, ids in sets.items() if ids},
        "llm": {"profile": "scripted", "share_examples": True},
        "limits": {} if budget is None else {"max_example_evaluations": budget},
    }
    spec = study(**(usual | fields))
    spec.check()
    SPEC.check(spec)
    return Problem(study="st", spec=spec, seed=seed)


def right_half(point: dict[str, Any], example: str) -> float:
    return float(int(example[1:]) % 2)


def tell(one: law.Study, suggestion: Suggestion, score: Score = right_half) -> None:
    trial = one.start(suggestion)
    ids = (one.trials[trial].evaluate_on or {"ids": []})["ids"]
    rows = [
        {"id": i, "score": score(suggestion.parameters, i), "output": f"out {i}", "expected": f"want {i}"} for i in ids
    ]
    one.tell(trial, float(np.mean([row["score"] for row in rows])), examples=rows)


def played(
    of: Problem, script: Script = writer, score: Score = right_half, *, asks: int = 200, batch: int = 1
) -> law.Study:
    one = law.Study(of, ScriptedLlm(script))
    suggester = law.make(SPEC, of)
    for _ in range(asks):
        found = one.ask(suggester, batch)
        for suggestion in found:
            tell(one, suggestion, score)
        if not found:
            break
    return one


def kinds(one: law.Study) -> list[str]:
    return [t.origin["role"] for t in one.trials.values()]


def sizes(one: law.Study) -> list[int]:
    return [len((t.evaluate_on or {})["ids"]) for t in one.trials.values()]


def chosen(one: law.Study) -> dict[str, list[Any]]:
    (found,) = [t.origin["candidates"] for t in one.trials.values() if "candidates" in t.origin]
    return dict(found)

"""A text task with a known optimum: each example is right where the text holds its rule, and its feedback may name it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from services.domain.llm import LlmRequest
from services.domain.suggester import Problem, Suggestion
from tests.suggesters import law
from tests.support.builders import study
from tests.support.scripted_llm import Script, ScriptedLlm
from workers.suggesters.registry import get

RULES = tuple(f"rule{chr(97 + i // 5)}{chr(97 + i % 5)}" for i in range(20))
START = "Answer the question."
Client = Callable[[str, Sequence[str]], list[dict[str, Any]]]


def number(example: str) -> int:
    """Of an id such as `e7`."""
    return int(re.findall(r"\d+", example)[0])


def keywords(text: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """What the client tells of its examples: `e7` needs the eighth rule, and the feedback says so."""
    words, told = set(re.findall(r"\w+", text)), []
    for example in ids:
        rule = RULES[number(example) % len(RULES)]
        right = rule in words
        feedback = "well done" if right else f"the text must say {rule}"
        told.append({"id": example, "score": float(right), "output": "some answer", "feedback": feedback})
    return told


def two_ways(text: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """A landscape with a trap: `slow` needs a rule for each example; without it twelve of twenty are right, and never more."""
    words = set(re.findall(r"\w+", text))
    if "slow" in words:
        return keywords(text, ids)
    told = []
    for example in ids:
        right = number(example) % 20 < 12
        feedback = "well done" if right else f"the text must say slow and must say {RULES[number(example) % 20]}"
        told.append({"id": example, "score": float(right), "output": "some answer", "feedback": feedback})
    return told


def present_text(request: LlmRequest) -> str:
    """The component's wording that a reflection shows."""
    found = re.search(r"```\n(.*?)\n```", request.messages[-1][1], re.DOTALL)
    assert found is not None
    return found.group(1)


def reflector(request: LlmRequest) -> str:
    """Adds every rule that the feedback names."""
    named = re.findall(r"must say (\w+)", request.messages[-1][1])
    text = present_text(request)
    new = [word for word in dict.fromkeys(named) if word not in text]
    return f"The failures are plain.\n```\n{' '.join([text, *new])}\n```"


def guesser(request: LlmRequest) -> str:
    """Adds words without reading: as many as a reflector would, one in two of them a rule."""
    rng = np.random.default_rng(int(request.digest[:12], 16))
    words = [*RULES, *(f"other{n}" for n in range(20))]
    return f"```\n{' '.join([present_text(request), *rng.choice(words, 3, replace=False)])}\n```"


def answered(text: str) -> Script:
    """Always the same words, and the place of the call."""
    return lambda request: f"```\n{text} {request.key}\n```"


def problem(
    seed: int = 1, *, train: int = 20, validation: int = 20, budget: int | None = None, **fields: Any
) -> Problem:
    """A study of `gepa` over one text, with as many examples."""
    examples = {"train": [f"e{n}" for n in range(train)], "validation": [f"v{n}" for n in range(validation)]}
    usual: dict[str, Any] = {
        "parameters": [{"name": "prompt", "type": "text", "initial": [START], "max_length": 2000}],
        "objectives": [{"metric": "accuracy", "goal": "maximize"}],
        "suggester": {"name": "gepa", "options": fields.pop("options", {})},
        "examples": {split: ids for split, ids in examples.items() if ids},
        "llm": {"profile": "scripted", "share_examples": True},
        "limits": {} if budget is None else {"max_example_evaluations": budget},
    }
    spec = study(**(usual | fields))
    spec.check()
    get(spec.suggester.name).check(spec)
    return Problem(study="st", spec=spec, seed=seed)


def one_study(of: Problem, script: Script = reflector) -> law.Study:
    """A study without a service, its language model scripted."""
    return law.Study(of, ScriptedLlm(script))


def tell(one: law.Study, number: int, client: Client = keywords) -> None:
    """Evaluate a trial that runs, and tell it."""
    trial = one.trials[number]
    text = " ".join(str(value) for value in trial.parameters.values() if isinstance(value, str))
    assert trial.evaluate_on is not None
    rows = client(text, trial.evaluate_on["ids"])
    one.tell(number, float(np.mean([row["score"] for row in rows])), examples=rows)


def played(
    of: Problem, script: Script = reflector, client: Client = keywords, *, asks: int = 200, batch: int = 1
) -> law.Study:
    """A whole study: asked and told until nothing comes, or a full evaluation is perfect."""
    one = one_study(of, script)
    suggester = law.make(get(of.spec.suggester.name), of)
    for _ in range(asks):
        found: list[Suggestion] = one.ask(suggester, batch)
        for trial in [one.start(suggestion) for suggestion in found]:
            tell(one, trial, client)
        if not found or best(one) >= 1.0:
            break
    return one


def best(one: law.Study) -> float:
    """The best value of a full evaluation."""
    assert one.spec.examples is not None
    split, ids = one.spec.examples.full()
    metric = one.spec.objectives[0].metric
    full = [t for t in one.trials.values() if t.metrics and _is_on(t.evaluate_on, split, len(ids))]
    return max((t.metrics[metric] for t in full), default=0.0)


def _is_on(on: Mapping[str, Any] | None, split: str, size: int) -> bool:
    return on is not None and on["split"] == split and len(on["ids"]) == size


def evaluations(one: law.Study) -> int:
    """Examples that were evaluated."""
    return sum(len(t.evaluate_on["ids"]) for t in one.trials.values() if t.evaluate_on is not None)


def of_role(one: law.Study, role: str) -> list[int]:
    """The trials with a role, by number."""
    return [n for n, t in one.trials.items() if t.origin.get("role") == role]

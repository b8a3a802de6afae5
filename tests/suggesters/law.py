"""What every catalogue entry must obey, whatever it is inside. `test_law.py` holds each entry to it by being in the catalogue."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.domain import blob as blobs
from services.domain.history import History, Observation
from services.domain.space import Point, point_key
from services.domain.study import StudySpec
from services.domain.suggester import Problem, Spec, Suggester, Suggestion
from services.domain.trial import TrialState
from tests.support.builders import study
from tests.support.scripted_llm import ScriptedLlm

SPACES: dict[str, dict[str, Any]] = {
    "plane": {"parameters": [{"name": n, "type": "float", "min": -2, "max": 3} for n in "xy"]},
    "mixed": {
        "parameters": [
            {"name": "lr", "type": "float", "min": 1e-5, "max": 1, "scale": "log"},
            {"name": "p", "type": "float", "min": 0.01, "max": 0.99, "scale": "logit"},
            {"name": "n", "type": "int", "min": 1, "max": 100, "scale": "log"},
            {"name": "kind", "type": "categorical", "choices": ["a", "b", None, 3]},
            {"name": "size", "type": "ordinal", "choices": ["s", "m", "l"]},
            {"name": "on", "type": "bool"},
            {"name": "step", "type": "float", "min": 0, "max": 1, "step": 0.25},
            {"name": "child", "type": "float", "min": 0, "max": 1, "when": {"kind": ["b"]}},
            {"name": "grandchild", "type": "int", "min": 1, "max": 3, "when": {"on": [True], "kind": ["a", "b"]}},
        ]
    },
    "finite": {"parameters": [{"name": "n", "type": "int", "min": 0, "max": 3}, {"name": "b", "type": "bool"}]},
    "constrained": {
        "parameters": [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xyz"],
        "parameter_constraints": ["x + y + z <= 0.6", "x >= y"],
        "constraints": [{"metric": "c", "max": 0.2}],
    },
    "two goals": {
        "parameters": [{"name": n, "type": "float", "min": 0, "max": 1} for n in "xy"],
        "objectives": [{"metric": "loss"}, {"metric": "speed", "goal": "maximize"}],
    },
    "vector": {"parameters": [{"name": "w", "type": "vector", "length": 4, "min": -1, "max": 1}]},
    "packed": {
        "parameters": [{"name": "w", "type": "vector", "length": 3, "min": -0.1, "max": 0.7, "encoding": "float32"}]
    },
    "words": {
        "parameters": [
            {"name": "t", "type": "tokens", "vocabulary": ["a", "b"], "min_length": 1, "max_length": 3},
            {"name": "o", "type": "permutation", "items": [1, 2, 3]},
        ]
    },
    "point": {"parameters": [{"name": n, "type": "float", "min": 1, "max": 1} for n in "xy"]},
    "prompt": {
        "parameters": [
            {
                "name": "prompt",
                "type": "text",
                "initial": [
                    "Read the review {q} with care, and say whether its writer is happy or not.",
                    "Think step by step about {q}, then answer in one word: good or bad.",
                ],
                "max_length": 300,
                "placeholders": ["{q}"],
                "task": "sentiment of a film review",
            }
        ]
    },
    "prompt beside numbers": {
        "parameters": [
            {
                "name": "prompt",
                "type": "text",
                "initial": ["Decide with care, and quickly, whether the writer of the review was happy with the film."],
            },
            {"name": "temperature", "type": "float", "min": 0, "max": 2},
            {"name": "model", "type": "categorical", "choices": ["small", "large"]},
        ]
    },
}
SPACES["seeds"] = {"parameters": [{"name": "theta", "type": "vector", "encoding": "seed", "shape": {"w": [3, 2]}}]}
SPACES["prompt with examples"] = {
    **SPACES["prompt"],
    "examples": {"train": [f"t{i}" for i in range(12)], "validation": [f"v{i}" for i in range(8)]},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "ape": {"exemplars": [{"input": f"question {i}", "output": f"answer {i}"} for i in range(5)]},
}
"""What an entry cannot be made without."""
OUTCOMES: dict[str, Callable[[int], float]] = {
    "varied": lambda n: math.sin(n * 1.7) + n % 3,
    "equal": lambda n: 1.0,
    "extreme": lambda n: (1e300, -1e300, 0.0, 1e-300)[n % 4],
}


def problem(spec: Spec, space: str, seed: int = 3, **fields: Any) -> Problem:
    """The problem of one of `SPACES` for a suggester."""
    if spec.honours.llm != "none":
        fields.setdefault("llm", {"profile": "scripted", "share_examples": True})
    made = study(
        **{
            **SPACES[space],
            "suggester": {"name": spec.name, "options": OPTIONS.get(spec.name, {})},
            "seed": seed,
            **fields,
        }
    )
    made.check()
    return Problem(study="st", spec=made, seed=seed)


def serves(spec: Spec, space: str) -> bool:
    """Whether the suggester takes a study over this space."""
    from services.domain.errors import Invalid

    try:
        spec.check(problem(spec, space).spec)
    except Invalid:
        return False
    return True


def make(spec: Spec, of: Problem, saved: bytes | None = None) -> Suggester:
    """The suggester, fresh or from saved bytes."""
    blob = None if saved is None else blobs.loads(saved)
    return spec.create(of, spec.parse_options(of.spec.suggester.options), blob)


def save(suggester: Suggester) -> bytes | None:
    """Its state as the database would hold it."""
    blob = suggester.state()
    return None if blob is None else blobs.dumps(blob)


class Study:
    """A study without a service: trials are made from suggestions and told in any order."""

    def __init__(self, of: Problem, llm: ScriptedLlm | None = None) -> None:
        self.problem = of
        self.seq = 0
        self.trials: dict[int, Observation] = {}
        self.llm = llm or ScriptedLlm()

    @property
    def spec(self) -> StudySpec:
        """The study as created."""
        return self.problem.spec

    def history(self) -> History:
        """All that is known, told anew."""
        found = History(self.spec)
        found.update(
            self.trials.values(), seq=self.seq, next_number=len(self.trials) + 1, replies=self.llm.log
        )  # fmt: skip
        return found

    def ask(self, suggester: Suggester, count: int, history: History | None = None) -> list[Suggestion]:
        """What the suggester proposes, its language model's calls answered."""
        return self.llm.suggest(suggester, self.history() if history is None else history, count)

    def start(self, suggestion: Suggestion) -> int:
        """A trial of a suggestion."""
        number = len(self.trials) + 1
        self._put(
            Observation(
                number=number, told_seq=0, state=TrialState.RUNNING, parameters=suggestion.parameters,
                origin=suggestion.origin, suggester=suggestion.suggester,
                evaluate_on=suggestion.evaluate_on or self._full(),
            )
        )  # fmt: skip
        return number

    def add(self, point: Point) -> int:
        """A trial of the user's own."""
        number = len(self.trials) + 1
        self._put(
            Observation(
                number=number, told_seq=0, state=TrialState.WAITING, parameters=point, suggester="user",
                evaluate_on=self._full(),
            )
        )  # fmt: skip
        return number

    def tell(
        self,
        number: int,
        value: float,
        state: TrialState = TrialState.COMPLETED,
        *,
        feedback: str | None = None,
        examples: Sequence[Mapping[str, Any]] | None = None,
        **metrics: float,
    ) -> None:
        """An outcome: `value` for every metric that is not given by name."""
        told: dict[str, float] = {}
        if state in (TrialState.COMPLETED, TrialState.PRUNED):
            told = dict.fromkeys(self.spec.required_metrics, value) | metrics
        feasible = self.spec.is_feasible(told) if told else None
        on = self.trials[number].evaluate_on
        if examples is None and on is not None and state is TrialState.COMPLETED:
            examples = [{"id": i, "score": value, "output": "out", "feedback": f"try {i}"} for i in on["ids"]]
        self._put(
            replace(
                self.trials[number], state=state, metrics=told, feasible=feasible, feedback=feedback,
                examples=None if examples is None else tuple(examples),
            )
        )  # fmt: skip

    def _full(self) -> Mapping[str, Any] | None:
        """What a trial is scored on where its suggestion does not say: all the examples that decide `best`."""
        if self.spec.examples is None:
            return None
        split, ids = self.spec.examples.full()
        return {"split": split, "ids": list(ids)}

    def _put(self, trial: Observation) -> None:
        self.seq += 1
        self.trials[trial.number] = replace(trial, told_seq=self.seq)


def with_lost_leases(
    of: Problem,
    restart: str,
    rounds: int,
    is_lost: Callable[[int], bool] = lambda number: number % 3 == 0,
    delay: int = 2,
) -> list[str]:
    """The points where some trials fail, as those whose leases were lost, and their outcomes come `delay` such trials later.

    Args:
        restart: never | saved | lost, between any two calls.
    """
    from workers.suggesters.registry import get

    spec = get(of.spec.suggester.name)
    one, seen, late = Study(of), list[str](), list[int]()
    suggester, history = make(spec, of), None
    for _ in range(rounds):
        if restart != "never":
            suggester, history = make(spec, of, save(suggester) if restart == "saved" else None), None
        if history is None:
            history = one.history()
        else:
            history.update(one.trials.values(), seq=one.seq, next_number=len(one.trials) + 1)
        found = one.ask(suggester, 2, history)
        seen += [point_key(s.parameters) for s in found]
        while len(late) > delay:
            one.tell(number := late.pop(0), OUTCOMES["varied"](number))
        for number in [one.start(s) for s in found]:
            one.tell(number, OUTCOMES["varied"](number), TrialState.FAILED if is_lost(number) else TrialState.COMPLETED)
            late += [number] if is_lost(number) else []
    return seen


def check_points(of: Problem, suggestions: list[Suggestion], known: set[str]) -> None:
    """Inside the space, canonical, no repeats in a finite space."""
    import json

    for suggestion in suggestions:
        assert of.space.point(suggestion.parameters) == suggestion.parameters
        assert list(suggestion.parameters) == list(of.space.sorted(suggestion.parameters))
        assert suggestion.reason
        json.dumps([dict(suggestion.origin), suggestion.receipt], allow_nan=False)
        key = point_key(suggestion.parameters)
        if of.space.is_finite:
            assert key not in known
        known.add(key)


def with_metrics(trial: Observation, metrics: Mapping[str, float], feasible: bool) -> Observation:
    """The same trial with values of its own for each metric."""
    return replace(trial, metrics=dict(metrics), feasible=feasible)


def with_std(trial: Observation, std: Mapping[str, float]) -> Observation:
    """The same trial with told standard errors."""
    return replace(trial, std=dict(std))

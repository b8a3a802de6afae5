"""asktell's methods without a service: suggestions are evaluated in process, replies come from the scripted optimiser."""

from __future__ import annotations

from typing import Any

from services.domain.document import canonical
from services.domain.history import History, Observation
from services.domain.llm import LlmReply, LlmRequest, NeedsReplies
from services.domain.study import StudySpec
from services.domain.suggester import Problem, Suggester, Suggestion
from services.domain.trial import TrialState
from workers.suggesters.registry import get

from . import optimiser
from .landscapes import Landscape, mean
from .meter import BudgetSpent, Meter

MOST_TALKS = 500
MOST_EMPTY = 3


def study(landscape: Landscape, name: str, options: dict[str, Any], budget: int, seed: int) -> StudySpec:
    """The study that a client would create."""
    honours = get(name).honours
    document: dict[str, Any] = {
        "name": "benchmark",
        "parameters": [
            {
                "name": "prompt",
                "type": "text",
                "initial": [landscape.seed_text],
                "max_length": 2000,
                "task": "the instruction of a question answering system",
            }
        ],
        "objectives": [{"metric": "score", "goal": "maximize"}],
        "suggester": {"name": name, "options": options},
        "seed": seed,
    }
    if honours.examples:
        document["examples"] = {"train": list(landscape.train), "validation": list(landscape.validation)}
        document["limits"] = {"max_example_evaluations": budget}
    if honours.llm in ("required", "preferred"):
        document["llm"] = {"profile": "scripted", "share_examples": True}
    return StudySpec.read(canonical(document))


def run(landscape: Landscape, name: str, options: dict[str, Any], budget: int, seed: int) -> Meter:
    """A method until the budget is spent or it has nothing more to propose."""
    meter = Meter(landscape, budget)
    spec = study(landscape, name, options, budget, seed)
    entry = get(name)
    entry.check(spec)
    suggester = entry.create(Problem(study="bench", spec=spec, seed=seed), entry.parse_options(options), None)
    history, seq, empty = History(spec), 0, 0
    while empty < MOST_EMPTY:
        suggestions = _suggest(suggester, history, meter)
        empty = 0 if suggestions else empty + 1
        for suggestion in suggestions:
            try:
                trial = _evaluated(landscape, meter, spec, history.next_number, seq + 1, suggestion)
            except BudgetSpent:
                return meter
            seq += 1
            history.update([trial], seq=seq, next_number=history.next_number + 1)
    return meter


def _suggest(suggester: Suggester, history: History, meter: Meter) -> list[Suggestion]:
    for _ in range(MOST_TALKS):
        try:
            return list(suggester.suggest(history, 1))
        except NeedsReplies as needs:
            meter.calls += len(needs.requests)
            replies = [_reply(request) for request in needs.requests]
            history.update((), seq=history.seq, next_number=history.next_number, replies=replies)
    raise RuntimeError(f"asked {MOST_TALKS} times in a row")


def _reply(request: LlmRequest) -> LlmReply:
    shown = "\n\n".join(content for _, content in request.messages)
    # The key makes samples of one request differ, as a temperature would.
    texts = tuple(optimiser.reply(shown, choice=hash_of(request.key, n)) for n in range(request.n))
    return LlmReply(
        key=request.key, digest=request.digest, snapshot=request.snapshot, texts=texts, cut=(False,) * len(texts)
    )


def hash_of(key: str, choice: int) -> int:
    """A number for a sample of a request, equal in every process."""
    return int.from_bytes(f"{key}#{choice}".encode(), "little") % (2**61 - 1)


def _evaluated(
    landscape: Landscape, meter: Meter, spec: StudySpec, number: int, seq: int, suggestion: Suggestion
) -> Observation:
    full = {"split": "validation", "ids": list(landscape.validation)}
    wanted = dict(suggestion.evaluate_on or full)
    found = meter.rows(suggestion.parameters["prompt"], wanted["ids"])
    worst = min(found, key=lambda row: row["score"])
    has_examples = spec.examples is not None
    return Observation(
        number=number, told_seq=seq, state=TrialState.COMPLETED, parameters=suggestion.parameters,
        metrics={"score": mean(found)}, feasible=True, origin=suggestion.origin,
        feedback=None if has_examples else worst["feedback"],
        examples=tuple(found) if has_examples else None, evaluate_on=wanted if has_examples else None,
    )  # fmt: skip

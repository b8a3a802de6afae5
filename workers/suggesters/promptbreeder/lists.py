"""What Promptbreeder's operators are shown of the population and its past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from services.domain.study import StudySpec
from workers.models.encoders import EncoderError, pool_vectors
from workers.models.merit import Scored
from workers.models.steps import Step

T = TypeVar("T")


def diverse(texts: Sequence[str], limit: float) -> list[str]:
    """The texts without those whose vector has a cosine above `limit` with an earlier one that was kept; all without an encoder."""
    distinct = list(dict.fromkeys(texts))
    if limit >= 1:
        return distinct
    try:
        vectors = pool_vectors(distinct)
    except EncoderError:
        return distinct
    kept: list[int] = []
    for i in range(len(distinct)):
        if all(float(vectors[i] @ vectors[j]) <= limit for j in kept):
            kept.append(i)
    return [distinct[i] for i in kept]


def elites(step: Step, component: str) -> list[str]:
    """The texts that were the best when they were told, in that order."""
    best, found = float("-inf"), []
    for outcome in step.found:
        if outcome.is_valid and outcome.merit > best:
            best = outcome.merit
            found.append(step.texts(outcome.trial)[component])
    return list(dict.fromkeys(found))


def right_answers(spec: StudySpec, found: Sequence[Scored]) -> list[Mapping[str, Any]]:
    """Told examples with an output whose score no other exceeds."""
    sign = -1.0 if spec.objectives[0].goal == "minimize" else 1.0
    rows = [row for outcome in found for row in outcome.trial.examples or ()]
    top = max((sign * row["score"] for row in rows), default=0.0)
    return [row for row in rows if row.get("output") and sign * row["score"] == top]


def latter(items: Sequence[T], halvings: int) -> list[T]:
    """The last half of the items, so many times over; one at least."""
    kept = list(items)
    for _ in range(halvings):
        kept = kept[len(kept) // 2 :]
    return kept

"""Which of the declared exemplars a step shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from services.domain.history import Observation
from workers.models.exemplars import Exemplar


def drawn(pool: Sequence[Exemplar], count: int, rng: np.random.Generator) -> list[Exemplar]:
    """Up to `count` of them at random."""
    return [pool[int(i)] for i in rng.permutation(len(pool))[:count]]


def most_often_wrong(
    pool: Sequence[Exemplar], trials: Sequence[Observation], sign: float, count: int
) -> list[Exemplar]:
    """Up to `count` of them, those first whose example was wrong in the most of these trials.

    An example counts as wrong where its score is below the middle between the lowest and the highest that any example got.

    Args:
        sign: 1 where a higher score of an example is better, -1 where a lower one is.
    """
    scores = [(row["id"], sign * float(row["score"])) for trial in trials for row in trial.examples or ()]
    middle = min((s for _, s in scores), default=0.0) / 2 + max((s for _, s in scores), default=0.0) / 2
    wrong = Counter(id_ for id_, score in scores if score < middle)
    return sorted(pool, key=lambda exemplar: -wrong[exemplar.id or ""])[:count]

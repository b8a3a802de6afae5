"""Objectives with known minima, and a loop that minimises them without a service."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

Objective = Callable[[Sequence[float]], float]


def sphere(x: Sequence[float]) -> float:
    """Minimum 0 at 0.3; any dimension, [0, 1]."""
    return sum((v - 0.3) ** 2 for v in x)


def ellipsoid(x: Sequence[float]) -> float:
    """Minimum 0 at 0.3, condition 10⁶; any dimension, [0, 1]."""
    n = len(x)
    return sum(10 ** (6 * i / max(1, n - 1)) * (v - 0.3) ** 2 for i, v in enumerate(x))


def rosenbrock(x: Sequence[float]) -> float:
    """Minimum 0 at 0.6 (that is 1 on [-5, 10] after scaling); any dimension, [0, 1]."""
    z = [-2 + 5 * v for v in x]
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in pairwise(z))


def branin(x: Sequence[float]) -> float:
    """Minimum 0.397887; 2 dimensions, [0, 1]."""
    a, b = 15 * x[0] - 5, 15 * x[1]
    return (
        (b - 5.1 / (4 * math.pi**2) * a * a + 5 / math.pi * a - 6) ** 2
        + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a)
        + 10
    )


_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(x: Sequence[float]) -> float:
    """Minimum -3.32237; 6 dimensions, [0, 1]."""
    inner = (_A * (np.asarray(x) - _P) ** 2).sum(1)
    return float(-(np.array([1.0, 1.2, 3.0, 3.2]) * np.exp(-inner)).sum())


DIMENSIONS: dict[Any, int] = {branin: 2, hartmann6: 6}


def minimise(name: str, objective: Any, trials: int, seed: int, dimensions: int | None = None, **options: Any) -> float:
    """The best value that a suggester finds, told one after another."""
    from tests.suggesters import law
    from tests.support.builders import study
    from workers.suggesters.registry import get

    d = dimensions or DIMENSIONS[objective]
    spec = get(name)
    made = study(
        parameters=[{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)],
        suggester={"name": name, "options": options},
        seed=seed,
    )
    one = law.Study(law.Problem(study="s", spec=made, seed=seed))
    suggester, history, best = law.make(spec, one.problem), one.history(), math.inf
    for _ in range(trials):
        suggestion = suggester.suggest(history, 1)[0]
        value = float(objective(list(suggestion.parameters.values())))
        number = one.start(suggestion)
        one.tell(number, value)
        best = min(best, value)
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return best


def wins(ours: Sequence[float], theirs: Sequence[float]) -> int:
    """How often the first is lower, pair by pair."""
    return sum(a < b for a, b in zip(ours, theirs, strict=True))

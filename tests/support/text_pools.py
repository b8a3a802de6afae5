"""Pools whose texts have vectors by decree, and scores over them with a known best: for methods that choose from a pool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from services.domain.suggester import Problem, Spec
from tests.suggesters import law
from workers.models import encoders

Array = NDArray[np.float64]
ENCODER = "decreed"


class Decreed:
    """An encoder of the texts `text 0`, `text 1`, …: one row of a table each."""

    def __init__(self, table: Array) -> None:
        self._table = table.astype(np.float32)

    @property
    def dimensions(self) -> int:
        """Of a row."""
        return int(self._table.shape[1])

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The rows of texts."""
        return self._table[[int(text.split()[-1]) for text in texts]].reshape(len(texts), self.dimensions)


@dataclass(frozen=True)
class Landscape:
    """Unit vectors and their scores, higher is better."""

    vectors: Array
    scores: Array

    @classmethod
    def draw(cls, seed: int, members: int = 500, dimensions: int = 50, bumps: float = 0.05) -> Landscape:
        """Random unit vectors; −‖x − x*‖² plus small bumps (card prompt 3)."""
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((members, dimensions))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        top = rng.standard_normal(dimensions)
        top /= np.linalg.norm(top)
        waves = np.sin(x @ (3.0 * rng.standard_normal((dimensions, 5))) + rng.uniform(0, 6, 5))
        return cls(x, -((x - top) ** 2).sum(axis=1) + bumps * waves.sum(axis=1))

    @property
    def texts(self) -> list[str]:
        """Of the pool."""
        return [f"text {i}" for i in range(len(self.scores))]

    def score(self, text: str) -> float:
        """Of a text."""
        return float(self.scores[int(text.split()[-1])])


def decree(monkeypatch: pytest.MonkeyPatch, vectors: Array) -> None:
    """Make `ENCODER` known for a test."""
    monkeypatch.setattr(encoders, "_makers", dict(encoders._makers))
    encoders.register(ENCODER, lambda: Decreed(vectors))


def problem(spec: Spec, pool: Sequence[str], seed: int = 3, goal: str = "maximize", **options: Any) -> Problem:
    """A study over a pool of a client's."""
    chosen = {"name": spec.name, "options": {"pool": list(pool), "encoder": ENCODER, **options}}
    return law.problem(
        spec, "prompt", seed, suggester=chosen, llm=None, objectives=[{"metric": "score", "goal": goal}],
        parameters=[{"name": "prompt", "type": "text"}],
    )  # fmt: skip


def run(spec: Spec, of: Problem, score: Callable[[str], float], trials: int, batch: int = 1) -> list[float]:
    """Scores of the trials, told batch by batch."""
    one, suggester, found = law.Study(of), law.make(spec, of), list[float]()
    while len(found) < trials and (given := one.ask(suggester, min(batch, trials - len(found)))):
        numbers = [one.start(s) for s in given]
        for number in numbers:
            value = score(one.trials[number].parameters["prompt"])
            one.tell(number, value)
            found.append(value)
    return found


def at_random(scores: Array, trials: int, seed: int) -> float:
    """The best of a random selection."""
    return float(np.random.default_rng(seed).permutation(scores)[:trials].max())


def nearest_first(land: Landscape, trials: int, seed: int, started: int = 40) -> float:
    """The best of a random start and then, again and again, the untried text nearest to the best one."""
    taken = list(np.random.default_rng(seed).permutation(len(land.scores))[:started])
    while len(taken) < trials:
        best = max(taken, key=lambda i: land.scores[i])
        distances = ((land.vectors - land.vectors[best]) ** 2).sum(axis=1)
        distances[taken] = np.inf
        taken.append(int(distances.argmin()))
    return float(land.scores[taken].max())

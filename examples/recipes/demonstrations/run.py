"""Choose demonstrations and their order for a model that learns from its context, by simulated annealing.

Dynamic Retriever for In-Context Knowledge Editing, 2025, chooses by a learned policy; here nothing but the score is known.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import asktell

sys.path.append(str(Path(__file__).parents[1]))
from service import Found, command, each, new_study, search

POOL, SHOTS = 60, 12


class Model:
    """Stands in for a language model: answers like the demonstrations that are near, and like those that came last."""

    def __init__(self, seed: int) -> None:
        from sklearn.datasets import load_wine

        rng = np.random.default_rng(seed)
        facts, labels = load_wine(return_X_y=True)
        facts = (facts - facts.mean(axis=0)) / facts.std(axis=0)
        order = rng.permutation(len(labels))
        self._facts, self._labels = facts[order], labels[order]
        self._questions = slice(POOL, POOL + 50)
        self._unseen = slice(POOL + 50, None)

    def loss(self, shown: Sequence[int], questions: slice) -> float:
        """Cross-entropy of the right answers after these demonstrations, the last of them nearest to the question."""
        asked, right = self._facts[questions], self._labels[questions]
        apart = ((asked[:, None] - self._facts[list(shown)]) ** 2).sum(axis=2)
        weight = np.exp(-apart / 8) * 0.7 ** np.arange(len(shown))[::-1]
        odds = 0.01 + np.stack([weight[:, self._labels[list(shown)] == k].sum(axis=1) for k in range(3)], axis=1)
        return float(-np.log((odds / odds.sum(axis=1, keepdims=True))[np.arange(len(right)), right]).mean())

    def score(self, point: Mapping[str, Any]) -> Mapping[str, float]:
        """What a trial tells."""
        return {"loss": self.loss(point["demonstrations"], self._questions)}

    def unseen(self, shown: Sequence[int]) -> float:
        """The loss on questions that no search asked."""
        return self.loss(shown, self._unseen)


def chosen(client: asktell.Client, model: Model, method: Any, trials: int, seed: int) -> asktell.Trial:
    """The best sequence that a method finds."""
    space = {"demonstrations": asktell.Tokens(list(range(POOL)), max_length=SHOTS, min_length=SHOTS - 2)}
    study = new_study(client, "demonstrations", space, minimize="loss", suggester=method, max_trials=trials, seed=seed)
    return search(study, each(model.score), batch=2).best


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Choose by annealing and at random."""
    model, trials = Model(seed), 300 if quick else 1000
    found: Found = {"first": model.unseen(range(SHOTS))}
    print(
        f"the first {SHOTS} of the pool: loss {model.score({'demonstrations': range(SHOTS)})['loss']:.3f}, unseen {found['first']:.3f}"
    )
    annealing = {"name": "annealing", "options": {"chains": 2, "initial_temperature": 0.02}}
    for name, method in {"annealing": annealing, "random": "random"}.items():
        best = chosen(client, model, method, trials, seed)
        shown = best.parameters["demonstrations"]
        found |= {f"{name} searched": best.metrics["loss"], name: model.unseen(shown)}
        print(f"{name}: loss {best.metrics['loss']:.3f}, unseen {found[name]:.3f} with {shown}, {trials} trials")
    return found


if __name__ == "__main__":
    command(run, __doc__)

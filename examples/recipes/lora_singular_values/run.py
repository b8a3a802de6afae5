"""Align a quantised network by the singular values of its LoRA adapter alone, from a reward that has no gradient.

ESSA: Evolutionary Strategies for Scalable Alignment, 2025.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import asktell

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from adapted import RANK, Adapter, Weights, pretrained, scaled, scores, warm_start, with_adapter
from service import Found, command, new_study, search

POPULATION, PROMPTS, LABELLED = 16, 400, 60


class Task:
    """Digits on their side: the network knows upright ones, and a few labelled examples started its adapter."""

    def __init__(self, seed: int) -> None:
        from sklearn.datasets import load_digits

        self._rng = rng = np.random.default_rng(seed)
        images, labels = load_digits(return_X_y=True)
        order = rng.permutation(len(labels))
        images, labels = images[order] / 16 - 0.3, labels[order]
        turned = images.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64)
        self.base: Weights = pretrained(images[:900], labels[:900], rng)
        self._pool = turned[900:1400], labels[900:1400]
        self._unseen = turned[1400:], labels[1400:]
        self.adapter: Adapter = warm_start(self.base, turned[:LABELLED], labels[:LABELLED], rng, 6)

    def reward(self, change: Sequence[float], images: np.ndarray, labels: np.ndarray) -> float:
        """Share of right answers with the adapter so changed."""
        weights = with_adapter(self.base, scaled(self.adapter, change))
        return float((scores(weights, images).argmax(axis=1) == labels).mean())

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Prompts of a generation: the same for all its trials, others for the next."""
        chosen = self._rng.choice(len(self._pool[1]), PROMPTS, replace=False)
        return self._pool[0][chosen], self._pool[1][chosen]

    def unseen(self, change: Sequence[float]) -> float:
        """Share of right answers on images that no search sees."""
        return self.reward(change, *self._unseen)


def aligned(
    client: asktell.Client, task: Task, method: Any, generations: int, seed: int
) -> tuple[np.ndarray, list[float]]:
    """What a search recommends, and the median reward of each generation."""
    medians: list[float] = []
    told: list[tuple[float, list[float]]] = []

    def evaluate(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        prompts = task.batch()
        rewards = [task.reward(point["change"], *prompts) for point in points]
        medians.append(float(np.median(rewards)))
        told.extend((reward, point["change"]) for reward, point in zip(rewards, points, strict=True))
        return [{"metrics": {"reward": r}, "std": {"reward": (r * (1 - r) / PROMPTS) ** 0.5}} for r in rewards]

    size = 4 * RANK
    study = new_study(
        client,
        "essa",
        {"change": asktell.Vector(size, -1, 2, default=[0.0] * size)},
        objectives=[{"metric": "reward", "goal": "maximize"}],
        suggester=method,
        max_trials=POPULATION * generations,
        seed=seed,
    )
    search(study, evaluate, batch=POPULATION)
    # Rewards are noisy: the mean of the best of the last generations, not the luckiest trial.
    best = sorted(told[-5 * POPULATION :], key=lambda pair: -pair[0])[:POPULATION]
    return np.mean([np.asarray(change) for _, change in best], axis=0), medians


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Search the singular values by CMA-ES and at random."""
    task, generations = Task(seed), 20 if quick else 60
    options = {"popsize": POPULATION, "sigma0": 0.1, "restarts": "none"}
    found: Found = {"base": task.unseen([-1.0] * 4 * RANK), "warm start": task.unseen([0.0] * 4 * RANK)}
    for name, method in {"cmaes": {"name": "cmaes", "options": options}, "random": "random"}.items():
        change, medians = aligned(client, task, method, generations, seed)
        found |= {name: task.unseen(change), f"{name} first": medians[0], f"{name} last": float(np.mean(medians[-3:]))}
    print(f"{4 * RANK} singular values, {POPULATION * generations} trials of {PROMPTS} prompts each")
    shown = ", ".join(f"{name} {found[name]:.3f}" for name in ("base", "warm start", "random", "cmaes"))
    print(f"right answers on unseen images: {shown}")
    first, last = found["cmaes first"], found["cmaes last"]
    print(f"median reward of a generation: {first:.3f} in the first, {last:.3f} in the last three")
    return found


if __name__ == "__main__":
    command(run, __doc__)

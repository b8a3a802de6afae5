"""Find how far each reward model can be trusted, within one training run: thresholds moved by Nelder-Mead, segment by segment.

Confronting Reward Model Overoptimization with Constrained RLHF, 2023.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import asktell

sys.path.append(str(Path(__file__).parents[1]))
from service import Found, command, each, new_study, search

ANSWERS, SEGMENT, RATE, KEEP_CLOSE = 2000, 100, 0.3, 0.3
PRICE_RATES = (0.2, 1.0)
START = {"length": 0.3, "fluency": 0.3}


class Training:
    """A policy over many answers, trained against two reward models; what people think of it is known by evaluation only."""

    def __init__(self, seed: int) -> None:
        self._rewards = np.random.default_rng(seed).standard_normal((2, ANSWERS))
        length, fluency = self._rewards
        # Better with more of each, up to a point that depends on the other: both proxies mislead when pushed alone.
        self._quality = 0.8 * length + 1.8 * fluency - 0.7 * length**2 - 0.5 * fluency**2 - 0.2 * length * fluency
        self._logits = np.zeros(ANSWERS)
        self._prices = np.zeros(2)

    @property
    def policy(self) -> np.ndarray:
        """Probabilities of the answers."""
        odds = np.exp(self._logits - self._logits.max())
        return odds / odds.sum()

    def quality(self) -> float:
        """Mean quality of the policy's answers."""
        return float(self.policy @ self._quality)

    def rewards(self) -> np.ndarray:
        """Mean reward that each model gives."""
        return self._rewards @ self.policy

    def segment(self, thresholds: np.ndarray | None, steps: int = SEGMENT) -> None:
        """Train on from where it stands; each reward is held at its threshold by a Lagrange multiplier, or free if there are none."""
        for _ in range(steps):
            weights = np.ones(2)
            if thresholds is not None:
                short = thresholds - self.rewards()
                self._prices = self._prices + PRICE_RATES[0] * short
                weights = self._prices + PRICE_RATES[1] * short
            self._logits = (1 - RATE * KEEP_CLOSE) * self._logits + RATE * (weights @ self._rewards)


def trained(client: asktell.Client, method: str, trials: int, seed: int) -> tuple[float, dict[str, float]]:
    """The best quality of a training run whose thresholds a method moves, and the thresholds there."""
    training = Training(seed)

    def score(point: Mapping[str, float]) -> Mapping[str, float]:
        training.segment(np.array([point[name] for name in START]))
        return {"quality": training.quality()}

    study = new_study(
        client,
        "thresholds",
        {name: asktell.Float(0, 2.5, default=start) for name, start in START.items()},
        maximize="quality",
        suggester=method,
        max_trials=trials,
        max_running=1,
        seed=seed,
    )
    best = search(study, each(score)).best
    return best.metrics["quality"], best.parameters


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """A run without thresholds, and runs whose thresholds are moved by Nelder-Mead, a Gaussian process and at random."""
    trials = 24 if quick else 40
    free, curve = Training(seed), []
    for _ in range(SEGMENT):
        free.segment(None, steps=1)
        curve.append(free.quality())
    print(f"no thresholds: quality {curve[-1]:.3f}; had it been stopped in time, {max(curve):.3f}")
    found = {"free": curve[-1], "free best": max(curve)}
    for method in ("nelder-mead", "gp", "random"):
        found[method], where = trained(client, method, trials, seed)
        shown = ", ".join(f"{name} {value:.2f}" for name, value in where.items())
        print(f"{method:>11}: quality {found[method]:.3f} in {trials} segments, thresholds {shown}")
    return found


if __name__ == "__main__":
    command(run, __doc__)

"""Merge twenty models through their API alone: which of them matter, how much, and with which sign.

Evo-Merging: Black-box Model Merging for Language-Model-as-a-Service with Massive Model Repositories, 2025.
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

MODELS, SIZE, PROBES = 20, 12, 64
RELEVANT = {2: 1.0, 7: -0.7, 13: 0.5}
BOUND, PENALTY, KEPT = 1.5, 0.05, 0.15


class Api:
    """A base model and twenty task vectors behind an interface that answers with a score only."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._inputs = rng.standard_normal((PROBES, SIZE))
        base = rng.standard_normal((SIZE, SIZE)) / SIZE**0.5
        self._tasks = rng.standard_normal((MODELS, SIZE, SIZE)) / SIZE**0.5
        self._base = self._inputs @ base
        wanted = self._answers(np.array([RELEVANT.get(k, 0.0) for k in range(MODELS)]))
        self._wanted = wanted + 0.1 * rng.standard_normal(wanted.shape)

    def _answers(self, scales: np.ndarray) -> np.ndarray:
        return self._base + self._inputs @ np.tensordot(scales, self._tasks, 1)

    def error(self, scales: np.ndarray) -> float:
        """Root mean square error of base + Σ scale · task vector on the probes."""
        return float(np.sqrt(np.mean((self._answers(scales) - self._wanted) ** 2)))


def scales_of(point: Mapping[str, Any], models: Sequence[int]) -> np.ndarray:
    """A scale for each of the twenty models, 0 for those that are left out."""
    scales = np.zeros(MODELS)
    scales[list(models)] = point["scales"]
    return scales


def merged(client: asktell.Client, api: Api, models: Sequence[int], trials: int, seed: int, method: Any) -> np.ndarray:
    """The best scales of these models that a search finds, with an L1 penalty so that models that do not matter stay out."""

    def score(point: Mapping[str, Any]) -> Mapping[str, float]:
        scales = scales_of(point, models)
        error = api.error(scales)
        return {"loss": error + PENALTY * float(np.abs(scales).sum()), "error": error}

    space = {"scales": asktell.Vector(len(models), -BOUND, BOUND)}
    study = new_study(client, "merging", space, minimize="loss", suggester=method, max_trials=trials, seed=seed)
    return scales_of(search(study, each(score), batch=12).best.parameters, models)


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Search all scales, keep the models that stand out, and search theirs again."""
    api, method = Api(seed), {"name": "cmaes", "options": {"sigma0": 0.2}}
    first, second = (240, 60) if quick else (320, 80)
    rough = merged(client, api, range(MODELS), first, seed, method)
    kept = [k for k in range(MODELS) if abs(rough[k]) > KEPT]
    found = merged(client, api, kept, second, seed, method) if len(kept) > 1 else rough
    chance = merged(client, api, range(MODELS), first + second, seed, "random")
    chosen = {k: round(float(s), 2) for k, s in enumerate(found) if abs(s) > KEPT}
    right = {k: s > 0 for k, s in chosen.items()} == {k: s > 0 for k, s in RELEVANT.items()}
    print(f"planted {RELEVANT}, found {chosen} ({len(kept)} of {MODELS} models after the first search)")
    errors = {"base": api.error(np.zeros(MODELS)), "random": api.error(chance), "merged": api.error(found)}
    print("error on the probes: " + ", ".join(f"{name} {error:.3f}" for name, error in errors.items()))
    return errors | {"recovered": float(right), "trials": first + second}


if __name__ == "__main__":
    command(run, __doc__)

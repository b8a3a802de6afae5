"""Tune a sampler: guidance strength and step sizes of a diffusion model, and the step with which a whole flow is inverted.

TFG: Unified Training-Free Guidance for Diffusion Models, 2024; FlowOpt: Fast Optimization Through Whole Flow Processes, 2025.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import asktell

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1])]
from sampler import energy_distance, flow, sample, truth
from service import Found, command, each, new_study, search

USUAL = {"guidance": 1.0, "fade": 0.0, "bend": 7.0, "churn": 0.0}
SAMPLES, INVERSIONS, ITERATIONS = 600, 100, 8


def guided(client: asktell.Client, method: str, trials: int, seed: int) -> Mapping[str, float]:
    """The settings whose samples are nearest to the truth."""
    target = truth(SAMPLES, np.random.default_rng(seed))

    def score(point: Mapping[str, Any]) -> Mapping[str, float]:
        return {
            "log_distance": float(np.log(energy_distance(sample(point, SAMPLES, np.random.default_rng(seed)), target)))
        }

    space = {
        "guidance": asktell.Float(0.1, 30, scale="log", default=USUAL["guidance"]),
        "fade": asktell.Float(0, 4, default=USUAL["fade"]),
        "bend": asktell.Float(1, 20, default=USUAL["bend"]),
        "churn": asktell.Float(0, 1, default=USUAL["churn"]),
    }
    study = new_study(
        client, "guidance", space, minimize="log_distance", suggester=method, max_trials=trials, seed=seed
    )
    best: Mapping[str, float] = search(study, each(score), batch=4).best.parameters
    return best


def error_after(eta: float, seed: int) -> float:
    """Mean squared error of F(x) against y after some FlowOpt steps x ← x − eta (F(x) − y), from x = y."""
    wanted = truth(INVERSIONS, np.random.default_rng(seed))
    x = wanted.copy()
    for _ in range(ITERATIONS):
        x = x - eta * (flow(x) - wanted)
    return float(np.mean((flow(x) - wanted) ** 2))


def inverted(client: asktell.Client, trials: int, seed: int) -> tuple[float, float]:
    """The step of FlowOpt that inverts best, and its error."""
    space = {"eta": asktell.Float(1e-3, 100, scale="log")}
    study = new_study(client, "flowopt", space, minimize="log_error", suggester="gp", max_trials=trials, seed=seed)
    best = search(study, each(lambda p: {"log_error": float(np.log(error_after(p["eta"], seed)))})).best
    return best.parameters["eta"], float(np.exp(best.metrics["log_error"]))


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Both studies; samples are judged anew with random numbers that no search saw."""
    trials = 24 if quick else 60
    fresh = truth(4 * SAMPLES, np.random.default_rng(seed + 1000))
    settings = {"usual": USUAL, **{method: guided(client, method, trials, seed) for method in ("gp", "random")}}
    found: Found = {}
    for name, setting in settings.items():
        again = sample(setting, 4 * SAMPLES, np.random.default_rng(seed + 2000))
        found[name] = energy_distance(again, fresh)
        print(f"{name:>7}: distance {found[name]:.4f}, " + ", ".join(f"{k} {v:.2f}" for k, v in setting.items()))
    other = truth(4 * SAMPLES, np.random.default_rng(seed + 3000))
    print(f"two draws of the truth are {energy_distance(other, fresh):.4f} apart")
    eta, error = inverted(client, 12 if quick else 20, seed)
    found |= {"eta": eta, "inverted": error, "eta 1": error_after(1.0, seed)}
    print(
        f"FlowOpt: mean squared error {error:.4g} after {ITERATIONS} steps of {eta:.3g}; {found['eta 1']:.4g} with steps of 1"
    )
    return found


if __name__ == "__main__":
    command(run, __doc__)

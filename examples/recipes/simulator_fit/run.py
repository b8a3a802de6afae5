"""Fit a physical simulator to a measured curve: rate and transport constants of an electrode from a voltammogram.

Differentiable Electrochemistry, 2025, fits such curves by gradients; here the simulator stays closed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import solve_banded

import asktell

sys.path.append(str(Path(__file__).parents[1]))
from service import Found, command, new_study, search

TRUE = {"rate": 0.8, "transfer": 0.42, "diffusion": 1.3}
SPACE = {
    "rate": asktell.Float(0.01, 30, scale="log"),
    "transfer": asktell.Float(0.2, 0.8),
    "diffusion": asktell.Float(0.2, 5, scale="log"),
}
SWEEP, CELLS, NOISE = 15.0, 60, 0.002


def voltammogram(rate: float, transfer: float, diffusion: float) -> np.ndarray:
    """Current over a sweep of the potential there and back: Butler-Volmer kinetics, diffusion to a flat electrode, dimensionless.

    Returns:
        (120,) currents.
    """
    potentials = np.concatenate([np.linspace(SWEEP, -SWEEP, 60), np.linspace(-SWEEP, SWEEP, 60)])
    widths = 0.05 * 1.08 ** np.arange(CELLS)
    step = 2 * SWEEP / 60
    concentration = np.ones(CELLS)
    across = diffusion / (0.5 * (widths[1:] + widths[:-1]))
    currents = np.empty(len(potentials))
    for number, potential in enumerate(potentials):
        forward = rate * np.exp(-transfer * potential)
        back = rate * np.exp((1 - transfer) * potential)
        # What reacts at the electrode comes through half a cell first; the other species is what is missing of this one.
        slowed = 1 + (forward + back) * widths[0] / (2 * diffusion)
        uptake, give = (forward + back) / slowed, back / slowed
        bands = np.zeros((3, CELLS))
        bands[0, 1:], bands[2, :-1] = -step * across / widths[:-1], -step * across / widths[1:]
        bands[1] = 1 - np.append(bands[0, 1:], 0) - np.append(0, bands[2, :-1])
        bands[1, 0] += step * uptake / widths[0]
        known = concentration.copy()
        known[0] += step * give / widths[0]
        concentration = solve_banded((1, 1), bands, known)
        currents[number] = uptake * concentration[0] - give
    return currents


class Experiment:
    """A measured curve, and what a simulation differs from it by."""

    def __init__(self, seed: int) -> None:
        exact = voltammogram(**TRUE)
        self._measured = exact + NOISE * np.random.default_rng(seed).standard_normal(len(exact))

    def evaluate(self, points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Outcomes of a batch: the mean squared residual in units of the noise, its logarithm, and the residual itself."""
        outcomes = []
        for point in points:
            residual = (voltammogram(**point) - self._measured) / NOISE
            misfit = float(residual @ residual) / len(residual)
            outcomes.append(
                {"metrics": {"misfit": misfit, "log_misfit": np.log(misfit)}, "residual": residual.tolist()}
            )
        return outcomes


def off(point: Mapping[str, float]) -> float:
    """The largest relative error of a constant."""
    return max(abs(point[name] / true - 1) for name, true in TRUE.items())


def run(client: asktell.Client, quick: bool, seed: int) -> Found:
    """Fit with an ensemble that sees the residual, with a Gaussian process that sees a number, and at random."""
    experiment, trials = Experiment(seed), 48 if quick else 96
    methods: dict[str, tuple[Any, str]] = {
        "eki": ({"name": "eki", "options": {"residual": "told"}}, "misfit"),
        "gp": ("gp", "log_misfit"),
        "random": ("random", "log_misfit"),
    }
    found: Found = {}
    print(f"{'truth':>7}: " + ", ".join(f"{name} {value:.3f}" for name, value in TRUE.items()))
    for name, (method, metric) in methods.items():
        study = new_study(client, "electrode", SPACE, minimize=metric, suggester=method, max_trials=trials, seed=seed)
        best = search(study, experiment.evaluate, batch=12 if name != "gp" else 4).best
        found |= {name: best.metrics["misfit"], f"{name} off": off(best.parameters)}
        constants = ", ".join(f"{key} {value:.3f}" for key, value in best.parameters.items())
        print(f"{name:>7}: {constants}; misfit {found[name]:.3g} (1 is the noise) in {trials} simulations")
    return found


if __name__ == "__main__":
    command(run, __doc__)

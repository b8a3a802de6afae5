"""CONFIG on samples of its own prior, as its authors ran it: one dimension, 100 grid points, known kernel, 100 steps.

    python benchmarks/reproduce_config.py [--instances 50]

Writes benchmarks/results/reproduce_config.json. Published: infeasibility declared for 50 of 50 infeasible instances, at a median
step of 16 (90th percentile 20, maximum 22); mean cumulative positive regret and violation after 100 steps of 36.8 and 6.6
(constrained EI: 37.2 and 6.5) over 48 instances, with large spread between instances.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.models.acquisition import log_expected_improvement, log_probability_below
from workers.models.gaussian_process import GaussianProcess, Hyperparameters
from workers.models.kernels import Kernel
from workers.models.optimistic import next_on_grid

Array = NDArray[np.float64]

GRID = np.linspace(-10, 10, 100)[:, None] / 20 + 0.5
KERNEL = Kernel.ard(np.zeros(1, dtype=bool), "rbf")
THETA = Hyperparameters(np.array([1.0 / 20]), 1e-6, 0.0, 2.0)
START = 50
OUT = Path(__file__).parent / "results" / "reproduce_config.json"


def draw(rng: np.random.Generator, *, feasible: bool) -> tuple[Array, Array]:
    """An objective and a constraint; the constraint is below -0.2 at the start, or nowhere below +0.1."""
    gram = 2.0 * KERNEL.value(KERNEL.squared_distance(GRID, GRID, THETA.lengthscales)) + 1e-8 * np.eye(100)
    lower = np.linalg.cholesky(gram)
    objective = lower @ rng.normal(size=100)
    while True:
        constraint = lower @ rng.normal(size=100)
        if constraint[START] < -0.2:
            break
    return objective, constraint if feasible else constraint - constraint.min() + 0.1


def beliefs(asked: list[int], values: Array) -> tuple[Array, Array]:
    """Means and deviations on the grid."""
    return GaussianProcess(GRID[asked], values[asked], THETA, KERNEL).predict(GRID)


def run(
    objective: Array, constraint: Array, method: str, steps: int, beta: float = 3.0
) -> tuple[list[int], int | None]:
    """The places asked, and the step at which nothing seemed feasible first (counted from 0)."""
    asked, declared = [START], None
    for step in range(steps):
        mean, std = beliefs(asked, objective)
        c_mean, c_std = beliefs(asked, constraint)
        if method == "config":
            place, may_be = next_on_grid(mean - beta * std, (c_mean - beta * c_std)[None, :])
            if not may_be and declared is None:
                declared = step
        else:
            told = objective[asked][constraint[asked] <= 0]
            value = log_probability_below(c_mean, c_std).value
            if len(told):
                value = value + log_expected_improvement(mean, std, float(told.min())).value
            place = int(np.argmax(value))
        asked.append(place)
    return asked, declared


def sums(objective: Array, constraint: Array, asked: list[int]) -> tuple[float, float, float]:
    """Cumulative positive regret, cumulative violation, and the least regret⁺ plus violation."""
    best = objective[constraint <= 0].min()
    regret = np.maximum(objective[asked] - best, 0.0)
    violation = np.maximum(constraint[asked], 0.0)
    return float(regret.sum()), float(violation.sum()), float((regret + violation).min())


def study(instances: int) -> dict[str, object]:
    """Both experiments."""
    rows: dict[str, list[tuple[float, float, float]]] = {"config": [], "constrained_ei": [], "config_beta_20": []}
    wrong, steps = 0, []
    for i in range(instances):
        rng = np.random.default_rng([17, i])
        objective, constraint = draw(rng, feasible=True)
        for name, method, beta in (
            ("config", "config", 3.0),
            ("constrained_ei", "ei", 0.0),
            ("config_beta_20", "config", 20.0),
        ):
            asked, declared = run(objective, constraint, method, 100, beta)
            rows[name].append(sums(objective, constraint, asked))
            wrong += name == "config" and declared is not None
        _, declared = run(*draw(rng, feasible=False), "config", 40)
        steps.append(-1 if declared is None else declared)
    found: dict[str, object] = {
        name: {
            "regret": float(np.mean([r[0] for r in of])),
            "violation": float(np.mean([r[1] for r in of])),
            "solved": float(np.mean([r[2] < 0.01 for r in of])),
        }
        for name, of in rows.items()
    }
    told = [s for s in steps if s >= 0]
    found["infeasible"] = {
        "declared": len(told), "of": instances, "median": float(np.median(told)), "p90": float(np.percentile(told, 90)),
        "max": max(told), "wrongly_declared_on_feasible": wrong,
    }  # fmt: skip
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=50)
    arguments = parser.parse_args()
    found = {"instances": arguments.instances} | study(arguments.instances)
    OUT.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))

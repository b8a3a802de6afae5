"""ε-shotgun on the functions of its paper: 2d Latin hypercube points and 200 evaluations in batches, isotropic model as published.

    python benchmarks/reproduce_eshotgun.py [--runs 11] [--functions branin,...] [--batch 10]

Appends to benchmarks/results/reproduce_eshotgun.json (median, quartiles of the final simple regret, runs so far) and prints it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from workers.suggesters.registry import get

Array = NDArray[np.float64]
OUT = Path(__file__).parent / "results" / "reproduce_eshotgun.json"
EVALUATIONS = 200


def branin(x: Array) -> float:
    a, b = x
    return float(
        (b - 5.1 * a**2 / (4 * math.pi**2) + 5 * a / math.pi - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10
    )


def log_goldstein_price(x: Array) -> float:
    a, b = x
    first = 1 + (a + b + 1) ** 2 * (19 - 14 * a + 3 * a**2 - 14 * b + 6 * a * b + 3 * b**2)
    second = 30 + (2 * a - 3 * b) ** 2 * (18 - 32 * a + 12 * a**2 + 48 * b - 36 * a * b + 27 * b**2)
    return float(math.log(first * second))


A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def mod_hartmann6(x: Array) -> float:
    return -math.log(float((np.array([1.0, 1.2, 3.0, 3.2]) * np.exp(-(A * (x - P) ** 2).sum(1))).sum()))


def log_rosenbrock(x: Array) -> float:
    return math.log(float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()) + 0.5)


FUNCTIONS: dict[str, tuple[Callable[[Array], float], list[tuple[float, float]], float]] = {
    "Branin": (branin, [(-5, 10), (0, 15)], 0.39788735772973816),
    "logGoldsteinPrice": (log_goldstein_price, [(-2, 2)] * 2, math.log(3)),
    "modHartman6": (mod_hartmann6, [(0, 1)] * 6, -1.200678),
    "logRosenbrock": (log_rosenbrock, [(-5, 10)] * 10, math.log(0.5)),
}


def run(name: str, batch: int, seed: int, options: dict[str, object]) -> float:
    """The final simple regret of one run."""
    function, box, optimum = FUNCTIONS[name]
    d = len(box)
    spec = StudySpec.read(
        json.dumps(
            {
                "name": "s",
                "parameters": [
                    {"name": f"x{i}", "type": "float", "min": lo, "max": hi} for i, (lo, hi) in enumerate(box)
                ],
                "objectives": [{"metric": "loss"}],
                "suggester": {"name": "eshotgun", "options": {"batch": batch, "initial_trials": 2 * d, **options}},
                "seed": seed,
            }
        )
    )
    entry, history, best, seq = get("eshotgun"), History(spec), math.inf, 0
    suggester = entry.create(
        Problem(study="s", spec=spec, seed=seed), entry.parse_options(spec.suggester.options), None
    )

    def tell(points: list[dict[str, float]], origins: list[dict[str, object]]) -> None:
        nonlocal seq, best
        found = []
        for point, origin in zip(points, origins, strict=True):
            seq += 1
            value = function(np.array([point[f"x{i}"] for i in range(d)]))
            best = min(best, value)
            found.append(
                Observation(
                    number=history.next_number + len(found), told_seq=seq, state=TrialState.COMPLETED, parameters=point,
                    metrics={"loss": value}, feasible=True, origin=origin,
                )
            )  # fmt: skip
        history.update(found, seq=seq, next_number=history.next_number + len(found))

    low, high = np.array(box).T
    start = low + (high - low) * qmc.LatinHypercube(d, rng=np.random.default_rng([5, seed])).random(2 * d)
    tell([{f"x{i}": float(v) for i, v in enumerate(row)} for row in start], [{}] * (2 * d))
    while len(history) < 2 * d + EVALUATIONS:
        suggestions = suggester.suggest(history, batch)
        tell([dict(s.parameters) for s in suggestions], [dict(s.origin) for s in suggestions])
    return best - optimum


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--functions", default=",".join(FUNCTIONS))
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--variant", default="pf")
    parser.add_argument("--epsilon", type=float, default=0.1)
    parser.add_argument("--ours", action="store_true", help="the suggester's own anisotropic model")
    parser.add_argument("--radius-scale", type=float, default=1.0)
    arguments = parser.parse_args()
    for name in arguments.functions.split(","):
        options: dict[str, object] = {
            "variant": arguments.variant, "epsilon": arguments.epsilon, "isotropic": not arguments.ours,
            "radius_scale": arguments.radius_scale,
        }  # fmt: skip
        key = f"{name}, q={arguments.batch}, {arguments.variant}, epsilon {arguments.epsilon}" + (
            ", anisotropic" if arguments.ours else ""
        )
        key += f", radius scale {arguments.radius_scale:g}" if arguments.radius_scale != 1 else ""
        saved = json.loads(OUT.read_text()) if OUT.exists() else {}
        regrets = saved.get(key, {}).get("regrets", [])
        for seed in range(len(regrets), arguments.runs):
            regrets.append(run(name, arguments.batch, seed, options))
            low, middle, high = np.percentile(regrets, [25, 50, 75])
            saved = json.loads(OUT.read_text()) if OUT.exists() else {}
            saved[key] = {"median": middle, "quartiles": [low, high], "runs": len(regrets), "regrets": regrets}
            OUT.write_text(json.dumps(saved, indent=1) + "\n")
        print(key, {k: v for k, v in saved.get(key, {}).items() if k != "regrets"}, flush=True)

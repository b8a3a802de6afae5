"""Cumulative regret of `goucb` beside a GP-UCB: where the network's family holds the function, and where it does not.

    python -m benchmarks.reproduce_goucb [--seeds 10] [--steps 100] [--functions network] [--kappas 2] [--write PATH]

A file that is there gets the functions of this run replaced.

20 dimensions, noise of deviation 0.01, the same 40 uniform points first. Functions, scaled to deviation 1 over the cube: random
networks of the family, smooth as those that fits start from, and rough with standard normal parameters; Styblinski-Tang and Rastrigin,
which are not of the family. Regret is counted from the minimum, of networks from the lowest end of 40 climbs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from services.domain.history import History, Observation
from services.domain.study import StudySpec
from services.domain.suggester import Problem
from services.domain.trial import TrialState
from workers.models.fitting import Priors, fit
from workers.models.gaussian_process import GaussianProcess
from workers.models.kernels import Kernel
from workers.models.sigmoid_network import Network
from workers.suggesters.registry import get

Array = NDArray[np.float64]
Function = Callable[[Array], Array]
DIMENSIONS = 20
FIRST = 2 * DIMENSIONS
NOISE = 0.01


def functions(seed: int) -> dict[str, Function]:
    """(n, d) places in the unit cube -> (n,)."""
    network = Network(DIMENSIONS)
    smooth = network.draw(np.random.default_rng([seed, 1]))
    rough = np.random.default_rng([seed, 4]).standard_normal(network.size)
    return {
        "network": lambda x: network.values(smooth, x),
        "rough-network": lambda x: network.values(rough, x),
        "styblinski-tang": lambda x: 0.5 * _styblinski(10 * x - 5),
        "rastrigin": lambda x: _rastrigin(10.24 * x - 5.12),
    }


def _styblinski(z: Array) -> Array:
    return np.asarray((z**4 - 16 * z**2 + 5 * z).sum(axis=1))


def _rastrigin(z: Array) -> Array:
    return np.asarray((z**2 - 10 * np.cos(2 * np.pi * z) + 10).sum(axis=1))


def scaled(function: Function, name: str) -> tuple[Function, float]:
    """The function with deviation 1 over the cube, and its lowest value."""
    rng = np.random.default_rng(9)
    x = rng.random((4000, DIMENSIONS))
    values = function(x)
    mean, deviation = values.mean(), values.std()

    def of(places: Array) -> Array:
        return np.asarray((function(places) - mean) / deviation)

    if name == "rastrigin":
        return of, float(of(np.full((1, DIMENSIONS), 0.5))[0])
    if name == "styblinski-tang":
        return of, float(of(np.full((1, DIMENSIONS), (5 - 2.903534) / 10))[0])
    bounds = [(0.0, 1.0)] * DIMENSIONS
    ends = [minimize(lambda p: of(p[None])[0], s, method="L-BFGS-B", bounds=bounds).fun for s in x[:40]]
    return of, float(min(ends))


def noisy(function: Function, seed: int) -> Callable[[Array, int], float]:
    """One evaluation at step n, the same noise for each method."""
    noise = np.random.default_rng([seed, 2]).standard_normal(1000) * NOISE
    return lambda x, n: float(function(x[None])[0] + noise[n])


def with_network(evaluate: Callable[[Array, int], float], first: Array, steps: int, seed: int, **options: Any) -> Array:
    """(steps, d) places that `goucb` evaluates after the first ones."""
    names = [f"x{i}" for i in range(DIMENSIONS)]
    document = {
        "name": "goucb", "objectives": [{"metric": "y", "noisy": True}], "seed": seed,
        "parameters": [{"name": n, "type": "float", "min": 0, "max": 1} for n in names],
        "suggester": {"name": "goucb", "options": {"initial_trials": len(first)} | options},
    }  # fmt: skip
    study = StudySpec.read(json.dumps(document))
    entry = get("goucb")
    suggester = entry.create(
        Problem(study="s", spec=study, seed=seed), entry.parse_options(study.suggester.options), None
    )
    history, places = History(study), list(first)
    for n in range(len(first) + steps):
        if n >= len(first):
            point = suggester.suggest(history, 1)[0].parameters
            places.append(np.array([point[name] for name in names]))
        told = Observation(
            number=n + 1, told_seq=n + 1, state=TrialState.COMPLETED, metrics={"y": evaluate(places[n], n)},
            parameters=dict(zip(names, map(float, places[n]), strict=True)),
        )  # fmt: skip
        history.update([told], seq=n + 1, next_number=n + 2)
    return np.array(places[len(first) :])


def with_process(evaluate: Callable[[Array, int], float], first: Array, steps: int, seed: int, kappa: float) -> Array:
    """(steps, d) places that GP-UCB evaluates; refitted every fourth step."""
    kernel = Kernel.ard(np.zeros(DIMENSIONS, dtype=bool))
    priors = Priors.dimension_scaled(DIMENSIONS)
    x, y, theta = first, np.array([evaluate(p, n) for n, p in enumerate(first)]), None
    for step in range(steps):
        told = (y - y.mean()) / y.std()
        if theta is None or step % 4 == 0:
            theta = fit(x, told, kernel, priors=priors)
        process = GaussianProcess(x, told, theta, kernel)
        place = _lowest_bound(process, x[np.argsort(told)[:4]], np.random.default_rng([seed, step]), kappa)
        x, y = np.vstack([x, place]), np.append(y, evaluate(place, len(y)))
    return x[len(first) :]


def _lowest_bound(process: GaussianProcess, best: Array, rng: np.random.Generator, kappa: float) -> Array:
    d = DIMENSIONS
    moves = rng.standard_normal((512, d)) * 0.1 * (rng.random((512, d)) < 0.5)
    near = np.clip(best[rng.integers(len(best), size=512)] + moves, 0, 1)
    rows = np.vstack([rng.random((1536, d)), near])
    mean, std = process.predict(rows)

    def bound(p: Array) -> tuple[float, Array]:
        mean, std, d_mean, d_std = process.predict_with_gradient(p)
        return float(mean - kappa * std), d_mean - kappa * d_std

    starts = rows[np.argsort(mean - kappa * std, kind="stable")[:4]]
    ends = [
        minimize(bound, s, jac=True, method="L-BFGS-B", bounds=[(0, 1)] * d, options={"maxiter": 60}) for s in starts
    ]
    return np.clip(min(ends, key=lambda e: float(e.fun)).x, 0, 1)


def compare(name: str, seed: int, steps: int, options: dict[str, Any], kappas: list[float]) -> dict[str, list[float]]:
    """Cumulative regret by method, at every step."""
    function, lowest = scaled(functions(seed)[name], name)
    evaluate, first = noisy(function, seed), np.random.default_rng([seed, 3]).random((FIRST, DIMENSIONS))
    found = {"goucb": with_network(evaluate, first, steps, seed, **options)}
    found |= {f"gp-ucb {kappa:g}": with_process(evaluate, first, steps, seed, kappa) for kappa in kappas}
    return {method: np.cumsum(function(x) - lowest).round(3).tolist() for method, x in found.items()}


def summary(runs: list[dict[str, list[float]]]) -> dict[str, Any]:
    """Means over seeds, wins of `goucb`, and regret of the first and the second half of the steps."""
    methods = list(runs[0])
    last = {m: np.array([r[m][-1] for r in runs]) for m in methods}
    half = {m: np.array([r[m][len(r[m]) // 2 - 1] for r in runs]) for m in methods}
    return {
        m: {
            "cumulative_regret": round(float(last[m].mean()), 2),
            "first_half": round(float(half[m].mean()), 2),
            "second_half": round(float((last[m] - half[m]).mean()), 2),
            "goucb_lower_on": int((last["goucb"] < last[m]).sum()),
        }
        for m in methods
    }


def main() -> None:
    """Run and print; write JSON if asked to."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--beta", type=float)
    parser.add_argument("--ridge", type=float)
    parser.add_argument("--kappas", type=float, nargs="*", default=[1.0, 2.0])
    parser.add_argument("--functions", nargs="+", default=["network", "rough-network", "styblinski-tang", "rastrigin"])
    parser.add_argument("--write", type=Path)
    given = parser.parse_args()
    options = {k: v for k, v in (("beta", given.beta), ("ridge", given.ridge)) if v is not None}
    found = json.loads(given.write.read_text()) if given.write and given.write.exists() else {}
    for name in given.functions:
        runs: list[dict[str, list[float]]] = []
        for seed in range(given.seeds):
            runs.append(compare(name, seed, given.steps, options, given.kappas))
            print(name, seed, {method: run[-1] for method, run in runs[-1].items()}, flush=True)
            found[name] = {"seeds": len(runs), "steps": given.steps, "options": options} | summary(runs)
            if given.write:
                given.write.write_text(json.dumps(found, indent=1) + "\n")
        print(name, json.dumps(found[name], indent=1), flush=True)


if __name__ == "__main__":
    main()

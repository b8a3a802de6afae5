"""The trust region on the published problems, and how long a suggestion takes when many trials are known.

`python benchmarks/reproduce_turbo.py [--seeds 5] [--part all]` writes `benchmarks/results/reproduce_turbo.json`.

- ackley: Ackley in 20 dimensions on [-5, 10], 40 initial points, batches of 4, 400 evaluations; `sobol` and `cmaes` beside it.
- constrained: Ackley in 10 dimensions on [-5, 10] under sum x <= 0 and |x| <= 5, 20 initial points, batches of 4, 200 evaluations.
- speed: processor seconds of one suggestion at 500, 2000, 5000 and 20 000 known trials: cold, and after one more.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402

from services.domain.history import Observation  # noqa: E402
from services.domain.trial import TrialState  # noqa: E402
from tests.suggesters import law  # noqa: E402
from tests.support.builders import study  # noqa: E402
from workers.suggesters.registry import get  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "reproduce_turbo.json"
Metrics = Callable[[np.ndarray[Any, Any]], dict[str, float]]


def ackley(x: np.ndarray[Any, Any]) -> float:
    """0 at 0."""
    return float(
        -20 * math.exp(-0.2 * math.sqrt(float((x**2).mean())))
        - math.exp(float(np.cos(2 * math.pi * x).mean()))
        + 20
        + math.e
    )


def run(
    name: str, d: int, low: float, high: float, metrics: Metrics, *, trials: int, batch: int, seed: int,
    constraints: tuple[str, ...] = (), **options: Any,
) -> list[float]:  # fmt: skip
    """The best feasible value after each trial; infinity before there is one."""
    parameters = [{"name": f"x{i}", "type": "float", "min": low, "max": high} for i in range(d)]
    bounds = [{"metric": c, "max": 0.0} for c in constraints]
    made = study(
        parameters=parameters, constraints=bounds, suggester={"name": name, "options": options}, seed=seed
    )  # fmt: skip
    one = law.Study(law.Problem(study="s", spec=made, seed=seed))
    suggester, history, best, curve = law.make(get(name), one.problem), one.history(), math.inf, []
    while len(one.trials) < trials:
        found = suggester.suggest(history, min(batch, trials - len(one.trials)))
        for suggestion in found:
            number = one.start(suggestion)
            values = metrics(np.array([suggestion.parameters[p["name"]] for p in parameters]))
            one.tell(number, values["loss"])
            feasible = all(values[c] <= 0 for c in constraints)
            one.trials[number] = law.with_metrics(one.trials[number], values, feasible)
            best = min(best, values["loss"]) if feasible else best
            curve.append(best)
        history.update(list(one.trials.values())[-len(found) :], seq=one.seq, next_number=len(one.trials) + 1)
    return curve


def ackley_part(seeds: int) -> dict[str, Any]:
    """Best values after 100, 200 and 400 evaluations."""
    found: dict[str, Any] = {}
    for name, options in (("turbo", {"initial_trials": 40}), ("cmaes", {}), ("sobol", {})):
        curves, start = [], time.process_time()
        for seed in range(seeds):
            curves.append(
                run(name, 20, -5, 10, lambda x: {"loss": ackley(x)}, trials=400, batch=4, seed=seed, **options)
            )
            print(name, seed, [round(curves[-1][k - 1], 3) for k in (100, 200, 400)], flush=True)
        found[name] = {
            "median": {k: statistics.median(c[k - 1] for c in curves) for k in (100, 200, 400)},
            "final": [c[-1] for c in curves],
            "seconds_a_run": (time.process_time() - start) / seeds,
        }
    return found


def constrained_part(seeds: int) -> dict[str, Any]:
    """Best feasible values after 50, 100 and 200 evaluations."""

    def metrics(x: np.ndarray[Any, Any]) -> dict[str, float]:
        return {"loss": ackley(x), "a": float(x.sum()), "b": float(np.linalg.norm(x)) - 5.0}

    found: dict[str, Any] = {}
    for name, options in (("turbo", {"initial_trials": 20}), ("random", {})):
        curves = []
        for seed in range(seeds):
            curves.append(
                run(name, 10, -5, 10, metrics, trials=200, batch=4, seed=seed, constraints=("a", "b"), **options)
            )
            print("constrained", name, seed, [round(curves[-1][k - 1], 3) for k in (50, 100, 200)], flush=True)
        median = {k: statistics.median(c[k - 1] for c in curves) for k in (50, 100, 200)}
        found[name] = {
            "median": {k: v if math.isfinite(v) else None for k, v in median.items()},
            "final": [c[-1] if math.isfinite(c[-1]) else None for c in curves],
        }
    return found


def speed_part() -> dict[str, Any]:
    """Processor seconds of one suggestion and of eight, in 20 dimensions, among imported trials."""
    d, rng, found = 20, np.random.default_rng(0), {}
    parameters = [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]
    made = study(parameters=parameters, suggester={"name": "turbo"}, seed=1)
    of = law.Problem(study="s", spec=made, seed=1)
    for n in (500, 2000, 5000, 20_000):
        x = rng.random((n + 1, d))
        rows = [
            Observation(
                number=k + 1, told_seq=k + 1, state=TrialState.COMPLETED, feasible=True, suggester="user",
                parameters={f"x{i}": float(v) for i, v in enumerate(x[k])},
                metrics={"loss": float(((x[k] - 0.4) ** 2).sum() + 0.1 * np.sin(8 * x[k]).sum())},
            )
            for k in range(n + 1)
        ]  # fmt: skip
        history = law.Study(of).history()
        history.update(rows[:n], seq=n, next_number=n + 1)
        suggester, took = law.make(get("turbo"), of), []
        for count, more in ((1, False), (1, True), (8, True)):
            if more:
                history.update(rows[n:], seq=n + 1, next_number=n + 2)
            start = time.process_time()
            assert len(suggester.suggest(history, count)) == count
            took.append(round(time.process_time() - start, 3))
        found[str(n)] = {"cold": took[0], "warm": took[1], "eight": took[2]}
        print(n, found[str(n)], flush=True)
    return found


def main() -> None:
    """Run the parts that are wanted and keep the results of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", choices=["all", "ackley", "constrained", "speed"], default="all")
    wanted = parser.parse_args()
    if wanted.part in ("all", "speed"):
        keep("speed", speed_part())
    if wanted.part in ("all", "constrained"):
        keep("constrained", constrained_part(wanted.seeds))
    if wanted.part in ("all", "ackley"):
        keep("ackley", ackley_part(wanted.seeds))


def keep(part: str, result: dict[str, Any]) -> None:
    """Write one part beside the others."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**found, part: result}, indent=1) + "\n")


if __name__ == "__main__":
    main()

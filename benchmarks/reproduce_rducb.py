"""Random decompositions on additive and on published problems; seconds are the processor's, for one late suggestion.

`python benchmarks/reproduce_rducb.py [--seeds 10] [--part all]` writes `benchmarks/results/reproduce_rducb.json`.

- additive: sum of sin(6 x) and of products of neighbours, 30 dimensions, 200 evaluations, beside random search.
- hartmann: Hartmann-6 among 14 inert coordinates, 200 evaluations, beside random search and `turbo`.
- styblinski: Styblinski-Tang in 250 dimensions on [-4, 4], noise variance 0.15, 120 evaluations, beside the same.
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

from tests.suggesters import law  # noqa: E402
from tests.support.builders import study  # noqa: E402
from tests.support.objectives import hartmann6, wins  # noqa: E402
from workers.suggesters.registry import get  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results" / "reproduce_rducb.json"
Row = np.ndarray[Any, Any]


def additive(x: Row) -> float:
    """Waves and products of neighbours."""
    return float(np.sin(6 * x).sum() + (x[0::2] * x[1::2]).sum())


def embedded(x: Row) -> float:
    """Hartmann-6 of every third coordinate."""
    return hartmann6(list(x[1:19:3]))


def styblinski(x: Row) -> float:
    """-39.16617 a dimension at -2.903534."""
    return float(0.5 * (x**4 - 16 * x**2 + 5 * x).sum())


def run(
    name: str, d: int, low: float, high: float, f: Callable[[Row], float], trials: int, seed: int, noise: float = 0.0
) -> tuple[list[float], float]:
    """The best noise-free value after each trial, and the median processor seconds of a suggestion in the last quarter."""
    parameters = [{"name": f"x{i}", "type": "float", "min": low, "max": high} for i in range(d)]
    made = study(
        parameters=parameters, objectives=[{"metric": "loss", "noisy": noise > 0}], suggester={"name": name}, seed=seed
    )
    one = law.Study(law.Problem(study="s", spec=made, seed=seed))
    suggester, history, best, curve, took = law.make(get(name), one.problem), one.history(), math.inf, [], []
    rng = np.random.default_rng(seed)
    for _ in range(trials):
        start = time.process_time()
        suggestion = suggester.suggest(history, 1)[0]
        took.append(time.process_time() - start)
        value = f(np.array(list(suggestion.parameters.values())))
        number = one.start(suggestion)
        one.tell(number, value + noise * float(rng.standard_normal()))
        best = min(best, value)
        curve.append(best)
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return curve, statistics.median(took[-trials // 4 :])


def compared(
    title: str, names: tuple[str, ...], seeds: int, at: tuple[int, ...], *problem: Any, **fields: Any
) -> dict[str, Any]:
    """Medians and quartiles of several methods, and how often `rducb` beats random search."""
    found: dict[str, Any] = {}
    finals: dict[str, list[float]] = {}
    for name in names:
        runs = [run(name, *problem, seed, **fields) for seed in range(seeds)]
        finals[name] = [c[-1] for c, _ in runs]
        found[name] = {
            "median": {k: round(statistics.median(c[k - 1] for c, _ in runs), 4) for k in at},
            "final": [round(v, 4) for v in finals[name]],
            "seconds": round(statistics.median(s for _, s in runs), 3),
        }
        print(title, name, found[name], flush=True)
    found["wins_over_random"] = wins(finals["rducb"], finals["random"])
    return found


def main() -> None:
    """Run the parts that are wanted and keep the results of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--part", choices=["all", "additive", "hartmann", "styblinski"], default="all")
    wanted = parser.parse_args()
    peers = ("rducb", "turbo", "random")
    if wanted.part in ("all", "additive"):
        at = (50, 100, 200)
        keep("additive", compared("additive", ("rducb", "random"), wanted.seeds, at, 30, 0.0, 1.0, additive, 200))
    if wanted.part in ("all", "hartmann"):
        at = (50, 100, 200)
        keep("hartmann", compared("hartmann", peers, min(5, wanted.seeds), at, 20, 0.0, 1.0, embedded, 200))
    if wanted.part in ("all", "styblinski"):
        at, problem = (40, 80, 120), (250, -4.0, 4.0, styblinski, 120)
        found = compared("styblinski", peers, min(3, wanted.seeds), at, *problem, noise=math.sqrt(0.15))
        keep("styblinski", found)


def keep(part: str, result: dict[str, Any]) -> None:
    """Write one part beside the others."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**found, part: result}, indent=1) + "\n")


if __name__ == "__main__":
    main()

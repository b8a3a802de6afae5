"""Overhead of CMA-ES: suggester time per trial of `cmaes`, one ask and one tell at a time, beside plain pycma in the same run.

`python benchmarks/overhead.py [--quick]` prints a table and writes `benchmarks/results/overhead.json`.

- suggest: processor time of `suggest` alone, which also reads the outcome told before and updates the distribution.
- pycma: `ask` and `tell` of whole generations with the same bounds and popsize, over the number of points.
- lq: the same with the surrogate; its time goes into fits, and what it saves is evaluations.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402

from tests.suggesters import law  # noqa: E402
from tests.support.builders import study  # noqa: E402
from workers.suggesters.registry import get  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"
CASES = [
    (10, "floats", "none"),
    (10, "floats", "lq"),
    (20, "floats", "lq"),
    (100, "floats", "none"),
    (100, "vector", "none"),
    (300, "vector", "none"),
]


def ellipsoid(x: np.ndarray[Any, Any]) -> float:
    """Minimum at 0.3, condition 10⁶."""
    return float((10 ** (6 * np.arange(len(x)) / (len(x) - 1)) * (x - 0.3) ** 2).sum())


def space(n: int, kind: str) -> list[dict[str, Any]]:
    """n numbers, as parameters of their own or as one vector."""
    if kind == "vector":
        return [{"name": "w", "type": "vector", "length": n, "min": 0, "max": 1}]
    return [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(n)]


def ours(n: int, kind: str, surrogate: str, trials: int) -> float:
    """Milliseconds of `suggest` a trial."""
    options = {"surrogate": surrogate, "restarts": "none"}
    made = study(parameters=space(n, kind), suggester={"name": "cmaes", "options": options}, seed=1)
    one = law.Study(law.Problem(study="s", spec=made, seed=1))
    suggester, history, spent = law.make(get("cmaes"), one.problem), one.history(), 0.0
    suggester.suggest(history, 1)
    for _ in range(trials):
        start = time.process_time()
        suggestion = suggester.suggest(history, 1)[0]
        spent += time.process_time() - start
        number = one.start(suggestion)
        values = suggestion.parameters
        one.tell(number, ellipsoid(np.array(values["w"] if kind == "vector" else list(values.values()))))
        history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    return 1e3 * spent / trials


def pycma(n: int, trials: int) -> float:
    """Milliseconds of `ask` and `tell` a point."""
    import cma

    es = cma.CMAEvolutionStrategy([0.5] * n, 0.3, {"bounds": [0, 1], "seed": 1, "verbose": -9, "verb_log": 0})
    done, spent = 0, 0.0
    while done < trials:
        start = time.process_time()
        points = es.ask()
        spent += time.process_time() - start
        values = [ellipsoid(x) for x in points]
        start = time.process_time()
        es.tell(points, values)
        spent += time.process_time() - start
        done += len(points)
    return 1e3 * spent / done


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    trials = 300 if parser.parse_args().quick else 2000
    warnings.simplefilter("ignore")
    found = []
    print(f"{'n':>4} {'as':>7} {'surrogate':>9} {'suggest ms':>11} {'pycma ms':>9} {'ratio':>6}")
    for n, kind, surrogate in CASES:
        mine, theirs = ours(n, kind, surrogate, trials), pycma(n, trials)
        found.append(
            {"n": n, "space": kind, "surrogate": surrogate, "trials": trials, "suggest_ms": round(mine, 4),
             "pycma_ms": round(theirs, 4), "ratio": round(mine / theirs, 2)}
        )  # fmt: skip
        print(f"{n:>4} {kind:>7} {surrogate:>9} {mine:>11.3f} {theirs:>9.3f} {mine / theirs:>6.2f}", flush=True)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "overhead.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()

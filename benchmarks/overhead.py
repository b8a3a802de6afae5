"""What a trial costs the suggester: `cmaes` beside plain pycma, then every method with a population, in cases that differ.

`python benchmarks/overhead.py [--quick] [--only cmaes|methods]` prints two tables and writes `benchmarks/results/overhead.json` and
`overhead-methods.json`.

- suggest: processor time of `suggest` alone, one ask and one tell at a time; it also reads the outcome told before and updates.
- pycma: `ask` and `tell` of whole generations with the same bounds and popsize, over the number of points.
- lq: the same with the surrogate; its time goes into fits, and what it saves is evaluations.
- restart: milliseconds of one ask by a suggester that knows nothing, after 20 000 trials.
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
POPULATIONS = {
    "random": None, "ga": "popsize", "nsga2": "popsize", "de": "popsize", "pso": "popsize", "cbo": "popsize",
    "cem": "population", "annealing": None, "cmaes": "popsize",
}  # fmt: skip
"""By method, the option that says how large its population is."""
MIXED: list[dict[str, Any]] = [
    *({"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(4)),
    *({"name": f"n{i}", "type": "int", "min": 0, "max": 100} for i in range(3)),
    *({"name": f"c{i}", "type": "categorical", "choices": ["a", "b", "c"]} for i in range(3)),
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
    return driven({"parameters": space(n, kind), "suggester": {"name": "cmaes", "options": options}}, trials)[0]


def driven(fields: dict[str, Any], trials: int, batch: int = 1) -> tuple[float, float]:
    """Milliseconds of `suggest` a trial, and of one more ask by a suggester that was made anew."""
    made = study(**fields, seed=1)
    one = law.Study(law.Problem(study="s", spec=made, seed=1))
    spec = get(made.suggester.name)
    suggester, history, spent = law.make(spec, one.problem), one.history(), 0.0
    suggester.suggest(history, 1)
    for _ in range(trials // batch):
        start = time.process_time()
        suggestions = suggester.suggest(history, batch)
        spent += time.process_time() - start
        numbers = [one.start(suggestion) for suggestion in suggestions]
        history.update([one.trials[n] for n in numbers], seq=one.seq, next_number=numbers[-1] + 1)
        for number, suggestion in zip(numbers, suggestions, strict=True):
            value = ellipsoid(numbers_of(suggestion.parameters))
            one.tell(number, value, **{o.metric: value * (-1) ** i for i, o in enumerate(made.objectives)})
        history.update([one.trials[n] for n in numbers], seq=one.seq, next_number=numbers[-1] + 1)
    start = time.process_time()
    law.make(spec, one.problem).suggest(history, 1)
    return 1e3 * spent / trials, 1e3 * (time.process_time() - start)


def numbers_of(point: dict[str, Any]) -> np.ndarray[Any, Any]:
    """A point as numbers from 0 to 1."""
    if "w" in point:
        return np.array(point["w"])
    return np.array(
        ["abc".find(v) / 2 if isinstance(v, str) else v / 100 if isinstance(v, int) else v for v in point.values()]
    )


def by_method(name: str, trials: int) -> dict[str, float]:
    """Milliseconds a trial of one method in each case."""
    fields: dict[str, Any] = {"objectives": [{"metric": "loss"}, {"metric": "other"}]} if name == "nsga2" else {}
    chosen = {"name": name, "options": {}}
    large = {"name": name, "options": {POPULATIONS[name]: 1000} if POPULATIONS[name] else {}}
    narrow = {"parameter_constraints": [" + ".join(f"x{i}" for i in range(10)) + " <= 2.3"]}
    cases: dict[str, tuple[dict[str, Any], int, int]] = {
        "10": ({"parameters": space(10, "floats"), "suggester": chosen}, trials, 1),
        "100": ({"parameters": space(100, "floats"), "suggester": chosen}, trials // 2, 1),
        "mixed": ({"parameters": MIXED, "suggester": chosen}, trials, 1),
        "narrow": ({"parameters": space(10, "floats"), "suggester": chosen, **narrow}, trials // 4, 1),
        "large": ({"parameters": space(10, "floats"), "suggester": large}, trials * 5 // 2, 1),
        "batch": ({"parameters": space(10, "floats"), "suggester": chosen}, trials * 10, 1000),
    }
    found = {}
    for case, (more, count, batch) in cases.items():
        found[case], restart = driven({**fields, **more}, max(count, batch), batch)
        if case == "batch":
            found["restart"] = restart
    return {case: round(value, 3) for case, value in found.items()}


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


def cmaes_table(trials: int) -> list[dict[str, Any]]:
    """`cmaes` beside pycma."""
    found = []
    print(f"{'n':>4} {'as':>7} {'surrogate':>9} {'suggest ms':>11} {'pycma ms':>9} {'ratio':>6}")
    for n, kind, surrogate in CASES:
        mine, theirs = ours(n, kind, surrogate, trials), pycma(n, trials)
        found.append(
            {"n": n, "space": kind, "surrogate": surrogate, "trials": trials, "suggest_ms": round(mine, 4),
             "pycma_ms": round(theirs, 4), "ratio": round(mine / theirs, 2)}
        )  # fmt: skip
        print(f"{n:>4} {kind:>7} {surrogate:>9} {mine:>11.3f} {theirs:>9.3f} {mine / theirs:>6.2f}", flush=True)
    return found


def methods_table(trials: int) -> dict[str, dict[str, float]]:
    """Every method with a population."""
    found = {"pycma": {"10": round(pycma(10, trials), 3), "100": round(pycma(100, trials), 3)}}
    columns = ("10", "100", "mixed", "narrow", "large", "batch", "restart")
    print(f"{'ms a trial':<10}" + "".join(f"{column:>9}" for column in columns))
    for name in ["pycma", *POPULATIONS]:
        found[name] = found.get(name) or by_method(name, trials)
        print(f"{name:<10}" + "".join(f"{found[name].get(column, ''):>9}" for column in columns), flush=True)
    return found


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", choices=["cmaes", "methods"])
    arguments = parser.parse_args()
    trials = 300 if arguments.quick else 2000
    warnings.simplefilter("ignore")
    RESULTS.mkdir(exist_ok=True)
    tables = {"cmaes": (cmaes_table, "overhead.json"), "methods": (methods_table, "overhead-methods.json")}
    for name, (table, file) in tables.items():
        if arguments.only in (None, name):
            (RESULTS / file).write_text(json.dumps(table(trials), indent=2) + "\n")


if __name__ == "__main__":
    main()

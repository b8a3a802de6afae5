"""Latency of a model: `gp` at 50 to 1000 trials in 10 and 20 dimensions, cold, warm and thought ahead, beside Optuna's GPSampler.

`python benchmarks/latency.py [--quick]` prints a table and writes `benchmarks/results/latency.json`.

- cold: a worker that knows nothing reads the whole history and suggests.
- warm: the same worker after one more outcome.
- ahead: an ask over HTTP when the suggestion was computed after the last outcome (median of 5 asks).
- optuna: `study.ask` with a GPSampler that has suggested for the study once before.
"""

from __future__ import annotations

import argparse
import json
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx  # noqa: E402
import numpy as np  # noqa: E402

from tests.suggesters import law  # noqa: E402
from tests.support.builders import study, study_document  # noqa: E402
from tests.support.servers import Server, wait_for  # noqa: E402
from workers.suggesters.registry import get  # noqa: E402

RESULTS = Path(__file__).resolve().parent / "results"


def objective(x: np.ndarray[Any, Any]) -> float:
    """Something smooth with a few bumps."""
    return float(((x - 0.4) ** 2).sum() + 0.1 * np.sin(8 * x).sum())


def points(n: int, d: int) -> np.ndarray[Any, Any]:
    """The trials that exist."""
    return np.random.default_rng(0).random((n, d))


def space(d: int) -> list[dict[str, Any]]:
    """A numeric space."""
    return [{"name": f"x{i}", "type": "float", "min": 0, "max": 1} for i in range(d)]


def suggester_seconds(n: int, d: int) -> tuple[float, float]:
    """Cold and warm seconds of one suggestion."""
    spec = get("gp")
    of = law.Problem(study="s", spec=study(parameters=space(d), suggester={"name": "gp"}, seed=1), seed=1)
    one = law.Study(of)
    for row in points(n, d):
        one.tell(one.add({f"x{i}": float(v) for i, v in enumerate(row)}), objective(row))
    law.make(spec, of).suggest(law.Study(of).history(), 1)  # imports are not what is measured
    suggester, history = law.make(spec, of), one.history()
    started = time.perf_counter()
    found = suggester.suggest(history, 1)[0]
    cold = time.perf_counter() - started
    number = one.start(found)
    one.tell(number, objective(np.array(list(found.parameters.values()))))
    history.update([one.trials[number]], seq=one.seq, next_number=number + 1)
    started = time.perf_counter()
    suggester.suggest(history, 1)
    return cold, time.perf_counter() - started


def ahead_seconds(server: Server, database: Path, n: int, d: int) -> float:
    """Median seconds of an ask whose suggestion is ready."""
    with httpx.Client(base_url=server.url + "/v1", timeout=120) as client:
        body = study_document(parameters=space(d), suggester={"name": "gp"})
        name = client.post("/studies", json=body).raise_for_status().json()["name"]
        imported = [
            {"parameters": {f"x{i}": float(v) for i, v in enumerate(row)}, "metrics": {"loss": objective(row)}}
            for row in points(n, d)
        ]
        client.post(f"/studies/{name}/trials", json={"trials": imported}).raise_for_status()
        times = []
        for _ in range(5):
            wait_for(lambda: is_ready(database, name), 180, "the suggestion")
            started = time.perf_counter()
            trial = client.post(f"/studies/{name}/trials:ask", json={"wait_seconds": 60}).json()["trials"][0]
            times.append(time.perf_counter() - started)
            assert not trial["suggested_by"]["fallback"]
            value = objective(np.array(list(trial["parameters"].values())))
            client.post(f"/studies/{name}/trials/{trial['number']}:tell", json={"metrics": {"loss": value}})
        client.delete(f"/studies/{name}")
        return statistics.median(times)


def is_ready(database: Path, name: str) -> bool:
    """Whether the study's buffer has seen everything."""
    query = (
        "SELECT buffered > 0 AND buffer_seq >= knowledge_seq FROM study_progress "
        "JOIN studies ON studies.id = study_id WHERE name = ?"
    )
    with sqlite3.connect(database) as connection:
        row = connection.execute(query, (name,)).fetchone()
    return bool(row and row[0])


def optuna_seconds(n: int, d: int) -> float:
    """Seconds of the peer's ask."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0, deterministic_objective=True))
    distributions = {f"x{i}": optuna.distributions.FloatDistribution(0, 1) for i in range(d)}
    for row in points(n, d):
        parameters = {f"x{i}": float(v) for i, v in enumerate(row)}
        found.add_trial(optuna.trial.create_trial(params=parameters, distributions=distributions, value=objective(row)))
    first = found.ask(distributions)
    found.tell(first, objective(np.array(list(first.params.values()))))
    started = time.perf_counter()
    found.ask(distributions)
    return time.perf_counter() - started


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small histories: a smoke test")
    quick = parser.parse_args().quick
    sizes = (20, 50) if quick else (50, 200, 500, 1000)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "asktell.db"
        server = Server(f"sqlite:///{database}", "--processes", "1").start()
        try:
            print(
                f"{'d':>3} {'trials':>6} {'cold s':>8} {'warm s':>8} {'ahead s':>8} {'optuna s':>9} {'optuna/warm':>12}"
            )
            for d in (10, 20):
                for n in sizes:
                    cold, warm = suggester_seconds(n, d)
                    row = {"d": d, "trials": n, "cold": cold, "warm": warm}
                    row |= {"ahead": ahead_seconds(server, database, n, d), "optuna": optuna_seconds(n, d)}
                    rows.append(row)
                    print(
                        f"{d:>3} {n:>6} {cold:>8.3f} {warm:>8.3f} {row['ahead']:>8.4f} {row['optuna']:>9.3f}"
                        f" {row['optuna'] / warm:>12.1f}",
                        flush=True,
                    )
        finally:
            server.stop()
    RESULTS.mkdir(exist_ok=True)
    name = "latency-quick" if quick else "latency"
    document = {"when": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "rows": rows}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()

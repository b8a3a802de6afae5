"""Ask + tell cycles a second on Postgres and SQLite, over REST and gRPC, beside Optuna on the same Postgres and pgbench.

`python benchmarks/throughput.py [--quick]` prints a table, writes `benchmarks/results/throughput.json` and a plot. Load runs in
a process of its own; on two cores it takes its share from the server.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.servers import Postgres, Server

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
CLIENTS = (1, 8, 32)
OPTUNA = """
import optuna, sys, time
optuna.logging.set_verbosity(optuna.logging.ERROR)
url, seconds, begin = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
study = optuna.load_study(study_name="peer", storage=url, sampler=optuna.samplers.RandomSampler())
time.sleep(max(0.0, begin - time.time()))
end, done, start = time.perf_counter() + seconds, 0, time.perf_counter()
while time.perf_counter() < end:
    trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
    study.tell(trial, 0.5)
    done += 1
print(done / (time.perf_counter() - start))
"""


def load(kind: str, server: Server, study: str, clients: int, seconds: float) -> dict[str, float]:
    """One measurement."""
    target = server.url if kind in ("rest", "batch") else server.grpc_target
    command = [sys.executable, str(HERE / "load.py"), kind, target, study, str(clients), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, float] = json.loads(done.stdout)
    return found


def new_study(server: Server, name: str, trials: int) -> str:
    """A study that has so many finished trials already."""
    with httpx.Client(base_url=server.url + "/v1", timeout=120) as client:
        body = {
            "name": name,
            "parameters": [{"name": "x", "type": "float", "min": 0, "max": 1}],
            "objectives": [{"metric": "loss"}],
            "suggester": {"name": "random"},
        }
        client.post("/studies", json=body).raise_for_status()
        for start in range(0, trials, 5000):
            part = [{"parameters": {"x": 0.5}, "metrics": {"loss": 0.5}}] * min(5000, trials - start)
            client.post(f"/studies/{name}/trials", json={"trials": part}).raise_for_status()
    return name


def measure(
    server: Server, database: str, sizes: tuple[int, ...], seconds: float, repeats: int
) -> list[dict[str, Any]]:
    """Every row of one database. Sizes are measured in turn, again and again, so that the machine's mood hits all alike."""
    studies = {size: new_study(server, f"{database}-{size}", size) for size in sizes}
    rows: list[dict[str, Any]] = []
    for kind, clients in [(k, c) for k in ("rest", "grpc") for c in CLIENTS]:
        runs: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
        for _ in range(repeats):
            for size in sizes:
                runs[size].append(load(kind, server, studies[size], clients, seconds))
        rows += [row(database, kind, clients, size, found) for size, found in runs.items()]
        for added in rows[-len(sizes) :]:
            print(line(added), flush=True)
    for kind in ("batch", "stream"):
        found = [load(kind, server, studies[sizes[0]], 1, seconds) for _ in range(repeats)]
        rows.append(row(database, kind, 1, sizes[0], found))
        print(line(rows[-1]), flush=True)
    return rows


def row(database: str, kind: str, clients: int, size: int, runs: list[dict[str, float]]) -> dict[str, Any]:
    """The median run."""
    middle = sorted(runs, key=lambda run: run["per_second"])[len(runs) // 2]
    return {"database": database, "kind": kind, "clients": clients, "trials": size, **middle}


def line(found: dict[str, Any]) -> str:
    """A row of the table."""
    return (
        f"{found['database']:<9} {found['kind']:<7} {found['clients']:>3} clients {found['trials']:>7} trials"
        f" {found['per_second']:>9.0f} trials/s   ask p50 {found.get('p50_ms', 0):>7.2f} ms  p99 {found.get('p99_ms', 0):>7.2f} ms"
    )


def optuna_rate(url: str, clients: int, seconds: float) -> float:
    """Cycles a second of so many processes that begin at one moment, after each has imported what it needs."""
    command = [sys.executable, "-c", OPTUNA, url, str(seconds), str(time.time() + 4 + 2 * clients)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    return sum(float(process.communicate()[0]) for process in running)


def optuna_peer(postgres: Postgres, seconds: float) -> list[dict[str, Any]]:
    """Optuna's RDB storage on the same Postgres: a process for each client, as its users run it."""
    import optuna

    url = postgres.create("optuna").replace("postgresql://", "postgresql+psycopg://")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.create_study(study_name="peer", storage=url)
    rows = []
    for clients in (1, 8):
        rate = optuna_rate(url, clients, seconds)
        rows.append({"database": "postgres", "kind": "optuna", "clients": clients, "trials": 0, "per_second": rate})
        print(line(rows[-1]), flush=True)
    return rows


def pgbench(postgres: Postgres, seconds: float) -> dict[str, Any]:
    """pgbench's simple-update with 8 clients: transactions a second of this Postgres on this machine."""
    url = postgres.create("pgbench")
    program = str(postgres.binary("pgbench"))
    subprocess.run([program, "-i", "-q", "-s", "5", url], check=True, capture_output=True)
    command = [program, "-n", "-b", "simple-update", "-c", "8", "-j", "2", "-T", str(int(max(2, seconds))), url]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rate = next(float(part.split("=")[1].split()[0]) for part in text.splitlines() if part.startswith("tps"))
    found = {"database": "postgres", "kind": "pgbench", "clients": 8, "trials": 0, "per_second": rate}
    print(line(found), flush=True)
    return found


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Trials a second by clients."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4.5))
    for database in ("postgres", "sqlite"):
        for kind in ("rest", "grpc"):
            points = [r for r in rows if r["database"] == database and r["kind"] == kind and r["trials"] == 0]
            if points:
                axes.plot(
                    [r["clients"] for r in points], [r["per_second"] for r in points], "o-", label=f"{kind}, {database}"
                )
    peer = [r for r in rows if r["kind"] == "optuna"]
    axes.plot([r["clients"] for r in peer], [r["per_second"] for r in peer], "s--", label="Optuna, postgres")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="clients",
        ylabel="ask + tell cycles per second",
        title="Throughput, random search",
    )
    axes.set_xticks(CLIENTS, [str(c) for c in CLIENTS])
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Run everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, small studies: a smoke test")
    quick = parser.parse_args().quick
    sizes, seconds, repeats = ((0, 1000), 1.0, 1) if quick else ((0, 10_000, 100_000), 3.0, 3)
    RESULTS.mkdir(exist_ok=True)
    rows: list[dict[str, Any]] = []
    postgres = Postgres().start()
    try:
        rows.append(pgbench(postgres, seconds))
        rows += optuna_peer(postgres, max(3.0, seconds))
        from migrations.upgrade import upgrade

        url = postgres.create("asktell")
        upgrade(url)
        server = Server(url, "--workers", "none").start()
        try:
            rows += measure(server, "postgres", sizes, seconds, repeats)
        finally:
            server.stop()
        rows += optuna_peer_again(postgres, rows, max(3.0, seconds))
    finally:
        postgres.stop()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(f"sqlite:///{folder}/asktell.db", "--workers", "none").start()
        try:
            rows += measure(server, "sqlite", sizes, seconds, repeats)
        finally:
            server.stop()
    summary = conclude(rows, sizes)
    name = "throughput-quick" if quick else "throughput"
    document = {"when": time.strftime("%Y-%m-%d"), "cores": os.cpu_count(), "rows": rows, "summary": summary}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n")
    plot(rows, RESULTS / f"{name}.png")


def optuna_peer_again(postgres: Postgres, rows: list[dict[str, Any]], seconds: float) -> list[dict[str, Any]]:
    """Optuna once more after our turn: the mean of before and after is what we compare with."""
    import optuna

    url = postgres.url("optuna").replace("postgresql://", "postgresql+psycopg://")
    optuna.delete_study(study_name="peer", storage=url)
    optuna.create_study(study_name="peer", storage=url)
    rate = optuna_rate(url, 8, seconds)
    return [{"database": "postgres", "kind": "optuna", "clients": 8, "trials": 0, "per_second": rate}]


def conclude(rows: list[dict[str, Any]], sizes: tuple[int, ...]) -> dict[str, float]:
    """The ratios that matter."""

    def rate(kind: str, clients: int, size: int = 0, database: str = "postgres") -> float:
        found = [
            r["per_second"]
            for r in rows
            if (r["kind"], r["clients"], r["trials"], r["database"]) == (kind, clients, size, database)
        ]
        return sum(found) / len(found)

    summary = {
        "rest over optuna, 8 clients": rate("rest", 8) / rate("optuna", 8),
        "grpc over optuna, 8 clients": rate("grpc", 8) / rate("optuna", 8),
        f"rest at {sizes[-1]} trials over at 0, 8 clients": rate("rest", 8, sizes[-1]) / rate("rest", 8),
        "batch over single calls, 1 client": rate("batch", 1) / rate("rest", 1),
        "stream over single calls, 1 client": rate("stream", 1) / rate("grpc", 1),
        "cycles over pgbench transactions, 8 clients": rate("rest", 8) / rate("pgbench", 8),
    }
    for name, value in summary.items():
        print(f"{name:<52} {value:>8.2f}")
    return summary


if __name__ == "__main__":
    main()

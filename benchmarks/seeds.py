"""Evolution strategies by seeds: what a generation costs the server, and how fast thousands of seeds go over the stream.

1. The same study for 10^3 to 10^9 parameters: server CPU a generation, bytes of an answered trial and of the log. Nothing of it may
   grow with the parameters, which no byte of the protocol knows. The client is simulated: it tells losses that are drawn.
2. A generation of 10 000 seeds handed out and told over one `Evaluate` stream, client included.

`python benchmarks/seeds.py [--save] [--postgres]`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import httpx
import psutil

from migrations.upgrade import upgrade
from tests.support.servers import Postgres, Server

RESULTS = Path(__file__).parent / "results"
SIZES = tuple(10**k for k in range(3, 10))
GENERATIONS = 5
SEEDS = 10_000
ROUNDS = 4


def create(server: Server, name: str, parameters: int, pairs: int, trials: int) -> None:
    """A study of evolution strategies over so many parameters."""
    document = {
        "name": name,
        "parameters": [{"name": "theta", "type": "vector", "encoding": "seed", "shape": [parameters]}],
        "objectives": [{"metric": "loss"}],
        "suggester": {"name": "es", "options": {"pairs": pairs, "enough": 1.0}},
        "limits": {"max_trials": trials},
        "seed": 1,
    }
    httpx.post(f"{server.url}/v1/studies", json=document, timeout=60).raise_for_status()


def cpu(server: Server) -> float:
    """Processor seconds of the server and all its processes so far."""
    root = psutil.Process(server.process.pid)
    times = [p.cpu_times() for p in (root, *root.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def generations(server: Server, parameters: int, pairs: int = 100) -> dict[str, float]:
    """CPU milliseconds of the server for one generation in batches, and the length of an answered trial."""
    name, rng = f"size-{parameters}", random.Random(parameters)
    create(server, name, parameters, pairs, (GENERATIONS + 1) * 2 * pairs)
    spent: list[float] = []
    with httpx.Client(base_url=f"{server.url}/v1/studies/{name}", timeout=120) as client:
        for _ in range(GENERATIONS + 1):
            before = cpu(server)
            answer = client.post("/trials:ask", json={"count": 2 * pairs, "wait_seconds": 60})
            numbers = [trial["number"] for trial in answer.raise_for_status().json()["trials"]]
            outcomes = [{"number": n, "metrics": {"loss": rng.gauss(0, 1)}} for n in numbers]
            client.post("/trials:tell", json={"outcomes": outcomes}).raise_for_status()
            spent.append(cpu(server) - before)
        log = client.get("/updates", headers={"accept": "application/octet-stream"}).content
    return {
        "parameters": parameters,
        "cpu_ms": 1000 * statistics.median(spent[1:]),
        "answer_bytes": len(answer.content) / len(numbers),
        "log_bytes": len(log) / GENERATIONS,
    }


async def streamed(server: Server, rounds: int = ROUNDS) -> list[float]:
    """Seconds from one generation told to the next one told, over one stream; the first one starts the pool."""
    import grpc

    from asktell.v1 import trial_pb2 as pb
    from asktell.v1 import trial_pb2_grpc as stubs

    create(server, "streamed", 10**9, SEEDS // 2, rounds * SEEDS)
    outcomes: asyncio.Queue[list[Any]] = asyncio.Queue()
    seconds: list[float] = []

    async def requests() -> Any:
        yield pb.EvaluateRequest(study="streamed", worker="bench", running=SEEDS, brief=True)
        for _ in range(rounds):
            yield pb.EvaluateRequest(outcomes=await outcomes.get())

    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(server.grpc_target, options=options) as channel:
        started, out, told = time.perf_counter(), list[Any](), 0
        async for answer in stubs.TrialsStub(channel).Evaluate(requests()):
            out += [
                pb.NumberedOutcome(number=t.number, metrics={"loss": (t.number * 7919) % 1009}) for t in answer.trials
            ]
            if len(out) == SEEDS:
                outcomes.put_nowait(out)
                out = []
            told += sum(1 for result in answer.results if result.status == 200)
            if told == SEEDS:
                seconds.append(time.perf_counter() - started)
                started, told = time.perf_counter(), 0
    return seconds


def on_postgres(stack: ExitStack) -> str:
    """The address of an empty database with our tables, on a server that ends with the stack."""
    postgres = Postgres().start()
    stack.callback(postgres.stop)
    url = postgres.create("asktell")
    upgrade(url)
    return url


def main() -> None:
    """Measure, print, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = on_postgres(stack) if arguments.postgres else f"sqlite:///{folder}/asktell.db"
        server = Server(url).start()
        stack.callback(server.stop)
        rows = [generations(server, parameters) for parameters in SIZES]
        print(
            "| parameters | server CPU a generation of 200, ms | bytes an answered trial | bytes of log a generation |"
        )
        print("| ---: | ---: | ---: | ---: |")
        for row in rows:
            size = f"10^{len(str(int(row['parameters']))) - 1}"
            print(f"| {size} | {row['cpu_ms']:.0f} | {row['answer_bytes']:.0f} | {row['log_bytes']:.0f} |")
        seconds = asyncio.run(streamed(server))
        print(f"{SEEDS} seeds handed out and told over the stream: {', '.join(f'{s:.2f}' for s in seconds)} s")
    if arguments.save:
        found = {"database": "postgres" if arguments.postgres else "sqlite", "sizes": rows, "stream_seconds": seconds}
        RESULTS.joinpath(f"seeds-{found['database']}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Nothing lost, nothing doubled: clients drive a service while its parts are killed at random moments."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from sqlalchemy import create_engine, text

from migrations.upgrade import upgrade
from services.store.engine import database_url
from tests.support.servers import Postgres, Redis, Server, free_port, wait_for

CLIENTS = 8
SECONDS = float(os.environ.get("ASKTELL_FAULT_SECONDS", "18"))
MAX_TRIALS = 1500
ENOUGH = 20
"""Answered tells without which a run shows nothing."""
PATIENCE = 30.0
"""Seconds that a slow machine has to answer a tell between two faults; three times that is what it may take longer in all."""


class Worker:
    """`asktell worker` as a process: the dispatcher with its pool."""

    def __init__(self, database: str, redis: str) -> None:
        self._command = [
            sys.executable, "-m", "asktell.cli", "worker", "--database", database, "--redis", redis, "--pool", "local",
            "--processes", "1", "--metrics-port", "-1", "--log-level", "error",
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Worker:
        """Start it."""
        self.process = subprocess.Popen(self._command, env={**os.environ, "OMP_NUM_THREADS": "1"})
        return self

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


@dataclass
class Record:
    """What the clients were answered."""

    told: dict[int, float] = field(default_factory=dict)
    asked: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def call(
    urls: list[str], path: str, body: dict[str, object], record: Record, stop: threading.Event
) -> httpx.Response | None:
    """POST with a key of its own until some server answers; None when time is up."""
    key, tries = uuid.uuid4().hex, 0
    while True:
        try:
            with httpx.Client(timeout=8, verify=False) as client:  # without TLS, whose certificates take 30 ms to read
                answer = client.post(urls[tries % len(urls)] + path, json=body, headers={"Idempotency-Key": key})
            if answer.status_code < 500:
                return answer
            if answer.status_code != 503:
                record.problems.append(f"{path}: {answer.status_code} {answer.text[:200]}")
        except httpx.TransportError:
            pass
        tries += 1
        record.counts["retries"] += 1
        if stop.is_set() and tries > 60:
            return None
        time.sleep(0.05 * min(tries, 10))


def client(urls: list[str], study: str, seed: int, record: Record, stop: threading.Event) -> None:
    """Ask and tell until told to stop or the study ends."""
    rng = random.Random(seed)
    mine = rng.sample(urls, len(urls))
    while not stop.is_set():
        body = {"worker": f"w{seed}", "wait_seconds": 3, "lease_seconds": 600, "count": rng.choice([1, 1, 2])}
        answer = call(mine, f"/v1/studies/{study}/trials:ask", body, record, stop)
        if answer is None or answer.status_code == 409:
            return
        if answer.status_code not in (200, 202):
            record.problems.append(f"ask: {answer.status_code} {answer.text[:200]}")
            return
        for trial in answer.json()["trials"]:
            number, value = trial["number"], rng.random()
            with record.lock:
                record.asked[number] += 1
            time.sleep(rng.uniform(0.0, 0.3))  # an evaluation: without it the study ends before the last faults
            told = call(mine, f"/v1/studies/{study}/trials/{number}:tell", {"metrics": {"loss": value}}, record, stop)
            if told is not None and told.status_code == 200:
                with record.lock:
                    if number in record.told:
                        record.problems.append(f"trial {number} was told twice with success")
                    record.told[number] = told.json()["metrics"]["loss"]
            elif told is not None:
                record.problems.append(f"tell {number}: {told.status_code} {told.text[:200]}")


def drive(
    urls: list[str], suggester: str, faults: list[tuple[str, Callable[[], None]]], seconds: float
) -> tuple[Record, str]:
    """Clients at work while faults come in turn at random moments, for so long, until each has come and until enough was told.

    A fault waits until something was told since the one before: a machine so slow that every start is killed before its first answer
    would show nothing.
    """
    study = f"faults-{uuid.uuid4().hex[:8]}"
    body = {
        "name": study,
        "parameters": [
            {"name": "x", "type": "float", "min": 0, "max": 1},
            {"name": "y", "type": "float", "min": 0, "max": 1},
        ],
        "objectives": [{"metric": "loss"}],
        "suggester": {"name": suggester},
        "limits": {"max_trials": MAX_TRIALS},
        "seed": 5,
    }
    httpx.post(urls[0] + "/v1/studies", json=body, timeout=20).raise_for_status()
    record, stop, rng = Record(), threading.Event(), random.Random(11)
    threads = [threading.Thread(target=client, args=(urls, study, n, record, stop)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    start = time.monotonic()
    turn = 0
    while (spent := time.monotonic() - start) < seconds or (
        (len(record.told) <= ENOUGH or turn < len(faults)) and spent < seconds + 3 * PATIENCE
    ):
        before = len(record.told)
        time.sleep(rng.uniform(1.0, 5.0))
        with suppress(TimeoutError):
            wait_for(lambda known=before: len(record.told) > known, PATIENCE)
        name, fault = faults[turn % len(faults)]
        fault()
        record.counts[f"kills of {name}"] += 1
        turn += 1
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a client hangs"
    return record, study


def check(record: Record, study: str, urls: list[str], database: str) -> None:
    """Hold what was answered against what is stored."""
    deadline = time.monotonic() + 60
    while True:  # asks that nobody follows are swept away
        with httpx.Client(base_url=urls[0] + "/v1", timeout=20) as http:
            export = http.get(f"/studies/{study}/export").json()
            after = http.get(f"/studies/{study}").json()
        engine = create_engine(database_url(database))
        with engine.connect() as connection:
            open_asks = connection.execute(text("SELECT count(*) FROM asks WHERE state = 'open'")).scalar_one()
        engine.dispose()
        if open_asks == 0 or time.monotonic() > deadline:
            break
        time.sleep(1)
    stored = {trial["number"]: trial for trial in export}
    wrong = [n for n, value in record.told.items() if stored.get(n, {}).get("metrics") != {"loss": value}]
    twice = [n for n, times in record.asked.items() if times > stored[n]["attempt"]]
    print(
        f"\n{len(export)} trials, {len(record.told)} answered tells, {len(wrong)} of them lost or changed, {len(twice)} given twice, "
        f"{open_asks} asks open, " + ", ".join(f"{count} {name}" for name, count in sorted(record.counts.items()))
    )
    assert record.problems == []
    assert wrong == []
    assert twice == []
    assert sorted(stored) == list(range(1, len(export) + 1)), "numbers are missing or doubled"
    assert len(export) <= MAX_TRIALS
    assert sum(after["trial_counts"].values()) == len(export)
    for state, count in after["trial_counts"].items():
        assert count == sum(1 for trial in export if trial["state"] == state), state
    assert open_asks == 0
    assert len(record.told) > ENOUGH


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("suggester", ["random", "gp"])
def test_on_sqlite_while_the_server_is_killed(tmp_path: Path, suggester: str) -> None:
    database = f"sqlite:///{tmp_path}/asktell.db"
    server = Server(database, "--processes", "1").start()

    def kill_server() -> None:
        server.kill()
        server.start()

    try:
        record, study = drive([server.url], suggester, [("the server", kill_server)], SECONDS)
        check(record, study, [server.url], database)
    finally:
        server.stop()


@pytest.fixture
def cluster() -> Iterator[tuple[Postgres, Redis, str, list[Server], Worker]]:
    """Postgres, Redis, two API processes and a dispatcher of its own."""
    with ExitStack() as stack:
        postgres, redis = Postgres().start(), Redis().start()
        stack.callback(postgres.stop)
        stack.callback(redis.stop)
        database = postgres.create("faults")
        upgrade(database)
        options = ("--workers", "none", "--redis", redis.url)
        servers = [Server(database, *options, port=free_port()).start() for _ in range(2)]
        for server in servers:
            stack.callback(server.stop)
        worker = Worker(database, redis.url).start()
        stack.callback(worker.stop)
        yield postgres, redis, database, servers, worker


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_on_postgres_while_every_part_is_killed_in_turn(
    cluster: tuple[Postgres, Redis, str, list[Server], Worker],
) -> None:
    postgres, redis, database, servers, worker = cluster

    def again(part: Server | Postgres | Redis | Worker) -> Callable[[], None]:
        def fault() -> None:
            part.kill()
            time.sleep(0.2)
            part.start()

        return fault

    faults = [
        ("an API server", again(servers[0])),
        ("Postgres", again(postgres)),
        ("the dispatcher", again(worker)),
        ("Redis", again(redis)),
        ("the other API server", again(servers[1])),
    ]
    urls = [server.url for server in servers]
    record, study = drive(urls, "gp", faults, SECONDS * 1.5)
    check(record, study, urls, database)
    assert all(record.counts[f"kills of {name}"] for name, _ in faults)

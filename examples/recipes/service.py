"""What the recipes share: their command line, a service of their own, and the loop that asks and tells in batches."""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import asktell

sys.path.append(str(Path(__file__).parents[1]))
from demo import free_port, wait_until_ready

Found = dict[str, float]
Recipe = Callable[[asktell.Client, bool, int], Found]
Evaluate = Callable[[Sequence[Mapping[str, Any]]], Sequence[Mapping[str, Any]]]


def command(recipe: Recipe, description: str | None) -> None:
    """Run a recipe from the command line, against a service of its own unless `--url` names one."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smaller case, some twenty seconds on two free cores")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--url", help="a running asktell; one of its own if absent")
    given = parser.parse_args()
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        url = given.url or stack.enter_context(service())
        recipe(stack.enter_context(asktell.Client(url)), given.quick, given.seed)
    print(f"{time.monotonic() - began:.0f} s")


@contextlib.contextmanager
def service() -> Iterator[str]:
    """A service on loopback that leaves nothing behind; its address."""
    threads = {"OMP_NUM_THREADS": "1"} | os.environ
    environment = {name: value for name, value in threads.items() if name != "ASKTELL_API_KEY"}
    with tempfile.TemporaryDirectory(prefix="asktell-recipe-") as folder:
        serve = [
            sys.executable, "-m", "asktell.cli", "serve", "--database", f"sqlite:///{folder}/recipe.db",
            "--port", str(port := free_port()), "--grpc-port", "-1", "--no-access-log", "--log-level", "warning",
        ]  # fmt: skip
        server = subprocess.Popen(serve, env=environment)
        try:
            wait_until_ready(server, url := f"http://127.0.0.1:{port}")
            yield url
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def new_study(client: asktell.Client, name: str, space: Mapping[str, Any], **rest: Any) -> asktell.Study:
    """A study under a name that is free."""
    return client.create_study(f"{name}-{uuid.uuid4().hex[:8]}", space, **rest)


def search(study: asktell.Study, evaluate: Evaluate, *, batch: int = 1) -> asktell.Study:
    """Ask, evaluate and tell up to the study's limit of trials, `batch` at a time.

    Args:
        evaluate: takes the points of a batch, and answers for each what a tell takes: `{"metrics": {…}}` and perhaps more.
    """
    left = int(study.limits["max_trials"])
    while left > 0:
        trials = study.ask(min(batch, left), wait_seconds=120)
        told = evaluate([trial.parameters for trial in trials])
        outcomes = [{"number": t.number, **outcome} for t, outcome in zip(trials, told, strict=True)]
        refused = [answer for answer in study.tell_many(outcomes, brief=True) if answer["status"] >= 400]
        if refused:
            raise RuntimeError(f"not taken: {refused[0]}")
        left -= len(trials)
    return study


def each(score: Callable[[Mapping[str, Any]], Mapping[str, float]]) -> Evaluate:
    """From a function of one point to its metrics."""
    return lambda points: [{"metrics": score(point)} for point in points]

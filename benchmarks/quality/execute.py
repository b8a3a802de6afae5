"""One run: a solver's process on a problem at one seed, from the common start to the end of the budget."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from .problems import SUITE, Task
from .solvers import CACHE, Solver
from .volume import growth

Metrics = dict[str, float]


class RunFailed(Exception):
    """A solver broke, hung or answered nonsense."""


class Child:
    """A solver's process and the conversation with it."""

    def __init__(self, solver: Solver, task: Task, budget: int, limit: float) -> None:
        command, variables, variant, options = solver.command()
        folder = CACHE / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{solver.name}-{task.problem.name}-{task.seed}".replace("/", "_").replace('"', "")
        self.log: Path = folder / f"{name[:120]}.log"
        self._stderr = self.log.open("w")
        self.process = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True,
            cwd=CACHE,
        )  # fmt: skip
        self._timer = threading.Timer(limit, self.process.kill)
        self._timer.daemon = True
        self._timer.start()
        self.call(
            "start", parameters=task.instance.parameters, objectives=task.instance.objectives,
            constraints=task.instance.constraints, seed=task.seed, budget=budget, batch=task.problem.batch,
            is_noisy=task.problem.noise > 0, variant=variant, options=options,
        )  # fmt: skip

    def call(self, do: str, **more: Any) -> dict[str, Any]:
        """Send a request and wait for its answer.

        Raises:
            RunFailed: there is none, or it is an error.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **more}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            self._stderr.flush()
            raise RunFailed(f"the process ended or ran out of time: {self.log.read_text(errors='replace')[-800:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RunFailed(answer["error"])
        return answer

    def close(self) -> None:
        """End the process."""
        self._timer.cancel()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # what was not flushed has no reader any more
                    pipe.close()
        self._stderr.close()
        if self.log.stat().st_size == 0:
            self.log.unlink()


def run(solver: Solver, problem: str, seed: int, budget: int, limit: float) -> dict[str, Any]:
    """One run's row of results.

    Raises:
        RunFailed: see the message.
    """
    task = SUITE[problem].at(seed)
    real = task.instance
    names = [*real.objectives, *real.constraints]
    true: list[Metrics | None] = []
    told: list[Metrics | None] = []
    seconds: list[float] = []
    began = time.perf_counter()

    def outcome(key: Any, point: dict[str, Any]) -> dict[str, Any]:
        metrics = real.evaluate(point)
        told.append(task.tell(metrics, len(true)))
        true.append(metrics)
        return {"key": key, "parameters": point, "metrics": told[-1]}

    child = Child(solver, task, budget, limit)
    try:
        child.call("tell", trials=[outcome(None, p) for p in task.start[:budget]])
        while len(true) < budget:
            count = min(task.problem.batch, budget - len(true))
            answer = child.call("ask", count=count)
            points = answer["points"][:count]
            if not points:
                raise RunFailed("no point came")
            seconds += [answer["seconds"] / len(points)] * len(points)
            child.call("tell", trials=[outcome(p["key"], p["parameters"]) for p in points])
    finally:
        child.close()
    return {
        "solver": solver.name, "label": solver.label, "problem": problem, "group": task.problem.group, "seed": seed,
        "budget": budget, "start": task.start_size, "optimum": real.optimum, "several": len(real.objectives) > 1,
        "trace": trace(task, true, told), "seconds": [round(s, 5) for s in seconds],
        "wall": round(time.perf_counter() - began, 2), "at": round(time.time(), 1),
        "told": [None if m is None else [_short(m[n]) for n in names] for m in told],
    }  # fmt: skip


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def trace(task: Task, true: list[Metrics | None], told: list[Metrics | None]) -> list[float | None]:
    """After each trial, the score of what one would take: smaller is better, None while nothing is feasible.

    One objective: the noise-free value of the feasible trial with the best told value. Several: the negated dominated volume.
    """
    real = task.instance

    def is_feasible(metrics: Metrics | None) -> bool:
        return metrics is not None and all(metrics[c] <= 0 for c in real.constraints)

    if len(real.objectives) > 1:
        points = [
            [m[o] for o in real.objectives] if m is not None and is_feasible(told[i]) else None
            for i, m in enumerate(true)
        ]
        return [-v for v in growth(points, real.reference)]
    found: list[float | None] = []
    best, score = float("inf"), None
    (name,) = real.objectives
    for actual, seen in zip(true, told, strict=True):
        if actual is not None and seen is not None and is_feasible(seen) and seen[name] < best:
            best, score = seen[name], actual[name]
        found.append(score)
    return found

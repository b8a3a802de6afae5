"""The command: choose runs, do those that are missing, report."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, TypeAlias

from . import report, text
from .execute import RunFailed, run
from .problems import GROUPS, SUITE, Problem, chosen
from .solvers import BY_RULE, CACHE, CHEAP, PEERS, ROOT, Environments, Solver, automatic, named
from .store import Store

RESULTS = ROOT / "benchmarks" / "results"
DEFAULT_SOLVERS = ["asktell:auto", *CHEAP, "ax", "hebo"]
SLOW_SEEDS = 2
Run: TypeAlias = tuple[Solver, Problem, int, int]
"""Solver, problem, seed, budget."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="quality", description=__doc__)
    made.add_argument("--solvers", default="", help="comma-separated: asktell:NAME, asktell:NAME{JSON options}, peers")
    made.add_argument("--groups", default="", help=f"comma-separated: {', '.join(GROUPS)}")
    made.add_argument("--problems", default="", help="comma-separated patterns, such as hartmann6* (see --list)")
    made.add_argument("--seeds", default="", help="how many (5), or a range a-b, or a,b,c")
    made.add_argument(
        "--budget", type=int, default=0, help="trials a run, the start included; each problem's own if absent"
    )
    made.add_argument(
        "--quick", action="store_true", help="half of the problems, two seeds, no peers that take seconds"
    )
    made.add_argument(
        "--slow-everywhere", action="store_true", help="slow peers on all problems, not on the short ones"
    )
    made.add_argument("--jobs", type=int, default=2, help="processes at once")
    made.add_argument("--limit", type=float, default=1800.0, help="seconds a run may take")
    made.add_argument("--label", default="", help="name of the state of our code, in place of a digest of its files")
    made.add_argument(
        "--labels", default="", help="what of our code to report: comma-separated, or all; the newest if absent"
    )
    made.add_argument("--out", type=Path, default=CACHE / "results.jsonl", help="where runs are appended")
    made.add_argument("--report-only", action="store_true", help="run nothing")
    made.add_argument("--per-problem", action="store_true", help="a table for every problem too")
    made.add_argument("--save", action="store_true", help="write benchmarks/results/quality.json and plots")
    made.add_argument("--list", action="store_true", help="the problems and solvers")
    return made


def listed(value: str) -> list[str]:
    """A comma-separated list; commas inside braces do not separate."""
    found, depth = [""], 0
    for c in value:
        depth += (c == "{") - (c == "}")
        if c == "," and depth == 0:
            found.append("")
        else:
            found[-1] += c
    return [item.strip() for item in found if item.strip()]


def seeds_of(value: str, default: int) -> list[int]:
    """The seeds meant by `5`, `2-4` or `1,7`."""
    if not value:
        return list(range(default))
    if "-" in value:
        low, high = value.split("-")
        return list(range(int(low), int(high) + 1))
    return [int(v) for v in value.split(",")] if "," in value else list(range(int(value)))


def planned(options: argparse.Namespace, solvers: list[Solver]) -> list[Run]:
    """The runs that are asked for: solver, problem, seed, budget; seed by seed, so that a part of them can be compared."""
    problems = chosen(listed(options.problems), listed(options.groups), options.quick)
    seeds = seeds_of(options.seeds, 2 if options.quick else 5)
    found: dict[Any, Run] = {}
    for seed in seeds:
        for solver in solvers:
            for problem in problems:
                is_spared = not problem.is_short or (not options.seeds and seed >= SLOW_SEEDS)
                if solver.is_slow and is_spared and not options.slow_everywhere:
                    continue
                instance = problem.at(seed).instance
                worker = solver.resolved(instance)
                if worker.serves(instance):
                    budget = options.budget or problem.budget
                    found[worker.name, worker.label, problem.name, seed, budget] = (worker, problem, seed, budget)
    return list(found.values())


def _work(solver: Solver, problem: str, seed: int, budget: int, limit: float) -> dict[str, Any]:
    try:
        return run(solver, problem, seed, budget, limit)
    except RunFailed as error:
        return {"failed": str(error)}


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Progress:
    """Done, left and the time that it will take."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.began = total, 0, time.monotonic()

    def step(self, what: str) -> None:
        """One more is done."""
        self.done += 1
        spent = time.monotonic() - self.began
        left = spent / self.done * (self.total - self.done)
        filled = round(24 * self.done / self.total)
        line = (
            f"[{'#' * filled}{'.' * (24 - filled)}] {self.done}/{self.total} {_clock(spent)} eta {_clock(left)} {what}"
        )
        if sys.stderr.isatty():
            end = "\n" if self.done == self.total else ""
            print(f"\r\x1b[K{line[: os.get_terminal_size(2).columns - 1]}", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02d}:{int(seconds % 60):02d}"


def work(runs: list[Run], store: Store, jobs: int, limit: float) -> list[str]:
    """Do the runs and append them; returns what failed."""
    done = store.done()
    todo = [r for r in runs if (r[0].name, r[0].label, r[1].name, r[2], r[3]) not in done]
    print(f"{len(runs)} runs, {len(runs) - len(todo)} of them done before", file=sys.stderr, flush=True)
    failed: list[str] = []
    if not todo:
        return failed
    progress = Progress(len(todo))

    def finished(solver: Solver, problem: Problem, seed: int, row: dict[str, Any]) -> None:
        what = f"{solver.name} {problem.name} seed {seed}"
        if "failed" in row:
            failed.append(f"{what}: {row['failed'].strip().splitlines()[-1]}")
            what += " FAILED"
        else:
            store.add(row)
        progress.step(what)

    try:
        if jobs == 1:
            for solver, problem, seed, budget in todo:
                finished(solver, problem, seed, _work(solver, problem.name, seed, budget, limit))
        else:
            _in_processes(todo, jobs, limit, finished)
    except KeyboardInterrupt:
        print("\nstopped; the same command goes on from here", file=sys.stderr)
        raise
    return failed


def _in_processes(todo: list[Run], jobs: int, limit: float, finished: Callable[..., None]) -> None:
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_ignore_interrupts) as pool:
        futures = {pool.submit(_work, s, p.name, seed, b, limit): (s, p, seed) for s, p, seed, b in todo}
        try:
            for future in as_completed(futures):
                finished(*futures[future], future.result())
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def reported(options: argparse.Namespace, store: Store, solvers: list[str]) -> dict[str, Any]:
    """The summary of what the options select from the results."""
    wanted = {p.name for p in chosen(listed(options.problems), listed(options.groups), options.quick)}
    rows = [r for r in store.rows() if r["problem"] in wanted]
    rows = [r for r in rows if r["budget"] == (options.budget or SUITE[r["problem"]].budget)]
    if options.seeds:
        rows = [r for r in rows if r["seed"] in seeds_of(options.seeds, 5)]
    rows = report.selected(rows, listed(options.labels))
    rule = {name: automatic(SUITE[name].at(0).instance) for name in {r["problem"] for r in rows}}
    ruled = report.by_rule(rows, BY_RULE, rule)
    shown = set(solvers) or {r["solver"] for r in rows} - {"optuna-tpe-mv"} | {BY_RULE}
    kept = [r for r in [*rows, *ruled] if r["solver"] in shown]
    return report.summary(kept) | {"rows": kept}


def main(arguments: list[str] | None = None) -> int:
    """Run and report; 1 if a run failed."""
    options = parser().parse_args(arguments)
    if options.list:
        for p in SUITE.values():
            d = len(p.at(0).instance.parameters)
            print(f"{p.name:22} {p.group:12} {d:2} parameters {p.budget:4} trials {'quick' if p.is_quick else ''}")
        print("solvers:", ", ".join(["asktell:…", *PEERS, BY_RULE]))
        return 0
    names = listed(options.solvers)
    store = Store(options.out)
    failed: list[str] = []
    if not options.report_only:
        default = [n for n in DEFAULT_SOLVERS if not options.quick or n not in ("ax", "hebo")]
        environments = Environments()
        solvers = environments.prepare(named(names or default, options.label))
        for environment, problem in environments.missing.items():
            print(f"left out: {environment} could not be installed: {problem}", file=sys.stderr)
        failed = work(planned(options, solvers), store, options.jobs, options.limit)
    found = reported(options, store, names)
    rows = found.pop("rows")
    if rows:
        print(text.markdown(found, with_problems=options.per_problem))
    if options.save and rows:
        from . import plots

        plots.save(RESULTS, found, rows)
        print(f"written: {RESULTS}/quality*")
    for line in failed:
        print(f"failed: {line}", file=sys.stderr)
    return 1 if failed else 0

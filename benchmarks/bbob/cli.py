"""The command: do the runs that are missing in a slice, then report on all there is."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from pathlib import Path

from .peers import ANYTIME, TOLD
from .report import report
from .runs import OURS, Run, Store, in_child, is_told, preload

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BUDGETS = (50, 100, 1000)
FUNCTIONS = range(1, 25)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="bbob", description=__doc__)
    made.add_argument(
        "--algorithms", type=_names, default=[OURS + "auto", *ANYTIME, *TOLD],
        help=f"comma-separated: {OURS}NAME, {OURS}NAME{{JSON options}}, {', '.join([*ANYTIME, *TOLD])}; "
        "-untold after one of ours hides the budget from it",
    )  # fmt: skip
    made.add_argument("--dims", type=_numbers, default=[2, 5, 10, 20, 40], help="such as 2,5,10")
    made.add_argument("--functions", type=_numbers, default=list(FUNCTIONS), help="such as 1-5,15")
    made.add_argument("--instances", type=_numbers, default=[1], help="such as 1-3")
    made.add_argument("--budget", type=_numbers, default=list(BUDGETS), help="evaluations a dimension, such as 50,100")
    made.add_argument("--limit", type=float, default=3600.0, help="seconds a run may take")
    made.add_argument("--out", type=Path, default=ROOT / ".bench" / "bbob.jsonl", help="where runs are appended")
    made.add_argument("--report-only", action="store_true", help="run nothing")
    made.add_argument("--save", action="store_true", help="write benchmarks/results/bbob.json, .md and .png")
    return made


def _names(text: str) -> list[str]:
    """Split at commas outside braces."""
    found, depth = [""], 0
    for letter in text:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return found


def _numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _wanted(options: argparse.Namespace) -> Iterator[Run]:
    """The slice, short runs first and every function before the next instance."""
    for dimension in options.dims:
        for budget in sorted(options.budget):
            for instance in options.instances:
                for algorithm in options.algorithms:
                    longest = budget if is_told(algorithm) else max(options.budget)
                    for function in options.functions:
                        yield Run(algorithm, function, instance, dimension, longest)


def main() -> int:
    """Run what is asked for; 1 if a run broke."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    options = parser().parse_args()
    store, broken = Store(options.out), 0
    if not options.report_only:
        preload(options.algorithms)
        for run in list(dict.fromkeys(store.missing(_wanted(options)))):
            began = time.time()
            code = in_child(run, store, options.limit)
            broken += code != 0
            print(f"{run} {time.time() - began:.1f} s" + (f" ended with {code}" if code else ""), flush=True)
    print(report(store.rows(), options, RESULTS if options.save else None))
    return int(broken > 0)

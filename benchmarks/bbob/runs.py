"""Runs: what there is to do, one run in a process of its own, and the file of results that is appended to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .functions import Done, Function
from .peers import ANYTIME, TOLD, quiet

Row = dict[str, Any]
OURS = "asktell:"
UNTOLD = "-untold"
"""Ends the name of an entry of ours whose study sets no limit of trials."""


@dataclass(frozen=True)
class Run:
    """One algorithm on one function instance.

    Attributes:
        budget: evaluations a dimension.
    """

    algorithm: str
    function: int
    instance: int
    dimension: int
    budget: int

    def seed(self) -> int:
        """Of whatever is random; algorithms share it."""
        return 10_000 * self.function + 100 * self.dimension + self.instance

    def perform(self) -> Row:
        """The run's row of results."""
        function = Function(self.function, self.instance, self.dimension, self.budget * self.dimension)
        began, error = time.process_time(), None
        try:
            self._minimise(function)
        except Done:
            pass
        except Exception:
            error = traceback.format_exc(limit=-3)
        return {
            "algorithm": self.algorithm, "function": self.function, "instance": self.instance,
            "dimension": self.dimension, "budget": self.budget, "hits": function.hits,
            "evaluations": function.count, "seconds": round(time.process_time() - began, 3),
            **({} if error is None else {"error": error}),
        }  # fmt: skip

    def _minimise(self, function: Function) -> None:
        budget = self.budget * self.dimension
        method = ANYTIME.get(self.algorithm) or TOLD.get(self.algorithm)
        if method is not None:
            method(function, budget, self.seed())
            return
        from .ours import run

        entry = self.algorithm.removeprefix(OURS)
        told = None if entry.endswith(UNTOLD) else budget
        run(entry.removesuffix(UNTOLD), function, told, self.seed())


def is_told(algorithm: str) -> bool:
    """Whether what it does may depend on the budget."""
    return algorithm in TOLD or (algorithm.startswith(OURS + "auto") and not algorithm.endswith(UNTOLD))


class Store:
    """A file of rows, one JSON document a line.

    Args:
        paths: rows are read from all of them and added to the first, which is made when needed.
    """

    def __init__(self, *paths: Path) -> None:
        self._paths = paths

    def rows(self) -> list[Row]:
        """Every run, the latest where one was repeated; a line cut off by a crash is passed over."""
        found: dict[Run, Row] = {}
        for path in self._paths:
            for line in path.read_text().splitlines() if path.exists() else ():
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    found[_run(row)] = row
        return list(found.values())

    def add(self, row: Row) -> None:
        """Append a run; lines of several commands at once do not mix."""
        path = self._paths[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write((json.dumps(row) + "\n").encode())

    def missing(self, runs: Iterable[Run]) -> Iterator[Run]:
        """Those not done; a longer run of an algorithm that is not told its budget counts for a shorter one."""
        done = {_run(row) for row in self.rows()}
        longest: dict[tuple[str, int, int, int], int] = {}
        for run in done:
            place = (run.algorithm, run.function, run.instance, run.dimension)
            longest[place] = max(run.budget, longest.get(place, 0))
        for run in runs:
            place = (run.algorithm, run.function, run.instance, run.dimension)
            if run not in done and (is_told(run.algorithm) or longest.get(place, 0) < run.budget):
                yield run


def _run(row: Row) -> Run:
    return Run(row["algorithm"], row["function"], row["instance"], row["dimension"], row["budget"])


def preload(algorithms: Iterable[str]) -> None:
    """Import what forked runs need, once for all of them."""
    import cma  # noqa: F401
    import cocoex  # noqa: F401
    import scipy.optimize
    import scipy.stats  # noqa: F401

    if any(a.startswith("nevergrad") for a in algorithms):
        import nevergrad  # noqa: F401
    if any(a.startswith(OURS) for a in algorithms):
        from . import ours  # noqa: F401


def in_child(run: Run, store: Store, limit: float) -> int:
    """Perform a run in a forked process, for some peers leave threads behind; its row is added there.

    Args:
        limit: seconds after which it is killed, and nothing added.

    Returns:
        the exit code; negative for the signal that ended it.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            quiet()
            signal.alarm(max(1, int(limit)))
            store.add(run.perform())
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

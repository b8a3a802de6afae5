"""The BBOB benchmark: what counts as a hit, which runs are missing, what the report says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.bbob import cli
from benchmarks.bbob.functions import TARGETS, Done, Function
from benchmarks.bbob.peers import ANYTIME, TOLD
from benchmarks.bbob.report import Results, fraction, report, verdict
from benchmarks.bbob.runs import Row, Run, Store


def row(algorithm: str, budget: int, hits: list[int], function: int = 1, dimension: int = 2) -> Row:
    return {
        "algorithm": algorithm, "function": function, "instance": 1, "dimension": dimension, "budget": budget, "hits": hits,
    }  # fmt: skip


def test_a_target_is_hit_once_by_the_first_evaluation_within_it() -> None:
    function = Function(1, 1, 2, 100)  # the sphere: a parabola along each coordinate leads to its optimum
    best = np.array([3.0, -3.0])
    for e in np.eye(2):
        before, here, after = (function(best + k * e) for k in (-1, 0, 1))
        best = best + e * 0.5 * (before - after) / (before - 2 * here + after)
    assert len(function.hits) < len(TARGETS)
    function(best)
    assert len(function.hits) == len(TARGETS)
    assert function.hits[-1] == function.count == 7
    assert function.hits == sorted(function.hits)
    with pytest.raises(Done):
        function(best)


def test_the_budget_ends_a_run() -> None:
    function = Function(15, 1, 2, 3)
    for _ in range(3):
        function(np.zeros(2))
    with pytest.raises(Done):
        function(np.zeros(2))
    assert function.count == 3


@pytest.mark.parametrize("algorithm", [*ANYTIME, "scipy-de", "scipy-de-small", "asktell:cmaes", "asktell:auto-untold"])
def test_every_algorithm_spends_its_budget_and_breaks_nothing(algorithm: str) -> None:
    found = Run(algorithm, 15, 1, 2, 20).perform()
    assert "error" not in found
    assert found["evaluations"] == 40
    assert found["hits"] == sorted(found["hits"])


def test_a_broken_run_says_so_and_keeps_its_hits() -> None:
    found = Run("asktell:none-such", 1, 1, 2, 5).perform()
    assert "none-such" in found["error"]
    assert found["hits"] == []


def test_runs_go_on_where_they_stopped(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs.jsonl")
    store.add(row("random", 100, [1]))
    store.add(row("scipy-de", 100, [1]))
    with (tmp_path / "runs.jsonl").open("a") as file:
        file.write('{"algorithm": "rand')  # cut off by a crash
    wanted = [Run(a, 1, 1, 2, b) for a in ("random", "scipy-de") for b in (50, 100, 1000)]
    # A long run of a method that does not know its budget has the shorter ones in it.
    assert [(r.algorithm, r.budget) for r in store.missing(wanted)] == [
        ("random", 1000), ("scipy-de", 50), ("scipy-de", 1000),
    ]  # fmt: skip


def test_a_method_that_is_told_its_budget_is_judged_by_the_run_that_was_told_it() -> None:
    rows = [row("scipy-de", 50, [5] * 10), row("scipy-de", 100, [150] * 51), row("random", 100, [5] * 3 + [150] * 5)]
    results = Results(rows, ["scipy-de", "random"], [(1, 1)])
    assert fraction(results.runs("scipy-de", 2, 50).values(), 100) == pytest.approx(10 / 51)
    assert fraction(results.runs("scipy-de", 2, 100).values(), 200) == 1
    assert fraction(results.runs("random", 2, 50).values(), 100) == pytest.approx(3 / 51)
    assert fraction([], 100) is None


def test_the_verdict_compares_on_what_both_have_and_names_the_strongest_peer() -> None:
    rows = [row("asktell:auto", 50, [1] * 20), row("asktell:auto", 50, [1] * 40, function=2)]
    rows += [row("random", 50, [1] * 10), row("random", 50, [1] * 10, function=2), row("scipy-de", 50, [1] * 21)]
    found = verdict(Results(rows, [], [(1, 1), (2, 1)]), 2, 50, "asktell:auto", ["random", "scipy-de"])
    assert found is not None
    assert (found["peer"], found["runs"], found["holds"]) == ("scipy-de", 1, False)
    assert verdict(Results(rows, [], [(3, 1)]), 2, 50, "asktell:auto", ["random"]) is None


def test_the_report_has_a_table_and_says_what_is_missing(tmp_path: Path) -> None:
    rows = [row("asktell:auto", 50, [1] * 20), row("random", 100, [1] * 10)]
    options = cli.parser().parse_args(
        ["--algorithms", "asktell:auto,random", "--dims", "2", "--functions", "1-2", "--budget", "50,100"]
    )
    text = report(rows, options, tmp_path)
    assert "| asktell:auto | 0.392 (1) | - |" in text
    assert "0.392 against 0.196 of random on 1 runs: holds" in text
    assert "asktell:auto 2-D 100·d: 0 of 2" in text
    assert {path.name for path in tmp_path.iterdir()} == {"bbob.json", "bbob.md", "bbob.png"}


def test_names_with_options_and_ranges_are_read() -> None:
    options = cli.parser().parse_args(
        ["--algorithms", 'asktell:cmaes{"popsize":8,"sigma0":0.2},random', "--functions", "1-3,7"]
    )
    assert options.algorithms == ['asktell:cmaes{"popsize":8,"sigma0":0.2}', "random"]
    assert options.functions == [1, 2, 3, 7]
    assert set(TOLD) & set(cli.parser().parse_args([]).algorithms)

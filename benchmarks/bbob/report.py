"""What the runs say: fraction of targets hit by dimension and budget, `auto` beside the best peer, and what is missing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from .functions import GROUPS, TARGETS
from .runs import OURS, Row, is_told

Place: TypeAlias = tuple[int, int]
"""Function and instance."""


class Results:
    """Rows by algorithm and dimension.

    Args:
        rows: of every run.
        algorithms: to look at, in this order.
        places: to look at.
    """

    def __init__(self, rows: Iterable[Row], algorithms: Sequence[str], places: Iterable[Place]) -> None:
        self.algorithms = algorithms
        self.places = list(places)
        self._functions = len({function for function, _ in self.places})
        wanted = set(self.places)
        self._rows: dict[tuple[str, int], dict[Place, list[Row]]] = {}
        for row in rows:
            place = row["function"], row["instance"]
            if place in wanted:
                at = self._rows.setdefault((row["algorithm"], row["dimension"]), {})
                at.setdefault(place, []).append(row)

    def runs(self, algorithm: str, dimension: int, budget: int) -> dict[Place, Row]:
        """The run that each place is judged by at a budget: the one told that budget, else the longest that reaches it."""
        found: dict[Place, Row] = {}
        for place, rows in self._rows.get((algorithm, dimension), {}).items():
            fits = [r for r in rows if r["budget"] == budget or (not is_told(algorithm) and r["budget"] > budget)]
            if fits:
                found[place] = max(fits, key=lambda r: int(r["budget"]))
        return found

    def are_few(self, runs: dict[Place, Row]) -> bool:
        """Whether they are of less than half of the functions, and say little: the first ones are the easiest."""
        return 2 * len({function for function, _ in runs}) < self._functions

    def longest(self, algorithm: str, dimension: int) -> dict[Place, Row]:
        """The longest run of each place."""
        rows = self._rows.get((algorithm, dimension), {})
        return {place: max(found, key=lambda r: int(r["budget"])) for place, found in rows.items()}


def fraction(rows: Iterable[Row], evaluations: float) -> float | None:
    """Share of (target, run) pairs hit within so many evaluations; None without runs."""
    shares = [sum(hit <= evaluations for hit in row["hits"]) / len(TARGETS) for row in rows]
    return sum(shares) / len(shares) if shares else None


def _line(results: Results, algorithm: str, dimension: int, budgets: Sequence[int]) -> dict[str, Any]:
    cells: dict[str, Any] = {}
    for budget in budgets:
        runs = results.runs(algorithm, dimension, budget)
        share = None if results.are_few(runs) else fraction(runs.values(), budget * dimension)
        groups = {
            name: fraction((r for (f, _), r in runs.items() if f in numbers), budget * dimension)
            for name, numbers in GROUPS.items()
        }
        cells[str(budget)] = {"fraction": share, "runs": len(runs), "groups": groups}
    return cells


def verdict(results: Results, dimension: int, budget: int, ours: str, peers: Sequence[str]) -> dict[str, Any] | None:
    """Ours beside the best peer: each is compared on the places that both have; one with less than half of ours is passed over."""
    mine = results.runs(ours, dimension, budget)
    pairs: dict[str, tuple[float, float, int]] = {}
    for peer in peers:
        theirs = results.runs(peer, dimension, budget)
        both = mine.keys() & theirs.keys()
        us = fraction((mine[p] for p in both), budget * dimension)
        them = fraction((theirs[p] for p in both), budget * dimension)
        if us is not None and them is not None and 2 * len(both) >= len(mine):
            pairs[peer] = (us, them, len(both))
    if not pairs or results.are_few(mine):
        return None
    worst = min(pairs, key=lambda peer: pairs[peer][0] - pairs[peer][1])
    us, them, count = pairs[worst]
    return {"ours": us, "peer": worst, "theirs": them, "runs": count, "holds": us >= them}


def report(rows: list[Row], options: argparse.Namespace, folder: Path | None) -> str:
    """The tables as text; files too where a folder is given."""
    budgets = sorted(options.budget)
    results = Results(rows, options.algorithms, [(f, i) for f in options.functions for i in options.instances])
    found: dict[str, Any] = {"budgets": budgets, "functions": options.functions, "instances": options.instances}
    found["dimensions"] = {str(d): {a: _line(results, a, d, budgets) for a in options.algorithms} for d in options.dims}
    ours = [a for a in options.algorithms if a.startswith(OURS + "auto")]
    peers = [a for a in options.algorithms if not a.startswith(OURS)]
    found["bar"] = {
        name: {str(d): {str(b): verdict(results, d, b, name, peers) for b in budgets} for d in options.dims}
        for name in ours
    }
    found["errors"] = [
        f"{r['algorithm']} f{r['function']} {r['dimension']}-D"
        for r in rows
        if "error" in r and r["algorithm"] in peers
    ]
    text = as_text(found, len(results.places))
    if folder is not None:
        from .plot import draw

        folder.mkdir(parents=True, exist_ok=True)
        (folder / "bbob.json").write_text(json.dumps(found, indent=1) + "\n")
        (folder / "bbob.md").write_text(text + "\n")
        draw(folder / "bbob.png", results, options.dims)
    return text


def as_text(found: dict[str, Any], expected: int) -> str:
    """Markdown: a table a dimension, the bar, what is missing."""
    lines: list[str] = []
    budgets = [str(b) for b in found["budgets"]]
    missing: list[str] = []
    for dimension, algorithms in found["dimensions"].items():
        lines += ["", f"**{dimension}-D**", "", f"| | {' | '.join(f'{b}·d' for b in budgets)} |"]
        lines.append("| --- |" + " --- |" * len(budgets))
        for name, cells in algorithms.items():
            lines.append(f"| {name} | {' | '.join(_cell(cells[b], expected) for b in budgets)} |")
            missing += [
                f"{name} {dimension}-D {b}·d: {cells[b]['runs']} of {expected}"
                for b in budgets
                if cells[b]["runs"] < expected
            ]
    for ours, dimensions in found["bar"].items():
        lines += ["", f"{ours} beside the best peer, on the same functions and instances:", ""]
        for dimension, verdicts in dimensions.items():
            for budget, v in verdicts.items():
                if v is not None:
                    word = "holds" if v["holds"] else "FAILS"
                    against = f"{v['ours']:.3f} against {v['theirs']:.3f} of {v['peer']} on {v['runs']} runs"
                    lines.append(f"- {dimension}-D, {budget}·d: {against}: {word}")
    lines += ["", f"Runs missing: {'; '.join(missing) or 'none'}"]
    lines += [f"Errors inside peers (hits up to there count): {'; '.join(found['errors']) or 'none'}"]
    return "\n".join(lines).strip()


def _cell(cell: dict[str, Any], expected: int) -> str:
    if cell["fraction"] is None:
        return "-"
    return f"{cell['fraction']:.3f}" + ("" if cell["runs"] == expected else f" ({cell['runs']})")

"""From runs to judgements: ranks, gaps closed, wins per pair, seconds. Only what ran on the same instances is compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .problems import GROUPS

Row = dict[str, Any]
Place = tuple[str, int, int]
"""Problem, seed, budget: what runs are paired by."""
SHARES = (0.25, 0.5, 1.0)
SAME = 1e-6
NOTHING = -2.0
COVERED = 0.8


@dataclass(frozen=True)
class Scores:
    """The runs of all solvers on one instance, made comparable.

    Attributes:
        group: of the problem.
        gaps: by solver and after each trial of the budget, the share of the way from the best of the start to the reference that
            was gone: at most 1, below 0 where noise led astray, `NOTHING` while nothing was feasible.
    """

    group: str
    gaps: dict[str, list[float]]

    def at(self, solver: str, share: float) -> float:
        """The gap closed after a share of the budget."""
        curve = self.gaps[solver]
        return curve[max(1, math.ceil(share * len(curve))) - 1]


def display(row: Row, newest: Mapping[str, str]) -> str:
    """A run's solver as shown; code that is not the newest with its label."""
    return row["solver"] if row["label"] in ("", newest.get(row["solver"])) else f"{row['solver']}@{row['label']}"


def selected(rows: Iterable[Row], labels: Sequence[str] = ()) -> list[Row]:
    """The runs to report, each with its shown name as `who`.

    Args:
        labels: of our code; the newest of each solver if none is given, `all` for every one.
    """
    rows = list(rows)
    newest: dict[str, str] = {}
    for row in sorted(rows, key=lambda r: r["at"]):
        if row["label"] and (not labels or "all" in labels or row["label"] in labels):
            newest[row["solver"]] = row["label"]
    found = []
    for row in rows:
        is_wanted = not row["label"] or row["label"] in labels or "all" in labels
        if is_wanted or (not labels and newest[row["solver"]] == row["label"]):
            found.append({**row, "who": display(row, newest)})
    return found


def by_rule(rows: list[Row], name: str, chosen: Mapping[str, str]) -> list[Row]:
    """The rows of a solver that is a rule over others.

    Args:
        name: of the rule.
        chosen: by problem, the solver that the rule picks.
    """
    return [{**r, "who": name, "solver": name} for r in rows if chosen.get(r["problem"]) == r["solver"]]


def scored(rows: Iterable[Row]) -> dict[Place, Scores]:
    """The runs by instance, as gaps closed.

    The reference is the known optimum or the best that any solver reached, whichever is lower. Where nothing of the start is
    feasible, the way starts at the worst first feasible value of all solvers. An instance on which the start is already at the
    reference says nothing and is left out.
    """
    places: dict[Place, list[Row]] = defaultdict(list)
    for row in rows:
        places[row["problem"], row["seed"], row["budget"]].append(row)
    found = {}
    for place, runs in places.items():
        gaps = _gaps(runs)
        if gaps:
            found[place] = Scores(runs[0]["group"], gaps)
    return found


def _gaps(runs: list[Row]) -> dict[str, list[float]]:
    seen = [v for r in runs for v in r["trace"] if v is not None]
    firsts = [next((v for v in r["trace"] if v is not None), None) for r in runs]
    starts = [r["trace"][r["start"] - 1] for r in runs]
    known = [v for v in starts if v is not None] or [v for v in firsts if v is not None]
    if not known:
        return {}
    optimum = runs[0]["optimum"]
    if optimum is not None:
        seen.append(-optimum if runs[0]["several"] else optimum)
    start, reference = max(known), min(seen)
    if start - reference <= 1e-12 * max(1.0, abs(start), abs(reference)):
        return {}
    way = start - reference

    def gap(value: float | None) -> float:
        return NOTHING if value is None else min(max((start - value) / way, -1.0), 1.0)

    return {r["who"]: [gap(v) for v in r["trace"]] for r in runs}


def ranks(values: Mapping[str, float]) -> dict[str, float]:
    """Ranks of gaps, 1 for the largest; those within `SAME` share their mean rank."""
    rounded = {who: round(v / SAME) for who, v in values.items()}
    found = {}
    for who, value in rounded.items():
        above = sum(v > value for v in rounded.values())
        level = sum(v == value for v in rounded.values())
        found[who] = above + (level + 1) / 2
    return found


def sign_test(wins: int, losses: int) -> float:
    """Two-sided probability of a split at least as uneven by coin tosses; ties stand aside."""
    n = wins + losses
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(wins, losses) + 1)) / 2.0**n
    return min(1.0, 2 * tail)


def duel(scores: Iterable[Scores], a: str, b: str, share: float = 1.0) -> dict[str, float]:
    """Wins, losses and ties of a over b on what both ran, with the sign test."""
    wins = losses = ties = 0
    for one in scores:
        if a in one.gaps and b in one.gaps:
            difference = round(one.at(a, share) / SAME) - round(one.at(b, share) / SAME)
            wins, losses, ties = wins + (difference > 0), losses + (difference < 0), ties + (difference == 0)
    return {"wins": wins, "losses": losses, "ties": ties, "p": sign_test(wins, losses)}


def table(scores: Sequence[Scores]) -> dict[str, Any]:
    """Mean ranks and gaps of solvers on the instances that all of them ran.

    Solvers that ran less than `COVERED` of the instances are left out, and instances that one of the others did not run.
    """
    counts: dict[str, int] = defaultdict(int)
    for one in scores:
        for who in one.gaps:
            counts[who] += 1
    most = max(counts.values(), default=0)
    core = {who for who, n in counts.items() if n >= COVERED * most}
    return _table([s for s in scores if core <= s.gaps.keys()], core)


def shared_with(scores: Sequence[Scores], who: str) -> dict[str, Any]:
    """The same on the instances that a solver with few runs shares with the others."""
    own = [s for s in scores if who in s.gaps]
    return table(own)


def _table(scores: Sequence[Scores], core: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {"instances": len(scores), "solvers": {}}
    if not scores:
        return found
    by_instance = [ranks({who: s.at(who, 1.0) for who in core}) for s in scores]
    for who in core:
        gaps = {f"{share:.0%}": sum(max(s.at(who, share), 0.0) for s in scores) / len(scores) for share in SHARES}
        rank = sum(r[who] for r in by_instance) / len(scores)
        found["solvers"][who] = {"rank": rank, "gap": gaps}
    found["solvers"] = dict(sorted(found["solvers"].items(), key=lambda item: item[1]["rank"]))
    return found


def seconds(rows: Iterable[Row]) -> dict[str, dict[str, float]]:
    """Median and 95th percentile of seconds per suggestion by solver."""
    all_of: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        all_of[row["who"]] += row["seconds"]
    found = {}
    for who, values in all_of.items():
        values.sort()
        found[who] = {"median": median(values), "p95": values[min(len(values) - 1, int(0.95 * len(values)))]}
    return found


def summary(rows: Sequence[Row], *, against: str = "asktell:auto") -> dict[str, Any]:
    """Everything the report shows, as JSON."""
    places = scored(rows)
    found: dict[str, Any] = {"groups": {}, "few": {}, "duels": {}, "duels_by_group": {}, "problems": {}}
    everyone = list(dict.fromkeys(r["who"] for r in rows))
    for group in GROUPS:
        scores = [s for s in places.values() if s.group == group]
        if not scores:
            continue
        found["groups"][group] = table(scores)
        present = found["groups"][group]["solvers"]
        few = [who for who in everyone if who not in present and any(who in s.gaps for s in scores)]
        found["few"][group] = {who: shared_with(scores, who) for who in few}
    whole = list(places.values())
    found["all"] = table(whole)
    found["few"]["all"] = {who: shared_with(whole, who) for who in everyone if who not in found["all"]["solvers"]}
    ours = [who for who in everyone if who.startswith("asktell:")] or [against]
    for a in ours:
        found["duels"][a] = {b: duel(places.values(), a, b) for b in everyone if b != a}
        found["duels_by_group"][a] = {
            group: {b: duel([s for s in places.values() if s.group == group], a, b) for b in everyone if b != a}
            for group in found["groups"]
        }
    for name in dict.fromkeys(place[0] for place in places):
        found["problems"][name] = table([s for place, s in places.items() if place[0] == name])
    found["seconds"] = seconds(rows)
    found["instances"] = [
        {"problem": place[0], "seed": place[1], "budget": place[2], "group": s.group,
         "gaps": {who: [round(s.at(who, share), 6) for share in SHARES] for who in sorted(s.gaps)}}
        for place, s in sorted(places.items())
    ]  # fmt: skip
    return found

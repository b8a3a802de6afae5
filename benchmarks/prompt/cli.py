"""`python benchmarks/prompt.py`: every method and peer on every landscape and seed, a table, JSON and a plot at the end."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from .landscapes import LANDSCAPES, Landscape

RESULTS = Path(__file__).resolve().parent.parent / "results"
OURS: dict[str, dict[str, Any]] = {
    "auto": {},
    "gepa": {},
    "mipro": {"preset": "heavy"},
    "capo": {},
    "protegi": {},
    "opro": {},
    "directional": {},
    "evoprompt": {},
    "promptbreeder": {},
    "ape": {"exemplars": [{"input": f"question {i}", "output": f"answer {i}"} for i in range(10)], "scoring": "all"},
    "plum": {},
    "zopo": {},
    "instinct": {},
}
SHARES = (0.25, 0.5, 1.0)
Row = dict[str, Any]


def one(job: tuple[str, str, int, int]) -> Row:
    """A run: who, landscape, seed, budget."""
    who, name, seed, budget = job
    return run(who, LANDSCAPES[name](seed), seed, budget)


def run(who: str, landscape: Landscape, seed: int, budget: int) -> Row:
    """A solver on a landscape."""
    from . import ours, peers

    started = time.perf_counter()
    meter = (
        peers.PEERS[who](landscape, budget, seed)
        if who in peers.PEERS
        else ours.run(landscape, who, OURS[who], budget, seed)
    )
    return {
        "who": who, "landscape": landscape.name, "seed": seed, "budget": budget, "spent": meter.spent, "calls": meter.calls,
        "prompts": meter.prompts, "seconds": round(time.perf_counter() - started, 2),
        "at": [meter.at(round(share * budget)) for share in SHARES], "curve": meter.curve, "best": meter.best_text,
    }  # fmt: skip


def table(rows: list[Row]) -> str:
    """One line a solver: mean best at each share of the budget by landscape, mean rank at the end, calls, seconds."""
    names = sorted({row["landscape"] for row in rows})
    lines = ["| solver | " + " | ".join(f"{n} 25 / 50 / 100 %" for n in names) + " | rank | LLM calls | seconds |"]
    lines.append("| --- |" + " --- |" * (len(names) + 3))
    ranks = _ranks(rows)
    for who in sorted(ranks, key=lambda w: mean(ranks[w])):
        mine = [row for row in rows if row["who"] == who]
        cells = []
        for name in names:
            found = [row["at"] for row in mine if row["landscape"] == name]
            cells.append(" / ".join(f"{mean(at[i] for at in found):.3f}" for i in range(len(SHARES))) if found else "–")
        calls, seconds = mean(row["calls"] for row in mine), mean(row["seconds"] for row in mine)
        lines.append(f"| {who} | {' | '.join(cells)} | {mean(ranks[who]):.1f} | {calls:.0f} | {seconds:.1f} |")
    return "\n".join(lines)


def _ranks(rows: list[Row]) -> dict[str, list[float]]:
    """Ranks at the end of the budget by solver, equal ones sharing their mean; one for each landscape and seed."""
    groups: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["landscape"], row["seed"]].append(row)
    found: dict[str, list[float]] = defaultdict(list)
    for group in groups.values():
        for row in group:
            better = sum(other["at"][-1] > row["at"][-1] + 1e-9 for other in group)
            equal = sum(abs(other["at"][-1] - row["at"][-1]) <= 1e-9 for other in group)
            found[row["who"]].append(better + (equal + 1) / 2)
    return found


def plot(rows: list[Row], path: Path) -> None:
    """Mean best so far against example evaluations, a panel a landscape."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = sorted({row["landscape"] for row in rows})
    figure, axes = pyplot.subplots(1, len(names), figsize=(7 * len(names), 5), squeeze=False)
    colours = pyplot.get_cmap("tab20")
    solvers = sorted({row["who"] for row in rows})
    for axis, name in zip(axes[0], names, strict=True):
        for i, who in enumerate(solvers):
            mine = [row for row in rows if row["who"] == who and row["landscape"] == name]
            if not mine:
                continue
            budget = mine[0]["budget"]
            places = range(0, budget + 1, max(1, budget // 60))
            means = [mean(max((b for s, b in r["curve"] if s <= x), default=math.nan) for r in mine) for x in places]
            axis.plot(
                places, means, label=who, color=colours(i % 20), lw=1.6, ls="--" if "(" in who or " " in who else "-"
            )
        axis.set(title=name, xlabel="example evaluations", ylabel="best full validation score, mean over seeds")
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=8, ncols=2)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Run, print, save."""
    from . import peers

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--budget", type=int, default=600, help="example evaluations a run")
    parser.add_argument("--landscapes", nargs="*", default=list(LANDSCAPES), choices=list(LANDSCAPES))
    parser.add_argument("--solvers", nargs="*", default=[*OURS, *peers.PEERS])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--real", action="store_true", help="also on a real local model, which make demo-prompt installs"
    )
    parser.add_argument("--real-budget", type=int, default=200)
    parser.add_argument("--real-seeds", type=int, default=3)
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/prompt.json and .png")
    args = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    jobs = [(w, n, s, args.budget) for n in args.landscapes for s in range(args.seeds) for w in args.solvers]
    rows: list[Row] = []
    with ProcessPoolExecutor(args.jobs) as pool:
        for row in pool.map(one, jobs):
            rows.append(row)
            print(
                f"{row['who']:16} {row['landscape']:10} {row['seed']:2} {row['at'][-1]:.3f} {row['seconds']:6.1f} s",
                file=sys.stderr,
            )
    if args.real:
        from .real import sentiment

        with sentiment() as landscape:
            for seed, who in product(range(args.real_seeds), args.solvers):
                rows.append(run(who, landscape, seed, args.real_budget))
                print(
                    f"{who:16} {landscape.name:10}    {rows[-1]['at'][-1]:.3f} {rows[-1]['seconds']:6.1f} s",
                    file=sys.stderr,
                )
    print(table(rows))
    if args.save:
        kept = [{k: v for k, v in row.items() if k != "curve"} for row in rows]
        (RESULTS / "prompt.json").write_text(json.dumps({"shares": SHARES, "runs": kept}, indent=1))
        plot(rows, RESULTS / "prompt.png")
    return 0

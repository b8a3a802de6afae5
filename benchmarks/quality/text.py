"""The report for people: tables on the terminal and in Markdown, the same text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def rows_of(cells: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, its columns aligned."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]


def standing(title: str, table: dict[str, Any]) -> list[str]:
    """Ranks and gaps of one group."""
    cells = [["solver", "mean rank", "gap 25 %", "50 %", "100 %"]]
    for who, entry in table["solvers"].items():
        cells.append([who, f"{entry['rank']:.2f}", *(f"{g:.3f}" for g in entry["gap"].values())])
    return [f"### {title} ({table['instances']} instances)", "", *rows_of(cells), ""]


def duels(who: str, entries: dict[str, Any], title: str) -> list[str]:
    """Wins of one solver over the others."""
    cells = [["against", "wins", "losses", "ties", "p (sign test)"]]
    for other, d in entries.items():
        if d["wins"] + d["losses"] + d["ties"]:
            cells.append([other, str(d["wins"]), str(d["losses"]), str(d["ties"]), f"{d['p']:.2g}"])
    return [] if len(cells) == 1 else [f"### {who}: {title}", "", *rows_of(cells), ""]


def timing(entries: dict[str, dict[str, float]]) -> list[str]:
    """Seconds per suggestion."""
    cells = [["solver", "median s", "p95 s"]]
    for who, entry in sorted(entries.items(), key=lambda item: item[1]["median"]):
        cells.append([who, f"{entry['median']:.3f}", f"{entry['p95']:.3f}"])
    return ["### Seconds per suggestion", "", *rows_of(cells), ""]


def markdown(found: dict[str, Any], *, with_problems: bool = False) -> str:
    """The whole report."""
    lines: list[str] = []
    for group, table in found["groups"].items():
        lines += standing(group, table)
        for who, few in found["few"][group].items():
            lines += standing(f"{group}, what {who} ran", few)
    if len(found["groups"]) > 1:
        lines += standing("all groups", found["all"])
        for who, few in found["few"]["all"].items():
            lines += standing(f"all groups, what {who} ran", few)
    for who, entries in found["duels"].items():
        lines += duels(who, entries, "wins per pair, all groups")
    if with_problems:
        for name, table in found["problems"].items():
            lines += standing(name, table)
    return "\n".join(lines + timing(found["seconds"]))

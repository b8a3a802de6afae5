"""Answers as a table, as JSON or as YAML, on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from asktell.flows import Json
from asktell.packed import is_packed, unpacked

from .options import Format

MOST_ITEMS = 20
"""Of an array in a table; JSON and YAML have them all."""


def show(document: Any, output: Format, rows: Iterable[Mapping[str, Any]] | None = None) -> None:
    """Print a document; as a table, its rows (those of the document itself, if none are given)."""
    if output is Format.JSON:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    elif output is Format.YAML:
        import yaml

        typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
    elif rows is not None:
        _table(list(rows))
    else:
        _fields(document)


def _table(rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("none", err=True)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(name)
    for row in rows:
        table.add_row(*(Text(text(value)) for value in row.values()))
    console = Console()
    # What goes into a pipe is not cut to a terminal's width.
    console.print(table, width=None if console.is_terminal else 10_000)


def _fields(document: Mapping[str, Any]) -> None:
    width = max(len(name) for name in document)
    for name, value in document.items():
        typer.echo(f"{name:<{width}}  {text(value)}")


def text(value: Any, is_inside: bool = False) -> str:
    """A value in one cell; inside another one in brackets, long arrays by their first items."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if is_packed(value):
        value = [float(number) for number in unpacked(value)]
    if isinstance(value, Mapping):
        items = ", ".join(f"{name}={text(item, True)}" for name, item in value.items())
        return f"{{{items}}}" if is_inside else items or "-"
    if isinstance(value, (list, tuple)):
        is_deep = any(isinstance(item, (Mapping, list)) for item in value)
        cells = [text(item, is_inside) for item in value[:MOST_ITEMS]]
        if len(value) > MOST_ITEMS:
            cells.append(f"… {len(value)} in all")
        items = ("; " if is_deep else ", ").join(cells)
        return f"[{items}]" if is_inside else items or "-"
    return str(value)


def study_row(study: Json) -> dict[str, Any]:
    """A study in a line."""
    counts = {state: n for state, n in study["trial_counts"].items() if n}
    return {
        "name": study["name"],
        "state": study["state"],
        "objectives": ", ".join(f"{o['goal']} {o['metric']}" for o in study["objectives"]),
        "suggester": study["suggester"]["name"],
        "trials": counts,
        "created": study["created_at"][:19].replace("T", " "),
    }


def trial_row(trial: Json) -> dict[str, Any]:
    """A trial in a line."""
    return {
        "number": trial["number"],
        "state": trial["state"],
        "metrics": trial.get("metrics") or {},
        "parameters": trial["parameters"],
        "worker": trial.get("worker"),
        "suggested by": trial["suggested_by"]["suggester"],
    }

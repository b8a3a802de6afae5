"""Answers as a table, as JSON or as YAML, on standard output."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from asktell.flows import Json

from .options import Format


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


def text(value: Any) -> str:
    """A value in one cell."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={text(item)}" for name, item in value.items()) or "-"
    if isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        return "; ".join(text(item) for item in value)
    if isinstance(value, (list, tuple)):
        return ", ".join(text(item) for item in value) or "-"
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

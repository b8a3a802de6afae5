"""`asktell suggesters`."""

from __future__ import annotations

from typing import Annotated

import typer

from asktell.errors import NotFound

from .options import ApiKey, Format, Output, Url, connect
from .output import show

app = typer.Typer()


@app.command()
def suggesters(
    name: Annotated[str | None, typer.Argument(help="Only this one, with its options.")] = None,
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """The suggesters on offer: what each serves, and its options."""
    with connect(url, api_key) as client:
        found = client.suggesters()
    if name is None:
        keys = ("name", "summary", "reference")
        show(found, output, [{key: entry[key] for key in keys} for entry in found])
        return
    matching = [entry for entry in found if entry["name"] == name]
    if not matching:
        raise NotFound(f"there is no suggester {name!r}; there are {', '.join(entry['name'] for entry in found)}")
    entry = matching[0]
    if output is Format.TABLE:
        entry = {**entry, "options": entry["options"].get("properties") or {}}
    show(entry, output)

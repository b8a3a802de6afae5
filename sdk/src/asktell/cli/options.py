"""Options that many commands share. Each can be given in the environment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from asktell.client import Client


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Url = Annotated[str | None, typer.Option(envvar="ASKTELL_URL", help="The service; http://127.0.0.1:8000 if absent.")]
ApiKey = Annotated[
    str | None,
    typer.Option(envvar="ASKTELL_API_KEY", help="The key. Better in the environment: others see command lines."),
]
Output = Annotated[Format, typer.Option("-o", "--output", envvar="ASKTELL_OUTPUT", help="How to print the answer.")]
StudyName = Annotated[str, typer.Argument(help="The study's name or id.", envvar="ASKTELL_STUDY")]


def connect(url: str | None, api_key: str | None, worker: str | None = None) -> Client:
    """A client for one command."""
    return Client(url, api_key=api_key, worker=worker)

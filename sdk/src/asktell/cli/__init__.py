"""The command line `asktell`. Each command's module loads only when it is called, so that the answer comes at once."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

GROUP = "asktell.commands"
CLIENT = {
    "study": "Studies: create, list, show, best, diagnose, export, pause, resume, complete, delete.",
    "trial": "Trials: list, show, enqueue, tell.",
    "run": "Evaluate trials of a study by running a command.",
    "suggesters": "The suggesters on offer.",
}
SERVER = {
    "serve": "Run the service: REST, gRPC and, beside them, the suggesters.",
    "worker": "Run suggesters for a service, on Ray or in local processes.",
    "migrate": "Bring a database's schema up to date.",
    "key": "API keys: create, list, revoke.",
}


class Commands(TyperGroup):
    """The client's commands, and the server's where it is installed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every name."""
        return [*CLIENT, *SERVER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command's name and one line of help, without loading it."""
        line = (CLIENT | SERVER).get(cmd_name)
        return None if line is None else TyperCommand(cmd_name, help=line, short_help=line)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is called, loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is None or command is None:
            return name, command, rest
        found = importlib.import_module(f"asktell.cli.{name}").app if name in CLIENT else _from_server(name)
        return name, _as_command(name, found, command.help), rest


def _from_server(name: str) -> Any:
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        raise SystemExit(f"asktell: `asktell {name}` is part of the server; install asktell-server for it")
    return found[0].load()


def _as_command(name: str, found: Any, line: str | None) -> Any:
    if isinstance(found, typer.Typer):
        found._add_completion = False  # the root has none either: one program, one completion
        command = typer.main.get_command(found)
    else:
        app = typer.Typer(add_completion=False)
        app.command(name)(found)
        command = typer.main.get_command(app)
    command.name = name
    command.help = command.help or line
    return command


app = typer.Typer(
    cls=Commands,
    name="asktell",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Black-box optimisation as a service: ask for trials, tell their values."""


def main() -> None:
    """Run the command line. An error of the service ends it with 1 and a sentence."""
    from asktell.errors import AsktellError

    try:
        app(prog_name="asktell")
    except AsktellError as error:
        lines = [f"  {place.pointer}: {place.message}" for place in error.errors[1:]]
        raise SystemExit("\n".join([f"asktell: {error.detail}", *lines])) from None

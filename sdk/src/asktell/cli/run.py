"""`asktell run`: evaluate trials by running a command."""

from __future__ import annotations

import shutil
import signal
import sys
from typing import Annotated, Any

import typer

from asktell.errors import NotFound

from .commands import Commands, Template
from .options import ApiKey, Format, Output, StudyName, Url, connect
from .output import show, trial_row

app = typer.Typer()


@app.command()
def run(
    study: StudyName,
    command: Annotated[list[str], typer.Argument(help="After `--`: the command, with {parameter} in its arguments.")],
    parallel: Annotated[int, typer.Option(min=1, envvar="ASKTELL_PARALLEL", help="Commands at one time.")] = 1,
    count: Annotated[
        int | None, typer.Option(min=1, envvar="ASKTELL_COUNT", help="Trials; until the study's end, if absent.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(envvar="ASKTELL_TIMEOUT", help="Seconds after which a command is stopped as failed.")
    ] = None,
    wait_seconds: Annotated[
        float, typer.Option(envvar="ASKTELL_WAIT_SECONDS", help="How long an ask may wait for a fresh suggestion.")
    ] = 30.0,
    fresh: Annotated[
        bool, typer.Option(envvar="ASKTELL_FRESH", help="Wait for suggestions that have seen every outcome.")
    ] = True,
    lease_seconds: Annotated[
        float,
        typer.Option(envvar="ASKTELL_LEASE_SECONDS", help="After so long without a sign of life a trial moves on."),
    ] = 120.0,
    worker: Annotated[
        str | None, typer.Option(envvar="ASKTELL_WORKER", help="Who evaluates; host:pid if absent.")
    ] = None,
    progress: Annotated[bool, typer.Option(envvar="ASKTELL_PROGRESS", help="Show a bar on standard error.")] = True,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", envvar="ASKTELL_VERBOSE", help="Pass the commands' output on.")
    ] = False,
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Ask for trials, run a command for each, tell its metrics.

    The last line of the command's standard output that is a JSON object has the metrics: `{"loss": 0.2}`. A line with a
    `step` is a report; where the study says so, the command is stopped early. A command that fails has its last words
    told as feedback.
    """
    if "{" not in command[0] and shutil.which(command[0]) is None:
        raise typer.BadParameter(f"there is no program {command[0]!r}")
    signal.signal(signal.SIGTERM, _interrupt)
    with connect(url, api_key, worker) as client:
        found = client.study(study)
        commands = Commands(Template(command, found.parameters), timeout, sys.stderr if verbose else None)
        try:
            found.optimize(
                commands,
                count,
                parallel=parallel,
                progress=progress,
                wait_seconds=wait_seconds,
                fresh=fresh,
                lease_seconds=lease_seconds,
            )
        except KeyboardInterrupt:
            typer.echo("interrupted: the running trials were handed back", err=True)
            raise typer.Exit(130) from None
        finally:
            commands.stop()
        if commands.is_all_failed:
            raise SystemExit(
                "asktell: every command failed; `asktell trial list --state failed -o json` has the feedback"
            )
        try:
            best = [trial.data for trial in found.pareto]
        except NotFound:
            best = []
        show(best, output, map(trial_row, best))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt

"""`asktell study`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import files
from .options import ApiKey, Format, Output, StudyName, Url, connect
from .output import show, study_row, trial_row

app = typer.Typer(
    no_args_is_help=True, help="Studies: create, list, show, best, diagnose, export, pause, resume, complete, delete."
)

File = Annotated[
    str, typer.Option("-f", "--file", envvar="ASKTELL_FILE", help="The study as YAML or JSON; - for standard input.")
]


@app.command("create")
def create(
    file: File,
    name: Annotated[str | None, typer.Option(envvar="ASKTELL_NAME", help="In place of the file's name.")] = None,
    exist_ok: Annotated[
        bool, typer.Option("--exist-ok", envvar="ASKTELL_EXIST_OK", help="Take the same study, if it is there.")
    ] = False,
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Create a study from a file."""
    document = files.read(file)
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{file} holds no study: a mapping with name, parameters and objectives is needed")
    if name is not None:
        document["name"] = name
    with connect(url, api_key) as client:
        found = client.create_study_from(document, exist_ok=exist_ok)
        show(found.data, output, [study_row(found.data)])


@app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(envvar="ASKTELL_STATE", help="active, paused or completed")] = None,
    label: Annotated[
        list[str] | None, typer.Option(envvar="ASKTELL_LABEL", help="name=value; all given ones must match")
    ] = None,
    q: Annotated[str | None, typer.Option("-q", "--query", envvar="ASKTELL_QUERY", help="part of the name")] = None,
    order_by: Annotated[
        str, typer.Option(envvar="ASKTELL_ORDER_BY", help="created_at, -created_at, name or -name")
    ] = "created_at",
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List studies."""
    labels = {name: str(value) for name, value in files.pairs(label or []).items()}
    with connect(url, api_key) as client:
        found = [study.data for study in client.studies(state=state, labels=labels, q=q, order_by=order_by)]
    show(found, output, map(study_row, found))


@app.command("show")
def show_(study: StudyName, output: Output = Format.TABLE, url: Url = None, api_key: ApiKey = None) -> None:
    """Show a study."""
    with connect(url, api_key) as client:
        show(client.study(study).data, output)


@app.command("best")
def best(study: StudyName, output: Output = Format.TABLE, url: Url = None, api_key: ApiKey = None) -> None:
    """Show the best trial, or the Pareto set."""
    with connect(url, api_key) as client:
        found = [trial.data for trial in client.study(study).pareto]
    show(found, output, map(trial_row, found))


@app.command("diagnose")
def diagnose(study: StudyName, output: Output = Format.TABLE, url: Url = None, api_key: ApiKey = None) -> None:
    """Tell how well the model predicts, what it believes matters, and what limits progress."""
    with connect(url, api_key) as client:
        found = client.study(study).diagnose()
    if output is Format.TABLE:  # the single predictions are for pictures
        found = found | {
            "calibration": [{k: v for k, v in c.items() if k != "predictions"} for c in found["calibration"]]
        }
    show(found, output)


@app.command("export")
def export(
    study: StudyName,
    format: Annotated[
        str | None, typer.Option(envvar="ASKTELL_FORMAT", help="json, csv or parquet; the file's suffix if absent")
    ] = None,
    to: Annotated[Path | None, typer.Option(envvar="ASKTELL_TO", help="A file; standard output if absent.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Take every trial out."""
    with connect(url, api_key) as client:
        found = client.study(study)
        if to is None:
            typer.echo(found.export(format or "json"), nl=False)
        else:
            found.export_to(to, format)


@app.command("delete")
def delete(
    study: StudyName,
    yes: Annotated[bool, typer.Option("-y", "--yes", envvar="ASKTELL_YES", help="Do not ask.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Delete a study with its trials."""
    with connect(url, api_key) as client:
        found = client.study(study)
        if not yes:
            total = sum(found.trial_counts.values())
            typer.confirm(f"Delete study {found.name!r} with its {total} trials?", abort=True, err=True)
        found.delete()


def _turn(verb: str, line: str) -> None:
    def turn(study: StudyName, output: Output = Format.TABLE, url: Url = None, api_key: ApiKey = None) -> None:
        with connect(url, api_key) as client:
            found: Any = getattr(client.study(study), verb)()
            show(found.data, output, [study_row(found.data)])

    turn.__doc__ = line
    app.command(verb)(turn)


_turn("pause", "Hand out no more trials until resumed.")
_turn("resume", "Hand out trials again.")
_turn("complete", "End a study; its running trials may still be told.")

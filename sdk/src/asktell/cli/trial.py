"""`asktell trial`."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from . import files
from .options import ApiKey, Format, Output, StudyName, Url, connect
from .output import show, trial_row

app = typer.Typer(no_args_is_help=True, help="Trials: list, show, enqueue, tell.")

Number = Annotated[int, typer.Argument(help="The trial's number.", min=1, envvar="ASKTELL_TRIAL")]


@app.command("list")
def list_(
    study: StudyName,
    state: Annotated[str | None, typer.Option(envvar="ASKTELL_STATE", help="Only those in this state.")] = None,
    worker: Annotated[str | None, typer.Option(envvar="ASKTELL_WORKER", help="Only those of this worker.")] = None,
    order_by: Annotated[
        str, typer.Option(envvar="ASKTELL_ORDER_BY", help="number, -number, created_at or -created_at")
    ] = "number",
    limit: Annotated[int | None, typer.Option(min=1, envvar="ASKTELL_LIMIT", help="At most so many.")] = None,
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """List a study's trials."""
    with connect(url, api_key) as client:
        trials = client.study(study).list_trials(
            state=state, worker=worker, order_by=order_by, page_size=min(limit or 1000, 1000)
        )
        found = [trial.data for trial in islice(trials, limit)]
    show(found, output, map(trial_row, found))


@app.command("show")
def show_(
    study: StudyName,
    number: Number,
    receipt: Annotated[
        bool, typer.Option("--receipt", envvar="ASKTELL_RECEIPT", help="What was believed when it was proposed.")
    ] = False,
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Show a trial."""
    with connect(url, api_key) as client:
        trial = client.study(study).trial(number)
        show(trial.receipt() if receipt else trial.data, output)


@app.command("enqueue")
def enqueue(
    study: StudyName,
    values: Annotated[list[str] | None, typer.Argument(help="name=value for each parameter.")] = None,
    file: Annotated[
        str | None, typer.Option("-f", "--file", envvar="ASKTELL_FILE", help="The parameters as YAML or JSON.")
    ] = None,
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Have a point of your own tried next."""
    document = files.read(file) if file is not None else {}
    if not isinstance(document, dict):
        raise typer.BadParameter(f"{file} holds no parameters: a mapping is needed")
    with connect(url, api_key) as client:
        found = client.study(study).enqueue(document | files.pairs(values or [])).data
        show(found, output, [trial_row(found)])


@app.command("tell")
def tell(
    study: StudyName,
    number: Number,
    metrics: Annotated[list[str] | None, typer.Argument(help="name=value for each metric.")] = None,
    state: Annotated[
        str, typer.Option(envvar="ASKTELL_STATE", help="completed, pruned, infeasible or failed")
    ] = "completed",
    feedback: Annotated[str | None, typer.Option(envvar="ASKTELL_FEEDBACK", help="What happened, in words.")] = None,
    cost: Annotated[float | None, typer.Option(envvar="ASKTELL_COST", help="What it cost.")] = None,
    output: Output = Format.TABLE,
    url: Url = None,
    api_key: ApiKey = None,
) -> None:
    """Tell the outcome of a trial."""
    with connect(url, api_key) as client:
        told = files.pairs(metrics or [])
        found = client.study(study).tell(number, told, state=state, feedback=feedback, cost=cost).data
        show(found, output, [trial_row(found)])

"""The server's part of the command line: `serve`, `migrate`, `key`."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Annotated, Any

import typer

from services.caller import Caller, Role
from services.domain.errors import AsktellError


def _option(name: str, help_: str) -> Any:
    return typer.Option(envvar=f"ASKTELL_{name}", help=help_, show_default=True)


def serve(
    database: Annotated[
        str, _option("DATABASE", "sqlite:///path or postgresql://user@host/name")
    ] = "sqlite:///asktell.db",
    redis: Annotated[str | None, _option("REDIS", "redis://host, for wake-ups between processes")] = None,
    workers: Annotated[str, _option("WORKERS", "where suggestions are computed: local, ray or none")] = "local",
    host: Annotated[str, _option("HOST", "address to listen on")] = "127.0.0.1",
    port: Annotated[int, _option("PORT", "REST port; 0 takes a free one")] = 8000,
    grpc_port: Annotated[int, _option("GRPC_PORT", "gRPC port; 0 takes a free one, -1 serves none")] = 50051,
    ray_address: Annotated[str | None, _option("RAY_ADDRESS", "a Ray cluster to join, with --workers ray")] = None,
    processes: Annotated[int | None, _option("PROCESSES", "local suggester processes; as many as cores")] = None,
    insecure: Annotated[bool, _option("INSECURE", "listen beyond loopback without keys")] = False,
    rate_per_second: Annotated[float, _option("RATE_PER_SECOND", "requests a project may make; 0: no limit")] = 0.0,
    max_body_mib: Annotated[float, _option("MAX_BODY_MIB", "largest request body")] = 8.0,
    access_log: Annotated[bool, _option("ACCESS_LOG", "log a line for each request")] = True,
    log_level: Annotated[str, _option("LOG_LEVEL", "debug, info, warning or error")] = "info",
) -> None:
    """Serve REST and gRPC, with the suggesters beside them unless told otherwise."""
    import uvloop
    from pydantic import ValidationError

    from services import logs

    from . import app
    from .settings import Settings

    given = {name: value for name, value in locals().items() if name in Settings.model_fields}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        raise typer.BadParameter("; ".join(f"{e['loc'][0]}: {e['msg']}" for e in error.errors())) from None
    logs.configure(settings.log_level)
    try:
        uvloop.run(app.serve(settings, ready=_greet))
    except AsktellError as error:
        raise SystemExit(f"asktell: {error.detail}") from None
    except OSError as error:
        why = error.strerror or str(error)
        where = "" if why.startswith("cannot listen on") else f"cannot listen on {host}: "
        raise SystemExit(f"asktell: {where}{why} (others: --port, --grpc-port)") from None


def _greet(server: Any) -> None:
    if sys.stderr.isatty():
        print(
            f"\n  asktell  REST {server.url}  ·  docs {server.url}/docs  ·  gRPC {server.grpc_target}\n",
            file=sys.stderr,
        )


def migrate(
    database: Annotated[
        str, _option("DATABASE", "sqlite:///path or postgresql://user@host/name")
    ] = "sqlite:///asktell.db",
    revision: Annotated[str, typer.Option(help="where to go: head, or a revision")] = "head",
    down: Annotated[bool, typer.Option(help="go back to the revision instead of up")] = False,
) -> None:
    """Bring a database's schema up to date."""
    from migrations.upgrade import downgrade, is_current, upgrade

    try:
        is_current(database)  # says in a sentence that there is none
        (downgrade if down else upgrade)(database, revision)
    except AsktellError as error:
        raise SystemExit(f"asktell: {error.detail}") from None
    typer.echo("the database is at the revision asked for", err=True)


key = typer.Typer(no_args_is_help=True, help="API keys: create, list, revoke.")
Database = Annotated[str, _option("DATABASE", "sqlite:///path or postgresql://user@host/name")]
DEFAULT_DATABASE = "sqlite:///asktell.db"
OPERATOR = Caller("default", Role.ADMIN)  # whoever holds the database's URL may make keys


async def _with_keys(database: str, use: Any) -> Any:
    from services.keys import Keys
    from services.store.engine import Database
    from services.transactions import Transactions
    from services.wakeups import LocalWakeups

    from .settings import Settings

    transactions = Transactions(Database(Settings(database=database).database_url), LocalWakeups())
    try:
        return await use(Keys(transactions))
    finally:
        await transactions.close()


def _run(database: str, use: Any) -> Any:
    from migrations.upgrade import is_current, upgrade

    try:
        if database.startswith("sqlite") and not is_current(database):
            upgrade(database)
        return asyncio.run(_with_keys(database, use))
    except AsktellError as error:
        raise SystemExit(f"asktell: {error.detail}") from None


@key.command("create")
def create_key(
    project: Annotated[str, typer.Option(help="the project it opens")] = "default",
    role: Annotated[str, typer.Option(help="reader, worker, writer or admin")] = "worker",
    label: Annotated[str, typer.Option(help="what it is for")] = "",
    days: Annotated[float | None, typer.Option(help="valid for so many days")] = None,
    if_none: Annotated[bool, typer.Option("--if-none", help="only if no key exists yet")] = False,
    database: Database = DEFAULT_DATABASE,
) -> None:
    """Make a key. The secret is printed once, on standard output."""

    async def use(keys: Any) -> Any:
        return await keys.create(OPERATOR, project, role, label, days, only_first=if_none)

    made = _run(database, use)
    if made is None:
        typer.echo("a key exists already; none was made", err=True)
        return
    typer.echo(
        f"key {made.id} for project {made.project}, role {made.role}; keep the secret, it is not shown again", err=True
    )
    typer.echo(made.secret)


@key.command("list")
def list_keys(
    project: Annotated[str | None, typer.Option(help="only of this project")] = None,
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
    database: Database = DEFAULT_DATABASE,
) -> None:
    """List keys, without their secrets."""

    async def use(keys: Any) -> Any:
        return await keys.list(OPERATOR, project)

    found = _run(database, use)
    if output == "json":
        typer.echo(json.dumps([k.model_dump(mode="json", exclude={"secret"}) for k in found], indent=2))
        return
    for k in found:
        state = "revoked" if k.revoked_at else "active"
        typer.echo(f"{k.id}  {k.project:<16} {k.role:<8} {state:<8} {k.created_at:%Y-%m-%d}  {k.label}")


@key.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="the key's id")], database: Database = DEFAULT_DATABASE
) -> None:
    """Make a key useless."""

    async def use(keys: Any) -> Any:
        await keys.revoke(OPERATOR, key_id)

    _run(database, use)
    typer.echo(f"{key_id} is revoked", err=True)

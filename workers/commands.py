"""The worker's part of the command line: `asktell worker`."""

from __future__ import annotations

import asyncio
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer


def _option(name: str, help_: str) -> Any:
    return typer.Option(envvar=f"ASKTELL_{name}", help=help_, show_default=True)


class PoolKind(StrEnum):
    """Where suggestions are computed."""

    LOCAL = "local"
    RAY = "ray"


def worker(
    database: Annotated[
        str, _option("DATABASE", "sqlite:///path or postgresql://user@host/name")
    ] = "sqlite:///asktell.db",
    redis: Annotated[str | None, _option("REDIS", "redis://host, for wake-ups from the servers")] = None,
    pool: Annotated[
        PoolKind | None,
        _option("POOL", "ray: actors of a Ray cluster; local: processes here; ray where it is installed"),
    ] = None,
    ray_address: Annotated[
        str | None, _option("RAY_ADDRESS", "a Ray cluster to join; without it one starts here")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(envvar="ASKTELL_PROCESSES", min=1, max=4096, help="suggesters at one time")
    ] = None,
    memory_limit_mib: Annotated[
        int,
        typer.Option(
            "--memory-limit", envvar="ASKTELL_MEMORY_LIMIT_MIB", min=256, help="MiB at which a suggester is ended"
        ),
    ] = 4096,
    metrics_port: Annotated[int, _option("METRICS_PORT", "/metrics and /healthz; 0 takes a free one, -1 none")] = 9464,
    metrics_host: Annotated[str, _option("METRICS_HOST", "address of /metrics and /healthz")] = "127.0.0.1",
    log_level: Annotated[str, _option("LOG_LEVEL", "debug, info, warning or error")] = "info",
) -> None:
    """Compute suggestions for the servers that share this database."""
    from services import logs
    from services.domain.errors import AsktellError

    from . import main

    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter("--log-level is debug, info, warning or error")
    logs.configure(log_level)
    settings = main.Settings(
        database=database,
        redis=redis,
        pool=(pool or _usual_pool(ray_address)).value,
        ray_address=ray_address,
        processes=processes,
        memory_limit_mib=memory_limit_mib,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
    )
    try:
        asyncio.run(main.run(settings, ready=_greet))
    except AsktellError as error:
        raise SystemExit(f"asktell: {error.detail}") from None
    except OSError as error:
        raise SystemExit(f"asktell: cannot listen on {metrics_host}: {error.strerror or error}") from None


def _usual_pool(ray_address: str | None) -> PoolKind:
    from importlib.util import find_spec

    return PoolKind.RAY if ray_address is not None or find_spec("ray") is not None else PoolKind.LOCAL


def _greet(url: str) -> None:
    if sys.stderr.isatty():
        print(f"\n  asktell worker  ·  {url or 'no'} /metrics\n", file=sys.stderr)

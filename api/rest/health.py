"""Liveness, readiness, metrics: for machines, without keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.container import Services
from services.domain.errors import AsktellError
from services.metrics import REGISTRY

PATIENCE_SECONDS = 3.0
Check = Callable[[], Awaitable[bool]]


async def healthz(_: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """The database, the queue and the suggester pool answer."""
    services: Services = request.app.state.services
    checks: dict[str, Check] = {"database": _database(services), "queue": services.wakeups.is_alive}
    if request.app.state.suggesters is not None:
        checks["suggesters"] = request.app.state.suggesters
    states = await asyncio.gather(*(_state(check) for check in checks.values()))
    found = dict(zip(checks, states, strict=True))
    is_ready = all(state == "ok" for state in states)
    return JSONResponse({"ready": is_ready, "checks": found}, 200 if is_ready else 503)


def _database(services: Services) -> Check:
    async def check() -> bool:
        await services.transactions.read(lambda connection: connection.execute(text("SELECT 1")))
        return True

    return check


async def _state(check: Check) -> str:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return "ok" if await check() else "away"
    except (AsktellError, TimeoutError):
        return "away"


async def metrics(_: Request) -> Response:
    """What Prometheus reads."""
    return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)


routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]

"""The HTTP application: routes, errors, OpenAPI, a line and a measurement for each request."""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.settings import Settings
from services import metrics
from services.container import Services
from services.domain.errors import AsktellError

from . import events, health, openapi, operations, problems, studies, suggesters, trials
from .calls import Operation

log = structlog.get_logger("rest")
PARTS = (trials.routes, studies.routes, operations.routes, suggesters.routes, events.routes)
DESCRIPTION = (
    "A black-box optimisation service: describe a search space, ask for trials, tell their values. "
    "Every POST takes an `Idempotency-Key`; errors are `application/problem+json`."
)


def operations_of_all() -> list[Operation]:
    """Every route as OpenAPI describes it."""
    return [operation for part in PARTS for operation in part.operations]


def build(
    services: Services, settings: Settings, suggesters_alive: Callable[[], Awaitable[bool]] | None = None
) -> FastAPI:
    """The application.

    Args:
        suggesters_alive: whether the suggester pool of this process is well; None where it has none.
    """
    app = FastAPI(title="asktell", version=version("asktell-server"), openapi_url="/openapi.json", docs_url="/docs")
    app.state.services = services
    app.state.settings = settings
    app.state.suggesters = suggesters_alive
    # `{number}:receipt` before `{number}`, which would take the verb for a part of the number.
    routes = sorted((r for part in PARTS for r in part.routes), key=lambda route: "}:" not in route.path)
    app.router.routes.extend(routes)
    app.router.routes.extend(health.routes)
    app.add_exception_handler(AsktellError, problems.on_ours)
    app.add_exception_handler(problems.TooLarge, problems.on_too_large)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(Exception, problems.on_unexpected)
    app.add_middleware(Observed, access_log=settings.access_log)
    written: dict[str, Any] = {}

    def write_openapi() -> dict[str, Any]:
        if not written:
            written.update(openapi.document(operations_of_all(), "asktell", app.version, DESCRIPTION))
        return written

    app.openapi = write_openapi  # type: ignore[method-assign]
    return app


class Observed:
    """Counts and times each request by its route, names it, and logs a line."""

    def __init__(self, app: ASGIApp, access_log: bool) -> None:
        self._app = app
        self._access_log = access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        request_id = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"x-request-id"), "")[:64]
        request_id = request_id or uuid.uuid4().hex[:16]

        async def observed_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", request_id.encode("latin-1", "replace")))
            await send(message)

        try:
            await self._app(scope, receive, observed_send)
        finally:
            seconds = time.perf_counter() - started
            route = _route(scope)
            metrics.HTTP_REQUESTS.labels(scope["method"], route, str(status)).inc()
            metrics.HTTP_SECONDS.labels(scope["method"], route).observe(seconds)
            if self._access_log:
                milliseconds = round(seconds * 1000, 2)
                log.info(
                    "http", method=scope["method"], route=route, status=status, ms=milliseconds, request=request_id,
                    **scope.get("path_params", {}),
                )  # fmt: skip


def _route(scope: Scope) -> str:
    """The route's pattern, never the path itself: a label for each name would flood Prometheus."""
    route = scope.get("route") or _find(scope)
    return getattr(route, "path", "other")


def _find(scope: Scope) -> Any:
    app = scope.get("app")
    if app is None or "endpoint" not in scope:
        return None
    for route in app.router.routes:
        if getattr(route, "endpoint", None) is scope["endpoint"] and route.matches(scope)[0] is Match.FULL:
            return route
    return None

"""The HTTP application: routes, errors, OpenAPI, a line and a measurement for each request."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.settings import Settings
from services import metrics
from services.container import Services
from services.domain.errors import AsktellError

from . import events, health, openapi, operations, problems, studies, suggesters, trials
from .calls import Operation

log = structlog.get_logger("rest")
PROCESS = secrets.token_hex(4)
_numbers = itertools.count(1)
PARTS = (trials.routes, studies.routes, operations.routes, suggesters.routes, events.routes)
PLAIN_PATHS = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}
DESCRIPTION = (
    "A black-box optimisation service: describe a search space, ask for trials, tell their values. "
    "Every POST takes an `Idempotency-Key`; errors are `application/problem+json`."
)


def operations_of_all() -> list[Operation]:
    """Every route as OpenAPI describes it."""
    return [operation for part in PARTS for operation in part.operations]


def build(
    services: Services, settings: Settings, suggesters_alive: Callable[[], Awaitable[bool]] | None = None
) -> ASGIApp:
    """The application.

    Args:
        suggesters_alive: whether the suggester pool of this process is well; None where it has none.
    """
    app = FastAPI(title="asktell", version=version("asktell-server"), openapi_url="/openapi.json", docs_url="/docs")
    app.state.services = services
    app.state.settings = settings
    app.state.suggesters = suggesters_alive
    app.router.routes.extend(health.routes)
    app.add_exception_handler(AsktellError, problems.on_ours)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(Exception, problems.on_unexpected)
    written: dict[str, Any] = {}

    def write_openapi() -> dict[str, Any]:
        if not written:
            written.update(openapi.document(operations_of_all(), "asktell", app.version, DESCRIPTION))
        return written

    app.openapi = write_openapi  # type: ignore[method-assign]
    return Observed(Calls(app), settings.access_log)


class Calls:
    """The calls under `/v1` beside FastAPI's stack of middleware, which costs more than reading and answering them."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        # `{number}:receipt` before `{number}`, which would take the verb for a part of the number.
        routes = [route for part in PARTS for route in part.routes]
        routes.sort(key=lambda route: "}:" not in route.path)
        self._router = Router(routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        is_answered = False

        async def noticing_send(message: Message) -> None:
            nonlocal is_answered
            is_answered = True
            await send(message)

        try:
            await self._router(scope, receive, noticing_send)
        except Exception as error:  # a defect must not take the connection's other requests with it
            if is_answered:
                raise
            request = Request(scope)
            handle = problems.on_http if isinstance(error, HTTPException) else problems.on_unexpected
            await (await handle(request, error))(scope, receive, send)


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
        request_id = request_id or f"{PROCESS}{next(_numbers):x}"

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
    return getattr(scope.get("route"), "path", None) or (scope["path"] if scope["path"] in PLAIN_PATHS else "other")

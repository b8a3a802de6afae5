"""Errors as `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import math

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.answers import STATUS, Problem, problem
from services.domain.errors import AsktellError

log = structlog.get_logger("rest")
MEDIA = "application/problem+json"


class TooLarge(Exception):
    """The body is over the limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(
            f"the body is over the limit of {limit} bytes: send less in one request (fewer trials or outcomes, vectors packed as "
            "float32), or start the server with a larger --max-body-mib"
        )


def response(error: AsktellError) -> Response:
    """The answer to an error of ours."""
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if error.kind == "unauthenticated":
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(problem(error), headers)


def _answer(found: Problem, headers: dict[str, str] | None = None) -> Response:
    return Response(found.model_dump_json(), found.status, headers, MEDIA)


def _plain(kind: str, title: str, status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
    found = Problem(type=f"https://asktell.dev/problems/{kind}", title=title, status=status, detail=detail)
    return _answer(found, headers)


async def on_ours(request: Request, error: Exception) -> Response:
    """An error of ours."""
    assert isinstance(error, AsktellError)
    if STATUS[error.kind] >= 500:
        log.warning("request.failed", path=request.url.path, kind=error.kind)
    return response(error)


async def on_too_large(_: Request, error: Exception) -> Response:
    """A body over the limit; the connection ends, for the rest of the body is not read."""
    return _plain("too-large", "The body is too large", 413, str(error), {"Connection": "close"})


async def on_http(_: Request, error: Exception) -> Response:
    """What the router refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http")
    return _plain(kind, str(error.detail), error.status_code, str(error.detail), dict(error.headers or {}))


async def on_unexpected(request: Request, error: Exception) -> Response:
    """A defect: logged in full here, never shown."""
    log.error("request.broke", path=request.url.path, exc_info=error)
    return _plain(
        "internal", "Something broke in the server", 500, "this is a defect; the server's log has the details"
    )

"""One request on its way through: who calls, what the body says, how the answer is written.

Routes are Starlette's, described for OpenAPI beside their code (`openapi.py` writes the document): bodies are read by the
domain's own documents, once, so that FastAPI's second validation is not paid for on every ask and tell.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.caller import Caller
from services.container import Services
from services.domain.document import Document, canonical, invalid_from
from services.domain.errors import AsktellError, Invalid, NotFound
from services.idempotency import Idempotency, Reply

from .problems import TooLarge, on_ours, on_too_large

D = TypeVar("D", bound=Document)
M = TypeVar("M", bound=BaseModel)
JSON = "application/json"


@dataclass
class Call:
    """A request whose caller is known and whose body is read."""

    request: Request
    services: Services
    caller: Caller
    body: bytes

    def read(self, model: type[D]) -> D:
        """The body as a document.

        Raises:
            Invalid: by JSON pointer.
        """
        return model.read(self.body)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object.

        Raises:
            Invalid: it is something else.
        """
        from services.domain.document import check_json

        check_json(self.body)
        value = orjson.loads(self.body or b"{}")
        if not isinstance(value, dict):
            raise Invalid.at("", "must be a JSON object")
        return value

    def query(self, model: type[D], *lists: str) -> D:
        """The query string as a document; text is turned into numbers and booleans where the document has them.

        Raises:
            Invalid: a parameter that is unknown or wrong.
        """
        given = self.request.query_params
        values: dict[str, Any] = {
            name: tuple(given.getlist(name)) if name in lists else given[name] for name in dict.fromkeys(given.keys())
        }
        try:
            found = model.model_validate(values, strict=False)
        except ValidationError as error:
            raise invalid_from(error, values) from None
        if any("\x00" in text for text in given.values()):
            raise Invalid.at("", "text must not contain NUL characters")
        return found

    @property
    def study(self) -> str:
        """The study's id or name in the path."""
        return str(self.request.path_params["study"])

    @property
    def number(self) -> int:
        """The trial's number in the path.

        Raises:
            NotFound: it is no number, so no trial has it.
        """
        text = self.request.path_params["number"]
        if not (text.isascii() and text.isdigit() and len(text) <= 15):
            raise NotFound(f"there is no trial {text[:32]!r}")
        return int(text)

    @cached_property
    def idem(self) -> Idempotency | None:
        """The request's idempotency key."""
        key = self.request.headers.get("idempotency-key")
        if key is None:
            return None
        return Idempotency.of(key, self.request.method, self.request.url.path, self.body)

    @property
    def if_match(self) -> str | None:
        """The etag that the client last saw."""
        return self.request.headers.get("if-match")


@dataclass(frozen=True)
class Operation:
    """A route as OpenAPI describes it."""

    method: str
    path: str
    name: str
    summary: str
    tag: str
    body: type[BaseModel] | None
    answers: dict[int, type[BaseModel] | None]
    query: type[BaseModel] | None
    example: Any = None
    media: str = JSON


Endpoint = Callable[[Call], Awaitable[Response]]


@dataclass
class Routes:
    """Collects routes with their description."""

    tag: str
    routes: list[Route] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)

    def add(
        self,
        method: str,
        path: str,
        *,
        answers: dict[int, type[BaseModel] | None],
        body: type[BaseModel] | None = None,
        query: type[BaseModel] | None = None,
        example: Any = None,
        media: str = JSON,
    ) -> Callable[[Endpoint], Endpoint]:
        """Serve `method path` by the decorated function; its docstring's first line is the summary."""

        def register(endpoint: Endpoint) -> Endpoint:
            name = endpoint.__name__
            summary = (endpoint.__doc__ or "").strip().splitlines()[0]
            self.operations.append(
                Operation(method, path, name, summary, self.tag, body, answers, query, example, media)
            )
            self.routes.append(Route("/v1" + path, _handler(endpoint), methods=[method], name=name))
            return endpoint

        return register


def _handler(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        services: Services = request.app.state.services
        try:
            caller = await services.keys.authenticate(_bearer(request))
            await services.limits.check(caller)
            body = await read_body(request, request.app.state.settings.max_body)
            return await endpoint(Call(request, services, caller, body))
        except AsktellError as error:
            return await on_ours(request, error)
        except TooLarge as error:
            return await on_too_large(request, error)

    return handle


def _bearer(request: Request) -> str | None:
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it is over the limit; no more than the limit is ever held.
    """
    if request.method in ("GET", "DELETE"):
        return b""
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge(limit)
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLarge(limit)
        chunks.append(chunk)
    return b"".join(chunks)


def answer(document: BaseModel, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A document as the response."""
    return Response(document.model_dump_json(), status, headers, JSON)


def reply(found: Reply[M], status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A write's answer; says when it is a recorded one."""
    if found.replayed:
        headers = {**(headers or {}), "Idempotent-Replayed": "true"}
    return answer(found.value, status, headers)


__all__ = ["Call", "Operation", "Routes", "answer", "canonical", "read_body", "reply"]

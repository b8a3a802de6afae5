"""Sending and sleeping: the only part of the clients that differs between blocking and asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from .flows import ConnectionBroke, Flow, Pause, Reply, Request, error_of

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0
"""A stream says something every 15 s; after a minute of silence the connection counts as broken."""


class Wire(Protocol):
    """Takes a request to the service and brings its answer; blocking."""

    def send(self, request: Request) -> Reply:
        """The answer, or ConnectionBroke."""

    def stream(self, request: Request) -> contextlib.AbstractContextManager[Iterator[bytes]]:
        """The body of an answer as it comes; AsktellError where it is one."""

    def close(self) -> None:
        """Give the connections back."""


class AsyncWire(Protocol):
    """Takes a request to the service and brings its answer; asyncio."""

    async def send(self, request: Request) -> Reply:
        """The answer, or ConnectionBroke."""

    def stream(self, request: Request) -> contextlib.AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """The body of an answer as it comes; AsktellError where it is one."""

    async def close(self) -> None:
        """Give the connections back."""


def run(flow: Flow[T], wire: Wire) -> T:
    """Run a flow, blocking."""
    answer: Any = None
    broke: ConnectionBroke | None = None
    while True:
        try:
            step = flow.throw(broke) if broke is not None else flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = broke = None
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            continue
        try:
            answer = wire.send(step)
        except ConnectionBroke as error:
            broke = error


async def run_async(flow: Flow[T], wire: AsyncWire) -> T:
    """Run a flow on the event loop."""
    answer: Any = None
    broke: ConnectionBroke | None = None
    while True:
        try:
            step = flow.throw(broke) if broke is not None else flow.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        answer = broke = None
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            continue
        try:
            answer = await wire.send(step)
        except ConnectionBroke as error:
            broke = error


def _settings(base_url: str, api_key: str | None, timeout: float) -> dict[str, Any]:
    import httpx

    headers = {"User-Agent": f"asktell/{version('asktell')}"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "base_url": base_url,
        "headers": headers,
        "timeout": httpx.Timeout(timeout, connect=CONNECT_SECONDS, pool=None),
        "limits": httpx.Limits(max_connections=None, max_keepalive_connections=64),
        "follow_redirects": False,
    }


def _request(client: Any, request: Request, timeout: float, is_stream: bool = False) -> httpx.Request:
    import httpx

    read = SILENCE_SECONDS if is_stream else timeout + request.wait_seconds
    found: httpx.Request = client.build_request(
        request.method,
        request.path,
        content=request.body,
        params=dict(request.query) or None,
        headers=dict(request.headers),
        timeout=httpx.Timeout(timeout, connect=CONNECT_SECONDS, read=read, pool=None),
    )
    return found


def _reply(response: httpx.Response) -> Reply:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status_code, headers, response.content)


def _told(error: Exception) -> ConnectionBroke:
    return ConnectionBroke(str(error) or type(error).__name__)


class HttpWire:
    """REST over httpx; used by many threads at once."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        import httpx

        self._broken = (httpx.TransportError, httpx.DecodingError)
        self._timeout = timeout
        self._client = httpx.Client(**_settings(base_url, api_key, timeout))

    def send(self, request: Request) -> Reply:
        """The answer, or ConnectionBroke."""
        try:
            return _reply(self._client.send(_request(self._client, request, self._timeout)))
        except self._broken as error:
            raise _told(error) from error

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[Iterator[bytes]]:
        """The body of an answer as it comes."""
        try:
            response = self._client.send(_request(self._client, request, self._timeout, True), stream=True)
        except self._broken as error:
            raise _told(error) from error
        try:
            if response.status_code >= 400:
                response.read()
                raise error_of(_reply(response))
            yield self._chunks(response)
        finally:
            response.close()

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        try:
            yield from response.iter_bytes()
        except self._broken as error:
            raise _told(error) from error

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()


class AsyncHttpWire:
    """REST over httpx on the event loop."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        import httpx

        self._broken = (httpx.TransportError, httpx.DecodingError)
        self._timeout = timeout
        self._client = httpx.AsyncClient(**_settings(base_url, api_key, timeout))

    async def send(self, request: Request) -> Reply:
        """The answer, or ConnectionBroke."""
        try:
            return _reply(await self._client.send(_request(self._client, request, self._timeout)))
        except self._broken as error:
            raise _told(error) from error

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of an answer as it comes."""
        try:
            response = await self._client.send(_request(self._client, request, self._timeout, True), stream=True)
        except self._broken as error:
            raise _told(error) from error
        try:
            if response.status_code >= 400:
                await response.aread()
                raise error_of(_reply(response))
            yield self._chunks(response)
        finally:
            await response.aclose()

    async def _chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        try:
            async for chunk in response.aiter_bytes():
                yield chunk
        except self._broken as error:
            raise _told(error) from error

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()


__all__ = ["AsyncHttpWire", "AsyncWire", "HttpWire", "Wire", "run", "run_async"]

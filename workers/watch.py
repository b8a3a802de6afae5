"""What watches over a worker: `/metrics` for Prometheus and `/healthz` for whoever restarts it. HTTP/1.0, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.metrics import REGISTRY

READ_SECONDS = 5.0


class Watch:
    """A server for two paths.

    Args:
        is_alive: what `/healthz` answers: 200 or 503.
        host: loopback unless something outside must read it.
        port: 0 takes a free one, -1 serves nothing.
    """

    def __init__(self, is_alive: Callable[[], Awaitable[bool]], host: str, port: int) -> None:
        self._is_alive = is_alive
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen; the address, empty if nothing is served.

        Raises:
            OSError: the port is taken.
        """
        if self._port < 0:
            return ""
        self._server = await asyncio.start_server(self._answer, self._host, self._port, limit=4096)
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A reader that goes away or sends nonsense is its own trouble.
        with contextlib.suppress(
            OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(READ_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._page(head.split(b" ", 2)[:2])
                writer.write(
                    f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
                )
                await writer.drain()
        writer.close()

    async def _page(self, request: list[bytes]) -> tuple[str, str, bytes]:
        match request:
            case [b"GET", b"/metrics"]:
                return "200 OK", CONTENT_TYPE_LATEST, generate_latest(REGISTRY)
            case [b"GET", b"/healthz"]:
                alive = await self._is_alive()
                return (
                    ("200 OK", "text/plain", b"ok\n") if alive else ("503 Service Unavailable", "text/plain", b"away\n")
                )
            case _:
                return "404 Not Found", "text/plain", b"there is /metrics and /healthz\n"

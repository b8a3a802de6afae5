"""gRPC in place of HTTP, under the same clients."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

try:
    import grpc
except ModuleNotFoundError as missing:
    raise ImportError('transport="grpc" needs an extra: pip install "asktell[grpc]"') from missing
import grpc.aio
from google.protobuf.json_format import ParseError

from . import rpc
from .flows import Reply, Request, error_of
from .rpc_errors import failed, refused

OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))


def _target(base_url: str) -> tuple[str, bool]:
    """Host and port, and whether to encrypt: as in `https://host:port`."""
    scheme, separator, rest = base_url.rpartition("://")
    return rest, bool(separator) and scheme in ("https", "grpcs")


def _metadata(api_key: str | None) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()


def _serialize(message: Any) -> bytes:
    found: bytes = message.SerializeToString()
    return found


class RpcWire:
    """The protos over one channel; used by many threads at once."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        target, is_encrypted = _target(base_url)
        self._timeout = timeout
        self._metadata = _metadata(api_key)
        self._channel = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials(), OPTIONS)
            if is_encrypted
            else grpc.insecure_channel(target, OPTIONS)
        )

    def send(self, request: Request) -> Reply:
        """The answer, or ConnectionBroke."""
        try:
            call, message = rpc.message_of(request)
        except ParseError as error:
            return refused(error)
        ask = self._channel.unary_unary(call.name, _serialize, call.answers.FromString)
        try:
            answer: Any = ask(message, timeout=self._timeout + request.wait_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            return failed(error)
        return rpc.reply_of(answer)

    @contextlib.contextmanager
    def stream(self, request: Request) -> Iterator[Iterator[bytes]]:
        """The pieces of an answer as they come."""
        call, message = rpc.message_of(request)
        follow: Any = self._channel.unary_stream(call.name, _serialize, call.answers.FromString)
        answers = follow(message, metadata=self._metadata)
        try:
            yield self._pieces(answers)
        finally:
            answers.cancel()

    @staticmethod
    def _pieces(answers: Any) -> Iterator[bytes]:
        try:
            for answer in answers:
                yield rpc.event_of(answer)
        except grpc.RpcError as error:
            raise error_of(failed(error)) from error

    def close(self) -> None:
        """Give the channel back."""
        self._channel.close()


class AsyncRpcWire:
    """The protos over one channel, on the event loop."""

    def __init__(self, base_url: str, api_key: str | None, timeout: float) -> None:
        target, is_encrypted = _target(base_url)
        self._timeout = timeout
        self._metadata = _metadata(api_key)
        self._channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), OPTIONS)
            if is_encrypted
            else grpc.aio.insecure_channel(target, OPTIONS)
        )

    async def send(self, request: Request) -> Reply:
        """The answer, or ConnectionBroke."""
        try:
            call, message = rpc.message_of(request)
        except ParseError as error:
            return refused(error)
        ask: Any = self._channel.unary_unary(call.name, _serialize, call.answers.FromString)
        try:
            answer = await ask(message, timeout=self._timeout + request.wait_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            return failed(error)
        return rpc.reply_of(answer)

    @contextlib.asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """The pieces of an answer as they come."""
        call, message = rpc.message_of(request)
        follow: Any = self._channel.unary_stream(call.name, _serialize, call.answers.FromString)
        answers = follow(message, metadata=self._metadata)
        try:
            yield self._pieces(answers)
        finally:
            answers.cancel()

    @staticmethod
    async def _pieces(answers: Any) -> AsyncIterator[bytes]:
        try:
            async for answer in answers:
                yield rpc.event_of(answer)
        except grpc.RpcError as error:
            raise error_of(failed(error)) from error

    async def close(self) -> None:
        """Give the channel back."""
        await self._channel.close()

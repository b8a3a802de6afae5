"""One call on its way through: who calls, what it may say, how it is answered, counted and logged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any, TypeVar

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError, Message

from services import metrics
from services.caller import Caller
from services.container import Services
from services.domain.document import Document
from services.domain.errors import AsktellError, Invalid, Unauthenticated, Unavailable
from services.idempotency import Idempotency, Reply

from .filling import write
from .messages import check_known
from .status import broken, code_of, status_of

log = structlog.get_logger("rpc")
M = TypeVar("M", bound=Message)
D = TypeVar("D", bound=Document)
Handler = Callable[[Any, Any], Awaitable[Any]]
OURS = "/asktell.v1."

CALLER: ContextVar[Caller] = ContextVar("caller")
"""Who makes the call that is being handled."""


class Unreadable:
    """A request whose bytes are no message of its kind."""


class Edge(grpc.aio.ServerInterceptor):
    """What happens around every call of ours: the key is checked, errors become statuses, the call is counted.

    Health and reflection stay open: load balancers have no key, and the protos are public.

    Args:
        services: for keys and rate limits.
        access_log: log a line for each call.
    """

    def __init__(self, services: Services, *, access_log: bool = True) -> None:
        self._services = services
        self._access_log = access_log
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._streams: set[asyncio.Task[Any]] = set()
        self._is_closing = False

    def end_streams(self) -> None:
        """End streams, which may have no end of their own, as UNAVAILABLE, so that clients go on with another server."""
        self._is_closing = True
        for stream in self._streams:
            stream.cancel()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call, wrapped; each is wrapped once and kept."""
        method = handler_call_details.method
        known = self._handlers.get(method)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        if handler is not None and method.startswith(OURS):
            handler = self._handlers[method] = self._wrapped(method, handler)
        return handler

    def _wrapped(self, method: str, handler: grpc.RpcMethodHandler[Any, Any]) -> grpc.RpcMethodHandler[Any, Any]:
        kinds: dict[tuple[bool, bool], tuple[Any, Any]] = {
            (False, False): (handler.unary_unary, grpc.unary_unary_rpc_method_handler),
            (False, True): (handler.unary_stream, grpc.unary_stream_rpc_method_handler),
            (True, True): (handler.stream_stream, grpc.stream_stream_rpc_method_handler),
        }
        inner, make = kinds[handler.request_streaming, handler.response_streaming]
        call = self._around(method, self._tracked(inner) if handler.response_streaming else inner)
        return make(call, _lenient(handler.request_deserializer), handler.response_serializer)  # type: ignore[no-any-return]

    def _tracked(self, inner: Handler) -> Handler:
        async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._streams.add(task)
            try:
                await inner(request, context)
            except asyncio.CancelledError:
                if not self._is_closing or context.cancelled():
                    raise
                task.uncancel()
                raise Unavailable("the server is stopping; connect again") from None
            finally:
                self._streams.discard(task)

        return stream

    def _around(self, method: str, inner: Handler) -> Handler:
        label = method.removeprefix(OURS)
        seconds = metrics.GRPC_SECONDS.labels(label)

        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            started, code = time.perf_counter(), grpc.StatusCode.OK
            try:
                CALLER.set(await self._admit(context))
                if isinstance(request, (Message, Unreadable)):
                    check(request)
                return await inner(request, context)
            except AsktellError as error:
                code = code_of(error, method)
                await context.abort_with_status(status_of(error, method))
            except asyncio.CancelledError:
                code = grpc.StatusCode.CANCELLED
                raise
            except Exception as error:  # a defect must end its own call only, and must not show its inside
                code = grpc.StatusCode.INTERNAL
                log.error("request.broke", method=label, exc_info=error)
                await context.abort_with_status(broken())
            finally:
                took = time.perf_counter() - started
                seconds.observe(took)
                metrics.GRPC_REQUESTS.labels(label, code.name).inc()
                if self._access_log:
                    log.info("grpc", method=label, code=code.name, ms=round(took * 1000, 2))

        return call

    async def _admit(self, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        caller = await self._services.keys.authenticate(_secret(context.invocation_metadata() or ()))
        await self._services.limits.check(caller)
        return caller


def _secret(metadata: Iterable[tuple[str, str | bytes]]) -> str | None:
    for name, value in metadata:
        if name == "authorization":
            scheme, _, secret = value.partition(" ") if isinstance(value, str) else ("", "", "")
            if scheme.lower() != "bearer" or not secret.strip():
                raise Unauthenticated("send the API key as metadata `authorization: Bearer ak_…`")
            return secret.strip()
    return None


def _lenient(deserializer: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    # A deserializer that raises ends the call as INTERNAL; bytes that are no message are the client's fault.
    def deserialize(body: bytes) -> Any:
        try:
            return deserializer(body) if deserializer is not None else body
        except DecodeError:
            return Unreadable()

    return deserialize


def check(request: Any) -> None:
    """Refuse a request that is no message of its kind, or says more than this server understands.

    Raises:
        Invalid: it is.
    """
    if isinstance(request, Unreadable):
        raise Invalid("the request is not a message of its kind, or is nested too deeply")
    check_known(request)


def idempotency(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Idempotency | None:
    """The request's `request_id` as an idempotency key.

    Raises:
        Invalid: it is too long.
    """
    if not request.request_id:
        return None
    return Idempotency.of(
        request.request_id, "gRPC", type(request).__name__, request.SerializeToString(deterministic=True)
    )


def reply(kind: type[M], found: Reply[Any], context: grpc.aio.ServicerContext[Any, Any]) -> M:
    """A write's answer; metadata says when it is a recorded one."""
    if found.replayed:
        context.set_trailing_metadata((("idempotent-replayed", "true"),))
    return answer(kind, found.value)


def answer(kind: type[M], document: Document) -> M:
    """A document as the answer."""
    return write(kind, document)

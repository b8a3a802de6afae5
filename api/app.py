"""The composition root of a server: settings → database → use cases → edges, started together and stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
import uvicorn

from services.container import Services
from services.domain.errors import AsktellError, Invalid
from services.limits import Limits, LocalLimits, RedisLimits, Unlimited
from services.profiles import read_profiles
from services.store.engine import Database
from services.wakeups import LocalWakeups, RedisWakeups, Wakeups
from workers.suggesters.registry import specs

from . import embedded
from .rest.application import build
from .settings import Settings

log = structlog.get_logger("server")
GRACE_SECONDS = 5
WARM_AFTER_SECONDS = 5


def build_services(settings: Settings) -> Services:
    """The use cases over the database and the queue that the settings name."""
    wakeups: Wakeups = RedisWakeups(settings.redis) if settings.redis else LocalWakeups()
    database = Database(settings.database_url, settings.connections)
    return Services(database, wakeups, specs(), _limits(settings), profiles=read_profiles(os.environ))


def _limits(settings: Settings) -> Limits:
    if settings.rate_per_second <= 0:
        return Unlimited()
    if settings.redis:
        return RedisLimits(settings.redis, settings.rate_per_second, settings.rate_burst)
    return LocalLimits(settings.rate_per_second, settings.rate_burst)


@dataclass(frozen=True)
class Running:
    """A server that answers.

    Attributes:
        url: of REST.
        grpc_target: of gRPC, empty without it.
    """

    url: str
    grpc_target: str
    services: Services


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Running]:
    """A whole server for as long as the context lasts.

    Raises:
        Invalid: it would listen beyond loopback without keys, or the database's schema is not current.
        OSError: a port is taken.
    """
    await asyncio.to_thread(_prepare_database, settings)
    services = build_services(settings)
    await services.start()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(services.close)
        await _refuse_open_doors(services, settings)
        dispatcher = embedded.dispatcher(services, settings)
        if dispatcher is not None:
            await dispatcher.start()
            stack.push_async_callback(dispatcher.close)
        sweeper = asyncio.create_task(services.sweeper.run())
        stack.push_async_callback(_cancel, sweeper)
        target = await _start_grpc(stack, services, settings)
        port = await _start_rest(stack, services, settings, dispatcher.is_alive if dispatcher else None)
        warming = asyncio.create_task(_warm())
        stack.callback(warming.cancel)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        yield Running(f"http://{host}:{port}", target, services)


async def _warm() -> None:
    # The quasi-random net needs SciPy's statistics, whose import takes a second or two: not inside somebody's ask, and not beside
    # the first asks of all, which it would hold up.
    await asyncio.sleep(WARM_AFTER_SECONDS)
    await asyncio.to_thread(importlib.import_module, "scipy.stats")


def _prepare_database(settings: Settings) -> None:
    from migrations.upgrade import is_current, upgrade

    url = settings.database_url
    wanted = settings.migrate if settings.migrate is not None else url.startswith("sqlite")
    if is_current(url):
        return
    if not wanted:
        raise Invalid("the database's schema is not current; run `asktell migrate` first")
    upgrade(url)


async def _refuse_open_doors(services: Services, settings: Settings) -> None:
    if settings.is_loopback or settings.insecure or await services.keys.are_required():
        return
    raise Invalid(
        f"refusing to listen on {settings.host} without keys: make one with `asktell key create --role admin`, "
        "or say --insecure if everyone who can reach this address may do everything"
    )


async def _start_rest(
    stack: contextlib.AsyncExitStack, services: Services, settings: Settings, suggesters_alive: object
) -> int:
    app = build(services, settings, suggesters_alive)  # type: ignore[arg-type]
    listener = socket.create_server(
        (settings.host, settings.port), family=socket.AF_INET6 if ":" in settings.host else socket.AF_INET, backlog=2048
    )
    # Head and body of an answer are two writes: with Nagle on, the second waits 40 ms for the first one's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, loop="none", http="httptools", lifespan="off", server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS, timeout_keep_alive=65,
    )  # fmt: skip
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
        if task.done():
            await task

    async def stop() -> None:
        server.should_exit = True
        await task

    stack.push_async_callback(stop)
    return int(listener.getsockname()[1])


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: it would raise the signal again before gRPC has stopped."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leave signals to the composition root."""
        yield


async def _start_grpc(stack: contextlib.AsyncExitStack, services: Services, settings: Settings) -> str:
    if settings.grpc_port < 0:
        return ""
    from .rpc.server import build_server

    server = build_server(services, max_message_bytes=settings.max_body, access_log=settings.access_log)
    port = await server.start(settings.host, settings.grpc_port)
    stack.push_async_callback(server.stop, GRACE_SECONDS)
    return f"{settings.host}:{port}"


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def serve(settings: Settings, ready: object = None) -> None:
    """Serve until SIGINT or SIGTERM."""
    # The event loop and the writers share one interpreter: at the usual 5 ms a writer that comes back from the database waits
    # longer for its turn than for its answer.
    sys.setswitchinterval(0.0005)
    # A batch of thousands is hundreds of thousands of short-lived objects: at the usual thresholds a third of its time goes into
    # looking for cycles among them.
    gc.set_threshold(100_000, 20, 50)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        async with running(settings) as server:
            log.info("serving", rest=server.url, grpc=server.grpc_target, workers=settings.workers)
            if callable(ready):
                ready(server)
            await stop.wait()
            log.info("stopping")
    except AsktellError as error:
        raise SystemExit(f"asktell: {error.detail}") from error

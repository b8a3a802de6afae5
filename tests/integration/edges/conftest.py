"""Two worlds, one reached by REST and one by gRPC, each with a database of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc.aio
import httpx
import pytest

from api.rest.application import build
from api.rpc.server import build_server
from api.settings import Settings
from services.container import Services
from services.store.engine import Database
from services.wakeups import LocalWakeups
from tests.support.databases import migrate
from tests.support.edges import Edge, RestEdge, RpcEdge
from workers.suggesters.registry import specs


@dataclass(frozen=True)
class World:
    """An edge and the use cases behind it."""

    edge: Edge
    services: Services


@contextlib.asynccontextmanager
async def _world(name: str, folder: Path) -> AsyncIterator[World]:
    url = f"sqlite:///{folder}/{name}.db"
    migrate(url)
    services = Services(Database(url), LocalWakeups(), specs())
    await services.start()
    try:
        async with _rest(services) if name == "rest" else _grpc(services) as edge:
            yield World(edge, services)
    finally:
        await services.close()


@contextlib.asynccontextmanager
async def _rest(services: Services) -> AsyncIterator[Edge]:
    transport = httpx.ASGITransport(app=build(services, Settings(access_log=False)))  # type: ignore[call-arg]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield RestEdge(client)


@contextlib.asynccontextmanager
async def _grpc(services: Services) -> AsyncIterator[Edge]:
    server = build_server(services, access_log=False)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield RpcEdge(channel)
    await server.stop(0)


@pytest.fixture
async def worlds(tmp_path: Path) -> AsyncIterator[tuple[World, World]]:
    """One of each."""
    async with _world("rest", tmp_path) as rest, _world("grpc", tmp_path) as rpc:
        yield rest, rpc

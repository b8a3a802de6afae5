"""A gRPC server over a fresh SQLite database (the stores' own law holds both databases), and a client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest

from api.rpc.server import GrpcServer, build_server
from services.container import Services
from tests.support.grpc_client import Client

LARGEST = 2**20


@pytest.fixture
def empty_database(tmp_path: Path) -> str:
    """The address of an empty database."""
    return f"sqlite:///{tmp_path}/asktell.db"


@pytest.fixture
async def edge(services: Services) -> AsyncIterator[tuple[GrpcServer, str]]:
    """A gRPC server and its address."""
    server = build_server(services, max_message_bytes=LARGEST, access_log=False)
    port = await server.start("127.0.0.1", 0)
    yield server, f"127.0.0.1:{port}"
    await server.stop(0.1)


@pytest.fixture
async def client(edge: tuple[GrpcServer, str]) -> AsyncIterator[Client]:
    """A client of it."""
    async with grpc.aio.insecure_channel(edge[1]) as channel:
        yield Client(channel)

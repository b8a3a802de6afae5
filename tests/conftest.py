"""What tests share: databases, a Redis and a server, started once and always stopped."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

# Before numpy and torch load: one thread each, for two that spin make everything beside them slower.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# Whoever runs tests in the background of a shell has them ignore an interrupt, and what ignores it hands that on to every process
# that it starts; the tests interrupt some.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from services.container import Services  # noqa: E402
from services.store.engine import Database  # noqa: E402
from services.wakeups import LocalWakeups  # noqa: E402
from tests.support.servers import Postgres, Redis, Server  # noqa: E402

_names = (f"test_{n}" for n in itertools.count())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests go first: the last one to start decides when the workers of a run end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") or item.get_closest_marker("ray")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A Postgres server."""
    server = Postgres(("-c", "fsync=off")).start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """A Redis server."""
    server = Redis().start()
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgres"])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database, of each kind in turn, that is made when it is migrated."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/asktell.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(next(_names))


@pytest.fixture
def database(empty_database: str) -> str:
    """The address of a migrated database, of each kind in turn."""
    from tests.support.databases import migrate

    migrate(empty_database)
    return empty_database


@pytest.fixture
async def services(database: str) -> AsyncIterator[Services]:
    """All use cases over a fresh database of each kind; no dispatcher runs."""
    from workers.suggesters.registry import specs

    found = Services(Database(database), LocalWakeups(), specs())
    await found.start()
    yield found
    await found.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`asktell serve` on SQLite with local workers, as a process."""
    from tests.support.databases import fresh

    found = Server(fresh(tmp_path_factory.mktemp("server")), "--processes", "1").start()
    yield found
    found.stop()

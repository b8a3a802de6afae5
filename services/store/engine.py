"""Connections: Postgres or SQLite behind one door."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.pool import QueuePool

from ..domain.errors import Invalid


def database_url(address: str) -> URL:
    """Accept `sqlite:///file.db`, `postgresql://…` and `postgres://…` without a driver's name.

    Raises:
        Invalid: another database.
    """
    try:
        url = make_url(address)
    except Exception as error:
        raise Invalid(
            "the database URL does not parse; expected sqlite:///path or postgresql://user@host/name"
        ) from error
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        if not url.database or url.database == ":memory:":
            raise Invalid("an in-memory database loses every answer; give a file: sqlite:///asktell.db")
        return url.set(drivername="sqlite+pysqlite")
    raise Invalid(f"{url.get_backend_name()} is not supported; use sqlite:///path or postgresql://user@host/name")


class Database:
    """Two engines over one database: `writer` and `reader`. On SQLite the writer takes the write lock when it begins.

    Args:
        address: database URL.
        connections: at most so many for each engine (SQLite writes through one).
    """

    def __init__(self, address: str, connections: int = 8) -> None:
        self.url = database_url(address)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.writer = self._engine(1 if self.is_sqlite else connections, write=True)
        self.reader = self._engine(connections, write=False)

    def _engine(self, connections: int, *, write: bool) -> Engine:
        options: dict[str, Any] = {
            "poolclass": QueuePool,
            "pool_size": connections,
            "max_overflow": 0,
            "pool_timeout": 10,
            "json_serializer": _dump,
            "json_deserializer": orjson.loads,
        }
        if self.is_sqlite:
            engine = create_engine(self.url, connect_args={"check_same_thread": False, "timeout": 30}, **options)
            event.listen(engine, "connect", _sqlite_connect)
            event.listen(engine, "begin", _sqlite_begin_write if write else _sqlite_begin_read)
            return engine
        engine = create_engine(
            self.url,
            pool_pre_ping=False,
            pool_recycle=1800,
            connect_args={"connect_timeout": 5, "prepare_threshold": 2, "application_name": "asktell"},
            **options,
        )
        # JSON comes as text from both databases: what is only passed on is never read, and the driver reads value by value in Python.
        engine.dialect.supports_native_json_deserialization = False
        event.listen(engine, "connect", _postgres_connect)
        return engine

    def close(self) -> None:
        """Give every connection back."""
        self.writer.dispose()
        self.reader.dispose()


@contextmanager
def pipelined(connection: Connection) -> Iterator[None]:
    """Send the statements within without waiting for each answer; errors show at the end. On SQLite there is nothing to wait for."""
    if connection.dialect.name == "sqlite":
        yield
        return
    driver: Any = connection.connection.driver_connection
    with driver.pipeline():
        yield


def _dump(value: Any) -> str:
    return orjson.dumps(value).decode()


def _postgres_connect(connection: Any, _record: Any) -> None:
    from psycopg.types.string import TextLoader

    connection.adapters.register_loader("json", TextLoader)


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")  # an answered write survives a power cut as well
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.execute("PRAGMA wal_autocheckpoint=8000")  # 32 MB: a batch of thousands is not copied within its own commit
    cursor.execute("PRAGMA cache_size=-65536")
    cursor.close()


def _sqlite_begin_write(connection: Any) -> None:
    # A deferred transaction that reads first and writes later can be refused half-way (SQLITE_BUSY_SNAPSHOT).
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _sqlite_begin_read(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN")

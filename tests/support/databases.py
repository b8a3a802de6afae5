"""Databases with the newest schema: migrations run once a process and server, not once a test."""

from __future__ import annotations

import functools
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg
from psycopg.errors import DuplicateDatabase
from psycopg.sql import SQL, Identifier

from migrations.upgrade import upgrade


@functools.cache
def _migrated_file() -> bytes:
    """A migrated SQLite database."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "asktell.db")
        upgrade(f"sqlite:///{file}")
        return file.read_bytes()


@functools.cache
def _migrated(server: str) -> Identifier:
    """The name of a migrated database on a Postgres server, for copies."""
    name = Identifier("migrated")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(name))
    upgrade(f"{server}/migrated")
    return name


def migrate(address: str) -> None:
    """Give a database the newest schema: one that is not there yet is a copy of one that was migrated, any other is upgraded."""
    if address.startswith("sqlite:///"):
        file = Path(address.removeprefix("sqlite:///"))
        if not file.exists():
            file.write_bytes(_migrated_file())
            return
    else:
        server, _, name = address.rpartition("/")
        template = _migrated(server)
        with psycopg.connect(f"{server}/postgres", autocommit=True) as connection, suppress(DuplicateDatabase):
            connection.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), template))
            return
    upgrade(address)


def fresh(folder: Path) -> str:
    """The address of a migrated SQLite database in a folder. A server makes its own as well, which takes half a second."""
    address = f"sqlite:///{folder}/asktell.db"
    migrate(address)
    return address

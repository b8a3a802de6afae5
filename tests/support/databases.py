"""Databases with the newest schema."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

from migrations.upgrade import upgrade


@functools.cache
def _migrated() -> bytes:
    """A migrated SQLite database: migrations run once a process, not once a test."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "asktell.db")
        upgrade(f"sqlite:///{file}")
        return file.read_bytes()


def migrate(address: str) -> None:
    """Give a database the newest schema: a SQLite file that is not there yet is a copy, any other database is upgraded."""
    file = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:///") and not file.exists():
        file.write_bytes(_migrated())
    else:
        upgrade(address)

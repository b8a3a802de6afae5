"""API keys at rest: a hash each, never the key."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from .tables import KeyRow, table

KEYS = table(KeyRow)


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key without its secret."""

    id: str
    project: str
    label: str
    role: str
    digest: str
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


_NAMES = tuple(KeyRecord.__dataclass_fields__)


def add(connection: Connection, record: KeyRecord) -> None:
    """Write a new key."""
    connection.execute(insert(KEYS), [{name: getattr(record, name) for name in _NAMES}])


def find(connection: Connection, digest: str) -> KeyRecord | None:
    """A key by the hash of its secret."""
    row = connection.execute(select(*(KEYS.c[name] for name in _NAMES)).where(KEYS.c.digest == digest)).first()
    return None if row is None else KeyRecord(*row)


def listed(connection: Connection, project: str | None = None) -> list[KeyRecord]:
    """Every key, of one project or of all, oldest first."""
    query = select(*(KEYS.c[name] for name in _NAMES)).order_by(KEYS.c.created_at, KEYS.c.id)
    if project is not None:
        query = query.where(KEYS.c.project == project)
    return [KeyRecord(*row) for row in connection.execute(query)]


def revoke(connection: Connection, key_id: str, now: datetime) -> bool:
    """Make a key useless from now on; False if there is no such key."""
    return connection.execute(update(KEYS).where(KEYS.c.id == key_id).values(revoked_at=now)).rowcount == 1


def any_exist(connection: Connection) -> bool:
    """Whether keys guard this database: a revoked one still counts, or revoking the last would open the doors."""
    return connection.execute(select(KEYS.c.id).limit(1)).first() is not None

"""Many rows in one statement. On Postgres all rows travel as one JSON parameter, which the database unpacks: binding 35 columns a
row one by one cost more than all the rest of a transaction. SQLite has no wire; there the driver's own loop is the fastest, over
values that are turned here into what it stores (SQLAlchemy's way of doing that costs more than the database)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import itemgetter
from typing import Any

import orjson
from sqlalchemy import JSON, Connection, Table, text
from sqlalchemy.types import TypeEngine

from .tables import UtcTime


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        names = tuple(rows[0])
        places = ", ".join("?" * len(names))
        columns = ", ".join(f'"{name}"' for name in names)
        statement = f'INSERT INTO "{table.name}" ({columns}) VALUES ({places})'
        connection.exec_driver_sql(statement, _stored(table, names, rows))
        return
    connection.execute(_insert(table, tuple(rows[0])), {"rows": orjson.dumps(rows).decode()})


def update_rows(connection: Connection, table: Table, keys: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows back by their keys; every other column that they have is set."""
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == "sqlite":
        changed = tuple(name for name in names if name not in keys)
        new = ", ".join(f'"{name}" = ?' for name in changed)
        same = " AND ".join(f'"{key}" = ?' for key in keys)
        connection.exec_driver_sql(
            f'UPDATE "{table.name}" SET {new} WHERE {same}', _stored(table, (*changed, *keys), rows)
        )
        return
    connection.execute(_update(table, tuple(keys), names), {"rows": orjson.dumps(rows).decode()})


@cache
def _insert(table: Table, names: tuple[str, ...]) -> Any:
    columns = ", ".join(f'"{name}"' for name in names)
    source = f'json_populate_recordset(NULL::"{table.name}", CAST(:rows AS json))'
    return text(f'INSERT INTO "{table.name}" ({columns}) SELECT {columns} FROM {source}')


@cache
def _update(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> Any:
    changed = ", ".join(f'"{name}" = given."{name}"' for name in names if name not in keys)
    source = f'json_populate_recordset(NULL::"{table.name}", CAST(:rows AS json)) AS given'
    same = " AND ".join(f'"{table.name}"."{key}" = given."{key}"' for key in keys)
    return text(f'UPDATE "{table.name}" SET {changed} FROM {source} WHERE {same}')


def _stored(table: Table, names: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows as SQLite's driver takes them, in the order of `names`."""
    found = [(place, _form(table.c[name].type)) for place, name in enumerate(names)]
    forms = [(place, form) for place, form in found if form is not None]
    in_order, stored = itemgetter(*names), []
    for row in rows:
        values = list(in_order(row))
        for place, form in forms:
            values[place] = form(values[place])
        stored.append(tuple(values))
    return stored


def _form(kind: TypeEngine[Any]) -> Callable[[Any], Any] | None:
    """How values of a column's type are stored; None: as they are."""
    if isinstance(kind, JSON):
        return _json
    return _time if isinstance(kind, UtcTime) else None


def _json(value: Any) -> str | None:
    return None if value is None else orjson.dumps(value).decode()


@lru_cache(maxsize=16)  # most times of a transaction are one
def _time(value: datetime | None) -> str | None:
    if value is None:
        return None
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")

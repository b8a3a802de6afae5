"""Many rows in one statement. On Postgres all rows travel as one JSON parameter, which the database unpacks: binding 35 columns a
row one by one cost more than all the rest of a transaction. SQLite has no wire; there the driver's own loop is the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import orjson
from sqlalchemy import Connection, Table, bindparam, insert, text, update


def insert_rows(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), list(rows))
        return
    connection.execute(_insert(table, tuple(rows[0])), {"rows": orjson.dumps(rows).decode()})


def update_rows(connection: Connection, table: Table, keys: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """Write rows back by their keys; every other column that they have is set."""
    if not rows:
        return
    names = tuple(rows[0])
    if connection.dialect.name == "sqlite":
        prefixed = [{f"new_{name}": value for name, value in row.items()} for row in rows]
        connection.execute(_update_each(table, tuple(keys), names), prefixed)
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


@cache
def _update_each(table: Table, keys: tuple[str, ...], names: tuple[str, ...]) -> Any:
    statement = update(table)
    for key in keys:
        statement = statement.where(table.c[key] == bindparam(f"new_{key}"))
    return statement.values({name: bindparam(f"new_{name}") for name in names if name not in keys})

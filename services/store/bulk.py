"""Many rows in one statement, each a tuple of values in the order of named columns. On Postgres rows travel as one JSON parameter,
which the database unpacks: binding 35 columns a row one by one cost more than all the rest of a transaction. What the rows of a
batch share, which is most of their columns, travels once beside it. SQLite has no wire; there the driver's own loop is the fastest,
over values that are turned here, column by column, into what it stores and back (SQLAlchemy's way of doing that costs more than
the database)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import chain, repeat
from operator import is_
from typing import Any

import orjson
from sqlalchemy import JSON, Boolean, Column, Connection, Select, Table, text
from sqlalchemy.types import TypeEngine

from .tables import UtcTime

Form = Callable[[Any], Any]
MOST_VALUES = 5000
"""In one statement on SQLite, which takes 32 766 of them."""
FEW_ROWS = 16
"""Fewer than so many are sent as they are: to find what they share costs more than to send it."""
MOST_ROWS = 1000
"""In one statement on Postgres: inside a pipeline it stores the first ones while we write the next, and unpacks them in memory."""


def insert_rows(connection: Connection, table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        values = _stored(table, names, rows)
        columns = ", ".join(f'"{name}"' for name in values)
        place = f"({', '.join('?' * len(values))})"
        most = MOST_VALUES // len(values)
        stored = list(zip(*values.values(), strict=True))
        for part in (stored[start : start + most] for start in range(0, len(stored), most)):
            statement = f'INSERT INTO "{table.name}" ({columns}) VALUES {", ".join([place] * len(part))}'
            connection.exec_driver_sql(statement, tuple(chain.from_iterable(part)))
        return
    for given in _parts(names, rows):
        connection.execute(_insert(table, names, "shared" in given), given)


def update_rows(
    connection: Connection, table: Table, names: tuple[str, ...], keys: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    """Write rows back.

    Args:
        names: what a row holds: columns to be set, then its keys.
        keys: the last of `names`.
    """
    if not rows:
        return
    changed = names[: -len(keys)]
    if connection.dialect.name == "sqlite":
        values = _stored(table, names, rows)
        new = ", ".join(f'"{name}" = {"?" if name in values else "NULL"}' for name in changed)
        same = " AND ".join(f'"{key}" = ?' for key in keys)
        statement = f'UPDATE "{table.name}" SET {new} WHERE {same}'
        connection.exec_driver_sql(statement, list(zip(*values.values(), strict=True)))
        return
    for given in _parts(names, rows):
        connection.execute(_update(table, changed, tuple(keys), "shared" in given), given)


def read_columns(connection: Connection, query: Select[Any], columns: tuple[Column[Any], ...]) -> list[Sequence[Any]]:
    """What a query finds, a sequence for each of the columns that it selects."""
    found, forms = raw_columns(connection, query, columns)
    for place, form in forms:
        found[place] = [None if value is None else form(value) for value in found[place]]
    return found


def raw_columns(
    connection: Connection, query: Select[Any], columns: tuple[Column[Any], ...]
) -> tuple[list[Sequence[Any]], list[tuple[int, Form]]]:
    """What a query finds as the driver gives it, and for columns, by place, where that is not what they hold, the way to it."""
    result = connection.execute(query)
    rows = result.cursor.fetchall() if result.cursor is not None else []
    result.close()
    found: list[Sequence[Any]] = list(zip(*rows, strict=True)) if rows else [()] * len(columns)
    return found, _read_forms(columns, connection.dialect.name == "sqlite")


@cache
def _insert(table: Table, names: tuple[str, ...], shares: bool) -> Any:
    columns = ", ".join(f'"{name}"' for name in names)
    return text(f'INSERT INTO "{table.name}" ({columns}) SELECT {columns} FROM {_given(table, shares)}')


@cache
def _update(table: Table, changed: tuple[str, ...], keys: tuple[str, ...], shares: bool) -> Any:
    new = ", ".join(f'"{name}" = given."{name}"' for name in changed)
    same = " AND ".join(f'"{table.name}"."{key}" = given."{key}"' for key in keys)
    return text(f'UPDATE "{table.name}" SET {new} FROM {_given(table, shares)} AS given WHERE {same}')


def _given(table: Table, shares: bool) -> str:
    shared = f'NULL::"{table.name}"'
    if shares:
        shared = f"json_populate_record({shared}, CAST(:shared AS json))"
    return f"json_populate_recordset({shared}, CAST(:rows AS json))"


def _parts(names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> Iterator[dict[str, str]]:
    """The parameters of one statement after the other: what its rows share, where they are many, and the rest of each."""
    for start in range(0, len(rows), MOST_ROWS):
        part = rows[start : start + MOST_ROWS]
        if len(part) < FEW_ROWS:
            yield {"rows": _json([dict(zip(names, row, strict=True)) for row in part])}
            continue
        columns = dict(zip(names, zip(*part, strict=True), strict=True))
        # The same objects, not equal ones: 1 and True are equal and not the same JSON. Keys differ: something is left of each row.
        shared = {name: column[0] for name, column in columns.items() if all(map(is_, column, repeat(column[0])))}
        own = [name for name in names if name not in shared]
        rest = [dict(zip(own, row, strict=True)) for row in zip(*(columns[name] for name in own), strict=True)]
        yield {"shared": _json(shared), "rows": _json(rest)}


def _stored(table: Table, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> dict[str, Sequence[Any]]:
    """Values as SQLite's driver takes them, by column; without the columns that have none, for a None costs it most."""
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    found: dict[str, Sequence[Any]] = {
        name: values for name, values in columns.items() if values[0] is not None or values.count(None) < len(values)
    }
    for name, form in _write_forms(table):
        if name in found:
            found[name] = [None if value is None else form(value) for value in found[name]]
    return found


@cache
def _write_forms(table: Table) -> list[tuple[str, Form]]:
    """How SQLite stores the values that it does not store, or not as fast, as they are."""
    kinds: dict[type[TypeEngine[Any]], Form] = {JSON: _json, UtcTime: _time, Boolean: int}
    return [(c.name, form) for c in table.c for kind, form in kinds.items() if isinstance(c.type, kind)]


@cache
def _read_forms(columns: tuple[Column[Any], ...], is_sqlite: bool) -> list[tuple[int, Form]]:
    """How values come back as they were. Postgres' driver knows times, in the zone of the session."""
    found: list[tuple[int, Form]] = []
    for place, column in enumerate(columns):
        if isinstance(column.type, UtcTime):
            found.append((place, _time_read if is_sqlite else _in_utc))
        elif isinstance(column.type, JSON):
            found.append((place, orjson.loads))
        elif is_sqlite and isinstance(column.type, Boolean):
            found.append((place, bool))
    return found


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


@lru_cache(maxsize=16)  # most times of a transaction are one
def _time(value: datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")


@lru_cache(maxsize=16)
def _time_read(value: str) -> datetime:
    return datetime.fromisoformat(value).replace(tzinfo=UTC)


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)

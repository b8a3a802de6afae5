"""Rows that are bound by ourselves are stored as SQLAlchemy stores them: what either wrote, the other reads."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select

from services.store.bulk import insert_rows, read_columns, update_rows
from services.store.engine import Database
from services.store.tables import ProjectRow, StudyRow, TrialRow, table

NOW = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)
ROW: dict[str, Any] = {
    "number": 1, "seq": 2**53, "state": "completed", "parameters": {"é": [1, -0.0, 1e300, None, True, "\U0001f600"]},
    "point_key": None, "metrics": {}, "std": None, "feasible": False, "value": 3, "worker": "", "attempt": 1,
    "lease_seconds": 1e-9, "lease_expires_at": NOW.astimezone(timezone(timedelta(hours=-5))), "should_stop": True,
    "suggester": "es", "reason": "'\"?:x", "fallback": False, "seen_seq": None, "told_seq": 3, "origin": {"a": {}},
    "receipt": None, "evaluate_on": {"ids": []}, "feedback": None, "examples": [], "residual": [1, 2.5], "elapsed_seconds": 0.1,
    "cost": None, "outcome_digest": None, "labels": {}, "metadata": {"k": None}, "reports": 0,
    "created_at": NOW.replace(microsecond=0), "started_at": None, "finished_at": datetime(999, 1, 1, tzinfo=UTC),
}  # fmt: skip


STUDY: dict[str, Any] = {
    "project": "p", "state": "active", "spec": {}, "labels": {}, "seed": 1, "pooled": True, "revision": 0, "created_at": NOW,
    "updated_at": NOW,
}  # fmt: skip


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """To a database of each kind, with the studies that the trials are of; nothing is committed."""
    found = Database(database)
    with found.writer.connect() as connection:
        connection.execute(insert(table(ProjectRow)), [{"name": "p", "created_at": NOW}])
        names = ("theirs", "inserted", "updated", "s", "many")
        connection.execute(insert(table(StudyRow)), [{"id": name, "name": name} | STUDY for name in names])
        yield connection
    found.close()


def raw(connection: Connection, study_id: str) -> tuple[Any, ...]:
    """A trial as the database holds it, with the types of its values on SQLite, where any column takes any."""
    form = '"{0}", typeof("{0}")' if connection.dialect.name == "sqlite" else 'CAST("{0}" AS text)'
    names = ", ".join(form.format(name) for name in ROW)
    (found,) = connection.exec_driver_sql(f"SELECT {names} FROM trials WHERE study_id = '{study_id}'").fetchall()
    return tuple(found)


def test_rows_are_stored_as_sqlalchemy_stores_them(connection: Connection) -> None:
    trials = table(TrialRow)
    connection.execute(insert(trials), [{"study_id": "theirs"} | ROW])
    insert_rows(connection, trials, ("study_id", *ROW), [("inserted", *ROW.values())])
    before = {**ROW, "parameters": {}, "feasible": True, "finished_at": NOW, "residual": None, "worker": "w"}
    insert_rows(connection, trials, ("study_id", *before), [("updated", *before.values())])
    changed = {name: value for name, value in ROW.items() if name != "number"}
    names = (*changed, "study_id", "number")
    update_rows(connection, trials, names, ("study_id", "number"), [(*changed.values(), "updated", ROW["number"])])
    assert raw(connection, "inserted") == raw(connection, "updated") == raw(connection, "theirs")
    rows = [dict(row) for row in connection.execute(select(trials)).mappings()]
    assert all({name: row[name] for name in ROW} == ROW for row in rows)


def test_rows_are_read_as_sqlalchemy_reads_them(connection: Connection) -> None:
    trials = table(TrialRow)
    sparse = {name: None if trials.c[name].nullable else value for name, value in ROW.items()}
    rows = [{"study_id": "s"} | ROW, {"study_id": "s"} | sparse | {"number": 2}]
    connection.execute(insert(trials), rows)
    query = select(*trials.c).order_by(trials.c.number)
    found = list(zip(*read_columns(connection, query, tuple(trials.c)), strict=True))
    assert found == [tuple(row) for row in connection.execute(query)]
    assert [list(map(type, row)) for row in found] == [list(map(type, row)) for row in connection.execute(query)]
    nothing = read_columns(connection, query.where(trials.c.number > 2), tuple(trials.c))
    assert [len(column) for column in nothing] == [0] * len(trials.c)


def test_more_rows_than_a_statement_takes(connection: Connection) -> None:
    trials = table(TrialRow)
    values = tuple(value for name, value in ROW.items() if name != "number")
    names = ("study_id", "number", *(name for name in ROW if name != "number"))
    insert_rows(connection, trials, names, [("many", number, *values) for number in range(1001)])
    numbers = select(func.count(), func.min(trials.c.number), func.max(trials.c.number)).where(
        trials.c.study_id == "many"
    )
    assert tuple(connection.execute(numbers).one()) == (1001, 0, 1000)


def test_what_rows_share_and_what_they_do_not(connection: Connection) -> None:
    trials = table(TrialRow)
    # Equal values that are not the same ones: each stays what it is.
    parameters: list[Any] = [{"x": 1}, {"x": True}, {"x": 1.0}, {"x": 0.0}, {"x": -0.0}, {}]
    values = {name: value for name, value in ROW.items() if name not in ("number", "parameters", "std", "value")}
    names = ("study_id", "number", "parameters", "std", "value", *values)
    rows = [
        ("many", number, parameters[number % 6], {"m": 0.5} if number % 3 else None, number % 2 + 0.5, *values.values())
        for number in range(2001)
    ]  # fmt: skip
    insert_rows(connection, trials, names, rows)
    query = select(trials.c.parameters, trials.c.std, trials.c.value, trials.c.labels).order_by(trials.c.number)
    found = [tuple(row) for row in connection.execute(query)]
    assert list(map(repr, found)) == [repr((p, std, value, {})) for _, _, p, std, value, *_ in rows]

    changed = [({"m": 1.0}, None, number, "many", number) for number in range(1, 2001)]
    update_rows(connection, trials, ("metrics", "std", "seq", "study_id", "number"), ("study_id", "number"), changed)
    query = select(trials.c.metrics, trials.c.std, trials.c.seq, trials.c.worker).order_by(trials.c.number)
    assert [tuple(row) for row in connection.execute(query)] == [
        ({}, None, ROW["seq"], ROW["worker"]),
        *(({"m": 1.0}, None, number, ROW["worker"]) for number in range(1, 2001)),
    ]

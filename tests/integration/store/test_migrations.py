"""Migrations go up and down on both databases and agree with the tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

from migrations.upgrade import config, downgrade, is_current, newest, upgrade
from services.domain.errors import Unavailable
from services.store.engine import database_url
from services.store.tables import Base
from tests.support.servers import Postgres


@pytest.fixture
def empty_database(empty_database: str, request: pytest.FixtureRequest) -> str:
    """The address of a database that is there, without a table."""
    if empty_database.startswith("postgresql"):
        postgres: Postgres = request.getfixturevalue("postgres")
        return postgres.create(empty_database.rpartition("/")[2])
    return empty_database


def test_up_down_and_up_again(empty_database: str) -> None:
    assert not is_current(empty_database)
    upgrade(empty_database)
    assert is_current(empty_database)
    assert ScriptDirectory.from_config(config(empty_database)).get_heads() == [newest()]
    downgrade(empty_database, "0001")
    assert not is_current(empty_database)
    downgrade(empty_database, "base")
    engine = create_engine(database_url(empty_database))
    assert set(inspect(engine).get_table_names()) == {"alembic_version"}
    engine.dispose()
    upgrade(empty_database)
    assert is_current(empty_database)


def test_a_database_that_cannot_be_opened_is_named_in_a_sentence(tmp_path: Path) -> None:
    page = tmp_path / "notes.txt"
    page.write_text("no database " * 100)
    for address in (f"sqlite:///{tmp_path}/none/asktell.db", f"sqlite:///{page}", "postgresql://me:word@127.0.0.1:1/x"):
        with pytest.raises(Unavailable, match=r"cannot be used: .") as error:
            is_current(address)
        assert "\n" not in error.value.detail and "word" not in error.value.detail


def test_a_database_of_a_newer_service_is_refused_in_words(database: str) -> None:
    engine = create_engine(database_url(database))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    assert not is_current(database)
    with pytest.raises(Unavailable, match=r"newer asktell may have made it: .*9999"):
        upgrade(database)


def test_the_migrated_schema_is_what_the_tables_say(database: str) -> None:
    command.check(config(database))


def test_two_migrations_at_once_do_the_work_once(postgres: Postgres) -> None:
    url = postgres.create("migrated_twice")
    code = f"from migrations.upgrade import upgrade; upgrade({url!r})"
    both = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert is_current(url)


def test_every_table_of_a_study_goes_with_it() -> None:
    studies = Base.metadata.tables["studies"]
    of_studies = [t for t in Base.metadata.tables.values() if "study_id" in t.c]
    assert of_studies
    for table in of_studies:
        key = next(iter(table.c["study_id"].foreign_keys))
        assert key.column.table is studies
        assert key.ondelete == "CASCADE"

"""Run migrations from code: the server on SQLite, the `migrate` command, the tests."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from services.domain.errors import Unavailable
from services.store.engine import database_url


def config(address: str) -> Config:
    """Alembic's configuration for a database."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent))
    url = database_url(address).render_as_string(hide_password=False)
    found.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return found


def upgrade(address: str, revision: str = "head") -> None:
    """Bring a database up to a revision."""
    command.upgrade(config(address), revision)


def downgrade(address: str, revision: str) -> None:
    """Bring a database back to a revision; `base` is the empty one."""
    command.downgrade(config(address), revision)


def is_current(address: str) -> bool:
    """Whether the database has the newest schema that this code knows.

    Raises:
        Unavailable: there is no such database, or it is none.
    """
    heads = set(ScriptDirectory.from_config(config(address)).get_heads())
    url = database_url(address)
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return set(MigrationContext.configure(connection).get_current_heads()) >= heads
    except DBAPIError as error:
        why = next(iter(str(error.orig).splitlines()), "")
        raise Unavailable(f"the database {url.render_as_string()} cannot be used: {why}") from error
    finally:
        engine.dispose()

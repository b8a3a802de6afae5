"""Run migrations from code: the server on SQLite, the `migrate` command, the tests.

Alembic loads only to migrate: a server whose schema is current starts a third of a second sooner without it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from services.domain.errors import Unavailable
from services.store.engine import database_url

if TYPE_CHECKING:
    from alembic.config import Config

HERE = Path(__file__).parent


def config(address: str) -> Config:
    """Alembic's configuration for a database."""
    from alembic.config import Config

    found = Config()
    found.set_main_option("script_location", str(HERE))
    url = database_url(address).render_as_string(hide_password=False)
    found.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return found


def upgrade(address: str, revision: str = "head") -> None:
    """Bring a database up to a revision.

    Raises:
        Unavailable: it is at a revision that this code does not know.
    """
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(config(address), revision)
    except CommandError as error:
        where = database_url(address).render_as_string()
        raise Unavailable(
            f"the database {where} cannot be migrated, a newer asktell may have made it: {error}"
        ) from error


def downgrade(address: str, revision: str) -> None:
    """Bring a database back to a revision; `base` is the empty one."""
    from alembic import command

    command.downgrade(config(address), revision)


def newest() -> str:
    """The newest revision that this code knows: its file has the highest number."""
    return max(file.name for file in (HERE / "versions").glob("[0-9]*.py")).partition("_")[0]


def is_current(address: str) -> bool:
    """Whether the database has the newest schema that this code knows.

    Raises:
        Unavailable: there is no such database, or it is none.
    """
    url = database_url(address)
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return False
            return newest() in connection.scalars(text("SELECT version_num FROM alembic_version")).all()
    except DBAPIError as error:
        why = next(iter(str(error.orig).splitlines()), "")
        raise Unavailable(f"the database {url.render_as_string()} cannot be used: {why}") from error
    finally:
        engine.dispose()

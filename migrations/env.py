"""How migrations run: one transaction each, one process at a time, no long waits for locks that a busy server holds."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine, text

from services.store.engine import database_url
from services.store.tables import Base

LOCK = 7_203_114_551  # any number that nobody else uses for an advisory lock in this database


def run(connection: Connection) -> None:
    """Bring the schema to where the command says."""
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        # Two migration jobs at once: the second waits, then finds its work done. Old servers still run: never queue behind their
        # locks for long, for every later statement would queue behind ours.
        connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
        connection.execute(text("SET lock_timeout = '10s'"))
        connection.commit()
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=is_sqlite, transaction_per_migration=True
    )
    try:
        with context.begin_transaction():
            context.run_migrations()
    finally:
        if not is_sqlite:
            connection.rollback()
            connection.execute(text(f"SELECT pg_advisory_unlock({LOCK})"))
            connection.commit()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    engine = create_engine(database_url(context.config.get_main_option("sqlalchemy.url") or "sqlite:///asktell.db"))
    with engine.connect() as opened:
        run(opened)
    engine.dispose()

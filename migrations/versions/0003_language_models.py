"""The ledger of language model calls, and what studies and projects have spent on them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("study_progress", sa.Column("llm", JSON, nullable=True))
    op.add_column("study_progress", sa.Column("short", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "llm_calls",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("snapshot", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request", JSON, nullable=False),
        sa.Column("reply", JSON, nullable=True),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("estimated", sa.Boolean(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_llm_calls_study_id_studies", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "key", "digest", name="pk_llm_calls"),
    )
    op.create_index("ix_llm_calls_study_id_seq", "llm_calls", ["study_id", "seq"])
    is_open = sa.text("state = 'open'")
    for name, columns in (("ix_llm_calls_open", ["study_id"]), ("ix_llm_calls_open_project", ["project", "profile"])):
        op.create_index(name, "llm_calls", columns, postgresql_where=is_open, sqlite_where=is_open)
    op.create_table(
        "llm_accounts",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("project", "profile", name="pk_llm_accounts"),
    )


def downgrade() -> None:
    op.drop_table("llm_accounts")
    op.drop_table("llm_calls")
    with op.batch_alter_table("study_progress") as batch:
        batch.drop_column("short")
        batch.drop_column("llm")

"""Update logs of seed-encoded vectors, fingerprints of their parameters, and residuals told with outcomes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("trials", sa.Column("residual", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "updates",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_updates_study_id_studies", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "version", name="pk_updates"),
    )
    op.create_table(
        "fingerprints",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_fingerprints_study_id_studies", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("study_id", "version", "worker", name="pk_fingerprints"),
    )


def downgrade() -> None:
    op.drop_table("fingerprints")
    op.drop_table("updates")
    with op.batch_alter_table("trials") as batch:
        batch.drop_column("residual")

"""A study keeps its suggester's verdict that nothing is feasible."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("study_progress", sa.Column("infeasible_suspected", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("study_progress") as batch:
        batch.drop_column("infeasible_suspected")

"""The first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "idempotency",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_expires_at", "idempotency", ["expires_at"], unique=False)

    op.create_table(
        "projects",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_projects"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_api_keys_project"),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
        sa.UniqueConstraint("digest", name="uq_api_keys_digest"),
    )
    op.create_index("ix_api_keys_project", "api_keys", ["project"], unique=False)

    op.create_table(
        "studies",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("spec", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("labels", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("pooled", sa.Boolean(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_studies_project"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
    )
    op.create_index("ix_studies_project_created_at", "studies", ["project", "created_at", "id"], unique=False)
    op.create_index("uq_studies_project_name", "studies", ["project", "name"], unique=True)

    op.create_table(
        "asks",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("open_count", sa.BigInteger(), nullable=False),
        sa.Column("trials", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("error", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_asks_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_asks"),
    )
    op.create_index("ix_asks_expires_at", "asks", ["expires_at"], unique=False)
    op.create_index("ix_asks_study_id_state", "asks", ["study_id", "state"], unique=False)

    op.create_table(
        "events",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("data", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_events_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "seq", name="pk_events"),
    )
    op.create_table(
        "measurements",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_measurements_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "number", "step", name="pk_measurements"),
    )
    op.create_index("ix_measurements_study_id_step_value", "measurements", ["study_id", "step", "value"], unique=False)
    op.create_index(
        "ix_measurements_study_id_step_number", "measurements", ["study_id", "step", "number"], unique=False
    )

    op.create_table(
        "study_progress",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("next_number", sa.BigInteger(), nullable=False),
        sa.Column("knowledge_seq", sa.BigInteger(), nullable=False),
        sa.Column("waiting", sa.BigInteger(), nullable=False),
        sa.Column("running", sa.BigInteger(), nullable=False),
        sa.Column("completed", sa.BigInteger(), nullable=False),
        sa.Column("pruned", sa.BigInteger(), nullable=False),
        sa.Column("infeasible", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("cancelled", sa.BigInteger(), nullable=False),
        sa.Column("cost", sa.Double(), nullable=False),
        sa.Column("example_evaluations", sa.BigInteger(), nullable=False),
        sa.Column("peak_running", sa.BigInteger(), nullable=False),
        sa.Column("demand", sa.BigInteger(), nullable=False),
        sa.Column("buffered", sa.BigInteger(), nullable=False),
        sa.Column("buffer_seq", sa.BigInteger(), nullable=False),
        sa.Column("wants", sa.Boolean(), nullable=False),
        sa.Column("exhausted", sa.Boolean(), nullable=False),
        sa.Column("next_lease_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_study_progress_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", name="pk_study_progress"),
        postgresql_with={"fillfactor": 50},
    )
    op.create_index("ix_study_progress_next_lease_at", "study_progress", ["next_lease_at"], unique=False)
    op.create_index(
        "ix_study_progress_wants",
        "study_progress",
        ["study_id"],
        unique=False,
        postgresql_where=sa.text("wants"),
        sqlite_where=sa.text("wants"),
    )

    op.create_table(
        "suggester_states",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("blob", sa.LargeBinary(), nullable=True),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_suggester_states_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", name="pk_suggester_states"),
    )
    op.create_table(
        "suggestions",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("parameters", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("suggester", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fallback", sa.Boolean(), nullable=False),
        sa.Column("origin", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("receipt", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("evaluate_on", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("seen_seq", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_suggestions_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "place", name="pk_suggestions"),
    )
    op.create_table(
        "trials",
        sa.Column("study_id", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("parameters", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("point_key", sa.Text(), nullable=True),
        sa.Column("metrics", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("std", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("feasible", sa.Boolean(), nullable=True),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("lease_seconds", sa.Double(), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("should_stop", sa.Boolean(), nullable=False),
        sa.Column("suggester", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fallback", sa.Boolean(), nullable=False),
        sa.Column("seen_seq", sa.BigInteger(), nullable=True),
        sa.Column("told_seq", sa.BigInteger(), nullable=True),
        sa.Column("origin", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("receipt", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("evaluate_on", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("feedback", sa.Text(), nullable=True),
        sa.Column("examples", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("elapsed_seconds", sa.Double(), nullable=True),
        sa.Column("cost", sa.Double(), nullable=True),
        sa.Column("outcome_digest", sa.Text(), nullable=True),
        sa.Column("labels", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("metadata", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("reports", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name="fk_trials_study_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("study_id", "number", name="pk_trials"),
    )
    op.create_index(
        "ix_trials_open",
        "trials",
        ["study_id", "state", "number"],
        unique=False,
        postgresql_where=sa.text("state IN ('waiting', 'running')"),
        sqlite_where=sa.text("state IN ('waiting', 'running')"),
    )
    op.create_index(
        "ix_trials_study_id_point_key",
        "trials",
        ["study_id", "point_key"],
        unique=False,
        postgresql_where=sa.text("point_key IS NOT NULL"),
        sqlite_where=sa.text("point_key IS NOT NULL"),
    )
    op.create_index("ix_trials_study_id_seq", "trials", ["study_id", "seq"], unique=False)
    op.create_index(
        "ix_trials_study_id_value",
        "trials",
        ["study_id", "value", "number"],
        unique=False,
        postgresql_where=sa.text("value IS NOT NULL"),
        sqlite_where=sa.text("value IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index(
        "ix_trials_study_id_value",
        "trials",
        postgresql_where=sa.text("value IS NOT NULL"),
        sqlite_where=sa.text("value IS NOT NULL"),
    )
    op.drop_index("ix_trials_study_id_seq", "trials")
    op.drop_index(
        "ix_trials_study_id_point_key",
        "trials",
        postgresql_where=sa.text("point_key IS NOT NULL"),
        sqlite_where=sa.text("point_key IS NOT NULL"),
    )
    op.drop_index(
        "ix_trials_open",
        "trials",
        postgresql_where=sa.text("state IN ('waiting', 'running')"),
        sqlite_where=sa.text("state IN ('waiting', 'running')"),
    )

    op.drop_table("trials")
    op.drop_table("suggestions")
    op.drop_table("suggester_states")
    op.drop_index(
        "ix_study_progress_wants", "study_progress", postgresql_where=sa.text("wants"), sqlite_where=sa.text("wants")
    )
    op.drop_index("ix_study_progress_next_lease_at", "study_progress")

    op.drop_table("study_progress")
    op.drop_index("ix_measurements_study_id_step_value", "measurements")
    op.drop_index("ix_measurements_study_id_step_number", "measurements")

    op.drop_table("measurements")
    op.drop_table("events")
    op.drop_index("ix_asks_study_id_state", "asks")
    op.drop_index("ix_asks_expires_at", "asks")

    op.drop_table("asks")
    op.drop_index("uq_studies_project_name", "studies")
    op.drop_index("ix_studies_project_created_at", "studies")

    op.drop_table("studies")
    op.drop_index("ix_api_keys_project", "api_keys")

    op.drop_table("api_keys")
    op.drop_table("projects")
    op.drop_index("ix_idempotency_expires_at", "idempotency")

    op.drop_table("idempotency")

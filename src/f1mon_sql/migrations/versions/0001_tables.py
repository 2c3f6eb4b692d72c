"""Predictions, their features and outcomes, alerts, all other facts, and state."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from f1mon_sql.migrations.making import Ident, create_table, document, drop_table

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = 1020
_KIND = 64
_STATE_KEY = 2800


def _key(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _stamps() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("at_given", sa.SmallInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("v", sa.Integer, nullable=False),
    )


def upgrade() -> None:
    """Create all tables."""
    create_table(
        "f1mon_predictions",
        _key("prediction_id", Ident(_ID)),
        sa.Column("predicted_at", sa.BigInteger),
        sa.Column("at_given", sa.SmallInteger, nullable=False, server_default="0"),
        sa.Column("recorded_at", sa.BigInteger),
        sa.Column("model_version", Ident(_ID)),
        sa.Column("predicted_outcome", sa.BigInteger),
        sa.Column("confidence", sa.Double),
        sa.Column("actual_outcome", sa.BigInteger),
        sa.Column("known_at", sa.BigInteger),
        sa.Column("first_known_at", sa.BigInteger),
        sa.Column("pruned", sa.SmallInteger, nullable=False, server_default="0"),
        indexes={
            "ix_f1mon_predictions_model": ("model_version", "predicted_at"),
            "ix_f1mon_predictions_at": ("predicted_at",),
        },
    )
    create_table(
        "f1mon_features",
        _key("prediction_id", Ident(_ID)),
        sa.Column("features", document(), nullable=False),
        sa.Column("metadata", document(), nullable=False),
    )
    create_table(
        "f1mon_outcomes",
        _key("prediction_id", Ident(_ID)),
        _key("known_at", sa.BigInteger),
        sa.Column("at_given", sa.SmallInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("actual_outcome", sa.BigInteger, nullable=False),
        indexes={"ix_f1mon_outcomes_known_at": ("known_at",)},
    )
    create_table(
        "f1mon_alerts",
        _key("alert_id", Ident(_ID)),
        *_stamps(),
        *(sa.Column(name, Ident(_ID), nullable=False) for name in ("severity", "component")),
        *(sa.Column(name, Ident(_ID), nullable=False) for name in ("model_version", "metric_name")),
        *(sa.Column(name, Ident(_ID)) for name in ("rule_id", "incident_id")),
        sa.Column("content", document(), nullable=False),
        indexes={"ix_f1mon_alerts_at": ("at", "alert_id"), "ix_f1mon_alerts_rule": ("rule_id", "at")},
    )
    create_table(
        "f1mon_facts",
        _key("kind", Ident(_KIND)),
        _key("key_1", Ident(_ID)),
        _key("key_2", Ident(_ID)),
        *_stamps(),
        sa.Column("content", document(), nullable=False),
        indexes={"ix_f1mon_facts_at": ("kind", "at")},
    )
    create_table(
        "f1mon_attributes",
        _key("kind", Ident(_KIND)),
        _key("key_1", Ident(_ID)),
        _key("key_2", Ident(_ID)),
        _key("name", Ident(_KIND)),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("value", Ident(1024), nullable=False),
        indexes={"ix_f1mon_attributes_value": ("kind", "name", "value", "at")},
    )
    create_table(
        "f1mon_state",
        _key("state_key", Ident(_STATE_KEY)),
        sa.Column("document", document()),
        sa.Column("due", sa.BigInteger),
        indexes={"ix_f1mon_state_due": ("due",)},
    )
    create_table(
        "f1mon_operations",
        _key("operation", Ident(64)),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("result", document(), nullable=False),
        indexes={"ix_f1mon_operations_at": ("at",)},
    )
    create_table(
        "f1mon_horizons",
        _key("kind", Ident(_KIND)),
        sa.Column("pruned_before", sa.BigInteger, nullable=False),
        sa.Column("outcomes_until", sa.BigInteger),
    )
    # The row that whoever writes shares and whoever prunes takes alone.
    op.execute(
        "INSERT INTO f1mon_horizons (kind, pruned_before) SELECT '', 0 FROM (SELECT 1 AS one) present"
        " WHERE NOT EXISTS (SELECT 1 FROM f1mon_horizons WHERE kind = '')"
    )


def downgrade() -> None:
    """Drop all tables, with everything in them."""
    for name in (
        "horizons",
        "operations",
        "state",
        "attributes",
        "facts",
        "alerts",
        "outcomes",
        "features",
        "predictions",
    ):
        drop_table(f"f1mon_{name}")

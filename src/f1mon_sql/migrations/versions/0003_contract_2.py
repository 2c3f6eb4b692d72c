"""Several models' predictions of an item, labels and segments that are texts, and what a store knows of itself."""

from __future__ import annotations

import uuid
from typing import Any

import sqlalchemy as sa
from alembic import op

from f1mon_core.errors import SchemaError
from f1mon_sql.migrations.expressions import DAY, FIELD, LABEL, TEXT, TIME
from f1mon_sql.migrations.making import (
    Ident,
    create_index,
    create_table,
    create_view,
    dialect_name,
    document,
    drop_index,
    drop_table,
    drop_view,
    has_column,
    rebuild,
)

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ID = 1020
_VIEWS = ("daily_accuracy", "alerts", "predictions")
_INDEXES = {
    "ix_f1mon_predictions_model": ("model_version", "predicted_at"),
    "ix_f1mon_predictions_at": ("predicted_at",),
}


def queries(name: str) -> dict[str, str]:
    """What each view selects on a family of databases."""
    time, text, field, label = TIME[name], TEXT[name], FIELD[name], LABEL[name]
    right = "actual_outcome = predicted_outcome OR actual_text = predicted_text"
    return {
        "f1mon_predictions_v": f"""SELECT {text("prediction_id")} AS prediction_id,
        {time("predicted_at")} AS predicted_at, {text("model_version")} AS model_version,
        {label("predicted_outcome", "predicted_text")} AS predicted_outcome, confidence,
        {label("actual_outcome", "actual_text")} AS actual_outcome,
        CASE WHEN known_at IS NULL THEN NULL WHEN {right} THEN 1 ELSE 0 END AS correct,
        {time("first_known_at")} AS first_known_at, {time("known_at")} AS known_at,
        {time("recorded_at")} AS recorded_at, segments
        FROM f1mon_predictions WHERE predicted_at IS NOT NULL""",
        "f1mon_alerts_v": f"""SELECT {text("a.alert_id")} AS alert_id,
        {time("a.at")} AS at, {text("a.severity")} AS severity,
        {text("a.component")} AS component, {text("a.model_version")} AS model_version,
        {text("a.metric_name")} AS metric_name, {text("a.rule_id")} AS rule_id,
        {field("a.content", "title")} AS title, {field("a.content", "message")} AS message,
        {time("k.at")} AS acknowledged_at, {field("k.content", "by")} AS acknowledged_by
        FROM f1mon_alerts a LEFT JOIN f1mon_facts k
        ON k.kind = 'acknowledgement' AND k.key_1 = a.alert_id AND k.key_2 = ''""",
        "f1mon_daily_accuracy_v": f"""SELECT {DAY[name]("predicted_at")} AS day,
        {text("model_version")} AS model_version,
        COUNT(*) AS predictions, COUNT(known_at) AS labelled,
        SUM(CASE WHEN {right} THEN 1 ELSE 0 END) AS correct,
        SUM(CASE WHEN {right} THEN 1e0 ELSE 0e0 END) / NULLIF(COUNT(known_at), 0) AS accuracy
        FROM f1mon_predictions WHERE predicted_at IS NOT NULL
        GROUP BY {DAY[name]("predicted_at")}, model_version""",
    }


def upgrade() -> None:
    """Bring tables and views to contract 2.

    SQLite makes its tables anew, inside the one transaction: between two, a writer of the older f1mon could slip in and
    be lost. The servers alter them: PostgreSQL makes indexes anew, MariaDB and MySQL the table in one step.
    """
    for name in _VIEWS:
        drop_view(f"f1mon_{name}_v")
    {"sqlite": _rebuild, "postgresql": _alter_postgresql, "mysql": _alter_mysql}[dialect_name()]()
    create_index("ix_f1mon_predictions_key", "f1mon_predictions", ("prediction_id", "model_version"), unique=True)
    if not has_column("f1mon_horizons", "stands_until"):
        op.execute("ALTER TABLE f1mon_horizons ADD COLUMN stands_until BIGINT")
    create_table(
        "f1mon_meta",
        sa.Column("name", Ident(64), primary_key=True, nullable=False),
        sa.Column("value", Ident(_ID), nullable=False),
    )
    op.execute(
        f"INSERT INTO f1mon_meta (name, value) SELECT 'store', '{uuid.uuid4().hex}' FROM (SELECT 1 AS one) present"
        " WHERE NOT EXISTS (SELECT 1 FROM f1mon_meta WHERE name = 'store')"
    )
    for view, query in queries(dialect_name()).items():
        create_view(view, query)


def _predictions(*added: sa.Column[Any]) -> tuple[sa.Column[Any], ...]:
    return (
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
        *added,
    )


def _keys(*others: sa.Column[Any]) -> tuple[sa.Column[Any], ...]:
    return (sa.Column("prediction_id", Ident(_ID), primary_key=True, nullable=False, autoincrement=False), *others)


def _ordinal() -> sa.Column[Any]:
    return sa.Column("ordinal", sa.Integer, primary_key=True, nullable=False, autoincrement=False, server_default="0")


def _rebuild() -> None:
    if has_column("f1mon_predictions", "ordinal"):
        return
    texts: list[sa.Column[Any]] = [sa.Column(name, Ident(_ID)) for name in ("predicted_text", "actual_text")]
    columns = _predictions(*texts, sa.Column("segments", sa.Text))
    rebuild("f1mon_predictions", *_keys(_ordinal(), *columns), indexes=_INDEXES)
    rebuild("f1mon_features", *_keys(_ordinal(), *_documents()))
    _rebuild_outcomes(sa.Column("actual_outcome", sa.BigInteger), sa.Column("actual_text", Ident(_ID)))


def _documents() -> tuple[sa.Column[Any], ...]:
    return tuple(sa.Column(name, document(), nullable=False) for name in ("features", "metadata"))


def _rebuild_outcomes(*labels: sa.Column[Any]) -> None:
    rebuild(
        "f1mon_outcomes",
        *_keys(
            sa.Column("known_at", sa.BigInteger, primary_key=True, nullable=False, autoincrement=False),
            sa.Column("at_given", sa.SmallInteger, nullable=False),
            sa.Column("recorded_at", sa.BigInteger, nullable=False),
            *labels,
        ),
        indexes={"ix_f1mon_outcomes_known_at": ("known_at",)},
    )


_TEXT_COLUMN = 'VARCHAR COLLATE "C"'


def _alter_postgresql() -> None:
    if has_column("f1mon_predictions", "ordinal"):
        return
    inspector = sa.inspect(op.get_bind())
    for table, added in (
        ("f1mon_predictions", [f"predicted_text {_TEXT_COLUMN}", f"actual_text {_TEXT_COLUMN}", "segments TEXT"]),
        ("f1mon_features", []),
    ):
        key = inspector.get_pk_constraint(table)["name"]
        steps = [f"ADD COLUMN {one}" for one in ("ordinal INTEGER NOT NULL DEFAULT 0", *added)]
        steps += [f"DROP CONSTRAINT {key}", f"ADD CONSTRAINT {key} PRIMARY KEY (prediction_id, ordinal)"]
        op.execute(f"ALTER TABLE {table} {', '.join(steps)}")
    op.execute(
        f"ALTER TABLE f1mon_outcomes ADD COLUMN actual_text {_TEXT_COLUMN}, ALTER COLUMN actual_outcome DROP NOT NULL"
    )


def _alter_mysql() -> None:
    ordinal = "ADD COLUMN ordinal INTEGER NOT NULL DEFAULT 0 AFTER prediction_id"
    key = "DROP PRIMARY KEY, ADD PRIMARY KEY (prediction_id, ordinal)"
    text = f"VARBINARY({_ID}) NULL"
    if not has_column("f1mon_predictions", "ordinal"):
        texts = f"ADD COLUMN predicted_text {text}, ADD COLUMN actual_text {text}, ADD COLUMN segments TEXT"
        unique = "ADD UNIQUE INDEX ix_f1mon_predictions_key (prediction_id, model_version)"
        op.execute(f"ALTER TABLE f1mon_predictions {ordinal}, {texts}, {key}, {unique}")
    if not has_column("f1mon_features", "ordinal"):
        op.execute(f"ALTER TABLE f1mon_features {ordinal}, {key}")
    if not has_column("f1mon_outcomes", "actual_text"):
        op.execute(f"ALTER TABLE f1mon_outcomes ADD COLUMN actual_text {text}, MODIFY actual_outcome BIGINT NULL")


# Back -----------------------------------------------------------------------------------------------------------------


_ONLY_HERE = {
    "predictions of an item by several models": "SELECT 1 FROM f1mon_predictions WHERE ordinal > 0",
    "labels that are texts": "SELECT 1 FROM f1mon_predictions WHERE predicted_text IS NOT NULL",
    "outcomes that are texts": "SELECT 1 FROM f1mon_outcomes WHERE actual_text IS NOT NULL",
    "segments": "SELECT 1 FROM f1mon_predictions WHERE segments IS NOT NULL",
    "pruned predictions": "SELECT 1 FROM f1mon_predictions WHERE pruned = 1 AND model_version IS NOT NULL",
    "kept cells": "SELECT 1 FROM f1mon_facts WHERE kind = 'kept_cells'",
}
"""What revision 0002 has no place for."""


def downgrade() -> None:
    """Go back, where nothing is stored that the older schema has no place for."""
    connection = op.get_bind()
    if has_column("f1mon_predictions", "ordinal") and has_column("f1mon_outcomes", "actual_text"):
        for what, query in _ONLY_HERE.items():
            if connection.exec_driver_sql(f"{query} LIMIT 1").first() is not None:
                raise SchemaError(f"this database holds {what}, which schema {down_revision} has no place for")
    for name in _VIEWS:
        drop_view(f"f1mon_{name}_v")
    drop_table("f1mon_meta")
    drop_index("ix_f1mon_predictions_key", "f1mon_predictions")
    {"sqlite": _rebuild_back, "postgresql": _alter_back_postgresql, "mysql": _alter_back_mysql}[dialect_name()]()
    if has_column("f1mon_horizons", "stands_until"):
        op.execute("ALTER TABLE f1mon_horizons DROP COLUMN stands_until")
    from importlib import import_module  # noqa: PLC0415 - the module's name is no identifier

    for view, query in import_module("f1mon_sql.migrations.versions.0002_views").queries(dialect_name()).items():
        create_view(view, query)


def _rebuild_back() -> None:
    rebuild("f1mon_predictions", *_keys(*_predictions()), indexes=_INDEXES)
    rebuild("f1mon_features", *_keys(*_documents()))
    _rebuild_outcomes(sa.Column("actual_outcome", sa.BigInteger, nullable=False))


def _alter_back_postgresql() -> None:
    inspector = sa.inspect(op.get_bind())
    for table in ("f1mon_predictions", "f1mon_features"):
        key = inspector.get_pk_constraint(table)["name"]
        op.execute(f"ALTER TABLE {table} DROP COLUMN ordinal, ADD CONSTRAINT {key} PRIMARY KEY (prediction_id)")
    op.execute(
        "ALTER TABLE f1mon_predictions DROP COLUMN predicted_text, DROP COLUMN actual_text, DROP COLUMN segments"
    )
    op.execute("ALTER TABLE f1mon_outcomes DROP COLUMN actual_text, ALTER COLUMN actual_outcome SET NOT NULL")


def _alter_back_mysql() -> None:
    key = "DROP PRIMARY KEY, ADD PRIMARY KEY (prediction_id), DROP COLUMN ordinal"
    texts = "DROP COLUMN predicted_text, DROP COLUMN actual_text, DROP COLUMN segments"
    if has_column("f1mon_predictions", "ordinal"):
        op.execute(f"ALTER TABLE f1mon_predictions {key}, {texts}")
    if has_column("f1mon_features", "ordinal"):
        op.execute(f"ALTER TABLE f1mon_features {key}")
    if has_column("f1mon_outcomes", "actual_text"):
        op.execute("ALTER TABLE f1mon_outcomes DROP COLUMN actual_text, MODIFY actual_outcome BIGINT NOT NULL")

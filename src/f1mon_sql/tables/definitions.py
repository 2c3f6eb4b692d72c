"""The tables, as the newest migration leaves them.

Keys are natural. Instants are integer microseconds UTC, flags are 0 or 1, documents are ASCII JSON text.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator, TypeEngine

from f1mon_core.errors import CorruptStoreError

MYSQL_NAMES = ("mysql", "mariadb")
PREFIX = "f1mon_"
VERSION_TABLE = "f1mon_alembic_version"

BYTES_PER_CHARACTER = 4
KIND_CHARACTERS = 64
ATTRIBUTE_BYTES = 1024
STATE_KEY_BYTES = 700 * BYTES_PER_CHARACTER


class Ident(TypeDecorator[str]):
    """Text that compares by code point everywhere: bytes of UTF-8 on MariaDB and MySQL, collation "C" on PostgreSQL."""

    impl = sa.Text
    cache_ok = True

    def __init__(self, size: int) -> None:
        """Make the type for at most `size` bytes of UTF-8."""
        super().__init__()
        self.size = size

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """See `TypeDecorator.load_dialect_impl`."""
        if dialect.name in MYSQL_NAMES:
            return dialect.type_descriptor(sa.VARBINARY(self.size))
        return dialect.type_descriptor(sa.Text(collation="C" if dialect.name == "postgresql" else None))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """See `TypeDecorator.process_bind_param`."""
        return value.encode() if value is not None and dialect.name in MYSQL_NAMES else value

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002 - the bytes say it
        """See `TypeDecorator.process_result_value`."""
        return utf8(value) if isinstance(value, bytes | bytearray) else value


def utf8(value: bytes | bytearray) -> str:
    """Text from the bytes it is kept as."""
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        raise CorruptStoreError(f"a stored text is not UTF-8 ({bytes(value)[:40]!r}); run `f1mon check`") from None


def _id() -> Ident:
    return Ident(255 * BYTES_PER_CHARACTER)


def _document() -> TypeEngine[str]:
    return sa.Text().with_variant(mysql.LONGTEXT(), *MYSQL_NAMES)


def _table(name: str, *parts: sa.Column[Any] | sa.Index) -> sa.Table:
    return sa.Table(
        PREFIX + name,
        metadata,
        *parts,
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_bin",
    )


def _key(name: str, kind: TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


metadata = sa.MetaData(naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(column_0_label)s"})

predictions = _table(
    "predictions",
    # One row for each model's prediction of an item. Ordinal 0 belongs to whoever came first, and whoever writes a
    # prediction or an outcome of the item locks it. Without `predicted_at` a row is the stub of an early outcome (it is
    # its item's only one, and has no model) or, with `pruned`, what pruning leaves of a key; pruned without a model it
    # stands for every model.
    _key("prediction_id", _id()),
    sa.Column("ordinal", sa.Integer, primary_key=True, nullable=False, autoincrement=False, server_default="0"),
    sa.Column("predicted_at", sa.BigInteger),
    sa.Column("at_given", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("recorded_at", sa.BigInteger),
    sa.Column("model_version", _id()),
    # A label is an integer or a text, and so in one of two columns.
    sa.Column("predicted_outcome", sa.BigInteger),
    sa.Column("predicted_text", _id()),
    sa.Column("confidence", sa.Double),
    # Canonical ASCII JSON, so that equal segments are equal texts; NULL where there are none.
    sa.Column("segments", sa.Text),
    # The item's outcome with the newest known_at, and when its first one was known: the same in all rows of an item.
    sa.Column("actual_outcome", sa.BigInteger),
    sa.Column("actual_text", _id()),
    sa.Column("known_at", sa.BigInteger),
    sa.Column("first_known_at", sa.BigInteger),
    sa.Column("pruned", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Index("ix_f1mon_predictions_key", "prediction_id", "model_version", unique=True),
    sa.Index("ix_f1mon_predictions_model", "model_version", "predicted_at"),
    sa.Index("ix_f1mon_predictions_at", "predicted_at"),
)

features = _table(
    "features",
    _key("prediction_id", _id()),
    sa.Column("ordinal", sa.Integer, primary_key=True, nullable=False, autoincrement=False, server_default="0"),
    sa.Column("features", _document(), nullable=False),
    sa.Column("metadata", _document(), nullable=False),
)

outcomes = _table(
    "outcomes",
    _key("prediction_id", _id()),
    _key("known_at", sa.BigInteger()),
    sa.Column("at_given", sa.SmallInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("actual_outcome", sa.BigInteger),
    sa.Column("actual_text", _id()),
    sa.Index("ix_f1mon_outcomes_known_at", "known_at"),
)

alerts = _table(
    "alerts",
    _key("alert_id", _id()),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("at_given", sa.SmallInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("v", sa.Integer, nullable=False),
    sa.Column("severity", _id(), nullable=False),
    sa.Column("component", _id(), nullable=False),
    sa.Column("model_version", _id(), nullable=False),
    sa.Column("metric_name", _id(), nullable=False),
    sa.Column("rule_id", _id()),
    sa.Column("incident_id", _id()),
    sa.Column("content", _document(), nullable=False),
    sa.Index("ix_f1mon_alerts_at", "at", "alert_id"),
    sa.Index("ix_f1mon_alerts_rule", "rule_id", "at"),
)

facts = _table(
    "facts",
    # Every other kind. A key of one part has '' as its second.
    _key("kind", Ident(KIND_CHARACTERS)),
    _key("key_1", _id()),
    _key("key_2", _id()),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("at_given", sa.SmallInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("v", sa.Integer, nullable=False),
    sa.Column("content", _document(), nullable=False),
    sa.Index("ix_f1mon_facts_at", "kind", "at"),
)

attributes = _table(
    "attributes",
    # What a kind in `facts` declares to be selected by; one row for each attribute, with its value and type as text.
    _key("kind", Ident(KIND_CHARACTERS)),
    _key("key_1", _id()),
    _key("key_2", _id()),
    _key("name", Ident(KIND_CHARACTERS)),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("value", Ident(ATTRIBUTE_BYTES), nullable=False),
    sa.Index("ix_f1mon_attributes_value", "kind", "name", "value", "at"),
)

state = _table(
    "state",
    # A row without a document is a claim on an absent one; it lives only inside the transaction that made it.
    _key("state_key", Ident(STATE_KEY_BYTES)),
    sa.Column("document", _document()),
    sa.Column("due", sa.BigInteger),
    sa.Index("ix_f1mon_state_due", "due"),
)

operations = _table(
    "operations",
    # The results of transitions, by the digest of state key and operation id.
    _key("operation", Ident(64)),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("result", _document(), nullable=False),
    sa.Index("ix_f1mon_operations_at", "at"),
)

horizons = _table(
    "horizons",
    # The kind '' is always there: writers share a lock on it, and whoever prunes takes it alone.
    _key("kind", Ident(KIND_CHARACTERS)),
    sa.Column("pruned_before", sa.BigInteger, nullable=False),
    sa.Column("outcomes_until", sa.BigInteger),
    sa.Column("stands_until", sa.BigInteger),
)

meta = _table(
    "meta",
    # What a store knows of itself: `store`, its id, and `restored_from`, that of the store it was restored from.
    _key("name", Ident(KIND_CHARACTERS)),
    sa.Column("value", _id(), nullable=False),
)

"""Empty places beside a database, for those who try the backend out: they come, and go, with everything in them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

from f1mon_sql.connect import statements
from f1mon_sql.connect.target import Target, target_of


@contextmanager
def fresh_sql(*, url: str | URL, **options: Any) -> Iterator[Mapping[str, Any]]:
    """Options that open an empty database file, schema (PostgreSQL) or database (MariaDB, MySQL) beside an address.

    Needs the right to create one on a server. Nothing at the address itself is read or written.
    """
    given = sa.make_url(url)
    target = target_of(given)
    if target.family == "sqlite":
        beside = Path(given.database or ".").absolute().parent
        with tempfile.TemporaryDirectory(prefix="f1mon-", dir=beside) as directory:
            yield {**options, "url": given.set(database=f"{directory}/f1mon.db").render_as_string(hide_password=False)}
        return
    name = f"f1mon_fresh_{token_hex(6)}"
    if target.family == "postgresql":
        kind, fresh = "SCHEMA", given.update_query_dict({"options": f"-csearch_path={name}"})
    else:
        kind, fresh = "DATABASE", given.set(database=name)
    _alone(target, f"CREATE {kind} {name}")
    try:
        yield {**options, "url": fresh.render_as_string(hide_password=False)}
    finally:
        _alone(target, f"DROP {kind} {name}{' CASCADE' if kind == 'SCHEMA' else ''}")


def _alone(target: Target, statement: str) -> None:
    """Run one statement over a connection of its own."""
    engine = sa.create_engine(
        target.url,
        connect_args=dict(target.arguments),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
        hide_parameters=True,
    )
    with engine.connect() as connection:
        statements.rows(connection, statement)
    engine.dispose()

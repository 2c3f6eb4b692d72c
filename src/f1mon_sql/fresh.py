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

from f1mon_sql.connect.engine import Place, place_of


@contextmanager
def fresh_sql(*, url: str | URL, **options: Any) -> Iterator[Mapping[str, Any]]:
    """Options that open an empty database file, schema (PostgreSQL) or database (MariaDB, MySQL) beside an address.

    Needs the right to create one on a server. Nothing at the address itself is read or written.
    """
    given = sa.make_url(url)
    place = place_of(given)
    if place.family == "sqlite":
        beside = Path(given.database or ".").absolute().parent
        with tempfile.TemporaryDirectory(prefix="f1mon-", dir=beside) as directory:
            yield {**options, "url": given.set(database=f"{directory}/f1mon.db").render_as_string(hide_password=False)}
        return
    name = f"f1mon_fresh_{token_hex(6)}"
    if place.family == "postgresql":
        kind, fresh = "SCHEMA", given.update_query_dict({"options": f"-csearch_path={name}"})
    else:
        kind, fresh = "DATABASE", given.set(database=name)
    _alone(place, f"CREATE {kind} {name}")
    try:
        yield {**options, "url": fresh.render_as_string(hide_password=False)}
    finally:
        _alone(place, f"DROP {kind} {name}{' CASCADE' if kind == 'SCHEMA' else ''}")


def _alone(place: Place, statement: str) -> None:
    """Run one statement over a connection of its own."""
    engine = sa.create_engine(
        place.url,
        connect_args=dict(place.arguments),
        isolation_level="AUTOCOMMIT",
        poolclass=sa.NullPool,
        hide_parameters=True,
    )
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()

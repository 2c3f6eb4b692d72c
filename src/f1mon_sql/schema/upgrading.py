"""What `f1mon db` does: which schema a database has, how it differs, and how it gets to another one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import attrs
from sqlalchemy import Connection
from sqlalchemy.engine import URL

from f1mon_core.errors import F1monError, SchemaError
from f1mon_sql.connect import statements
from f1mon_sql.connect.engine import make_engine
from f1mon_sql.connect.errors import CONNECTING, cause_of, unreachable
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.target import target_of
from f1mon_sql.dialects import Dialect, dialect_of
from f1mon_sql.schema import versions
from f1mon_sql.transactions import Transactions

R = TypeVar("R")

_log = logging.getLogger("f1mon.sql")


@attrs.frozen
class Revision:
    """One step of the schema's history.

    Attributes:
        revision: Its name; names order by time.
        summary: What it changed.
    """

    revision: str
    summary: str


@attrs.frozen
class Upgrade:
    """What an upgrade did: the revisions before and after, None for no tables."""

    before: str | None
    after: str | None


def history() -> Sequence[Revision]:
    """Every revision this f1mon knows, oldest first."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - only for who asks

    scripts = ScriptDirectory.from_config(versions.configuration())
    found = [Revision(one.revision, (one.doc or "").rstrip(".")) for one in scripts.walk_revisions()]
    return found[::-1]


def current(url: str | URL) -> str | None:
    """The revision a database is at; None where f1mon has no tables."""
    with _opened(url, Settings()) as run:
        revision: str | None = run(versions.stored_revision, False)
        return revision


def require_current(url: str | URL) -> None:
    """Refuse a database that is not at this f1mon's schema, by a `SchemaError` with what is in the way and the step."""
    address = target_of(url).address

    def work(connection: Connection) -> None:
        dialect_of(connection.dialect.name).at_home(connection)
        revision = versions.stored_revision(connection)
        versions.refuse(connection, revision, address)
        if revision is None:
            raise versions.refusal(revision, address)

    with _opened(url, Settings()) as run:
        run(work, False)


def upgrade(
    url: str | URL, revision: str = "head", *, lock_timeout: float = 300.0, announce: Callable[[str], None] = _log.info
) -> Upgrade:
    """Bring a database to a revision, older or newer than the one it is at; alone, and again if it was interrupted.

    Args:
        url: The database.
        revision: To which one.
        lock_timeout: Seconds to wait for someone else's upgrade.
        announce: Told, before it begins, what a step that touches every row takes.

    Raises:
        SchemaError: If a newer f1mon made the schema, somebody else tables of f1mon's names, or there is no such
            revision.
        LockTimeoutError: If someone else upgrades for longer than `lock_timeout` seconds.
    """
    goal = versions.HEAD if revision == "head" else revision
    if goal not in (*versions.REVISIONS, "base"):
        known = ", ".join((*versions.REVISIONS, "head"))
        raise SchemaError(f"there is no revision {revision!r}; there are {known}")
    target = target_of(url)

    def work(connection: Connection) -> Upgrade:
        with transactions.dialect.alone(connection, lock_timeout):
            before = versions.stored_revision(connection)
            if versions.version_of(before) is versions.Version.NEWER:
                raise versions.refusal(before, target.address)
            if goal != "base":
                if before is None:
                    versions.refuse_foreign(connection, target.address)
                else:
                    versions.refuse_incomplete(connection, before, target.address)
            if before is not None and before < ROWS_REWRITTEN_BY <= goal != "base":
                announce(f"{target.address}: {_effort(connection, transactions.dialect)}")
            versions.run_migrations(connection, lambda config, command: _move(config, command, before, goal))
            return Upgrade(before, versions.stored_revision(connection))

    transactions = Transactions(target, Settings(lock_timeout=lock_timeout))
    with _opened(url, Settings(lock_timeout=lock_timeout)) as run:
        done: Upgrade = run(work, True)
        return done


ROWS_REWRITTEN_BY = "0003"
"""The revision that touches every prediction, set of features and outcome."""
_ROWS_PER_SECOND = 50_000
_MIB = 1 << 20


def _effort(connection: Connection, dialect: Dialect) -> str:
    """What revision 0003 takes, as a sentence."""
    tables = [f"f1mon_{name}" for name in ("predictions", "features", "outcomes")]
    ((rows,),) = statements.rows(connection, f"SELECT {' + '.join(f'(SELECT COUNT(*) FROM {one})' for one in tables)}")
    size = dialect.rewritten_bytes(connection, tables)
    seconds, mib = max(1, rows // _ROWS_PER_SECOND), max(1, size // _MIB)
    return (
        f"every prediction and outcome is touched, {rows} rows: it takes about {seconds} s and, until it is done, "
        f"up to {mib} MiB more on disk; interrupted, it can be run again"
    )


def _move(config: Any, command: Any, before: str | None, goal: str) -> None:
    if before is not None and (goal == "base" or goal < before):
        command.downgrade(config, goal)
    elif goal != "base":
        command.upgrade(config, goal)


def drift(url: str | URL) -> list[str]:
    """How a database differs from the schema of this f1mon, one line each; empty if it does not."""
    with _opened(url, Settings()) as run:
        return [str(one) for one in run(versions.drift, False)]


@contextmanager
def _opened(url: str | URL, settings: Settings) -> Iterator[Callable[[Callable[[Connection], Any], bool], Any]]:
    target = target_of(url)
    transactions = Transactions(target, settings)
    engine = make_engine(target, settings)

    def run(work: Callable[[Connection], Any], write: bool) -> Any:
        try:
            connection = engine.connect()
        except F1monError:
            raise
        except CONNECTING as error:
            raise unreachable(error, target.secrets) from cause_of(error, target.secrets)
        with connection:
            return transactions.run(connection, work, write=write)

    try:
        yield run
    finally:
        engine.dispose()
        transactions.close()

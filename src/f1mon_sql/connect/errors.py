"""What a driver's error means: nothing written, fate unknown, locked by someone else, or damaged."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from f1mon_core.errors import (
    ConfigurationError,
    CorruptStoreError,
    F1monError,
    LockTimeoutError,
    NotWritten,
    OutcomeUnknown,
    ReadOnlyError,
)
from f1mon_sql.connect.refusals import refused

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_LOCK_STATES = {"55P03"}
_AGAIN_STATES = {"40001", "40P01"}
_OUTDATED_PLAN = "0A000"
_LOCK_NUMBERS = {1205, 3572}
_AGAIN_NUMBERS = {1213, 1020}
_MYSQL_SAID_NO = range(1000, 2000)
"""Error numbers of the server itself; those of a lost connection are above 2000."""
_MYSQL_ENDING = {1053, 1152, 1153, 1158, 1159, 1160, 1161, 1184, 1927}
"""Server errors that come with the end of the connection."""

_READ_ONLY_STATE = "25006"
_READ_ONLY_NUMBERS = {1792, 1836}
_OPTION_PREVENTS = 1290
_READ_ONLY = re.compile("read.only", re.IGNORECASE)
_MISSET = re.compile(
    r"bad value for \w+|invalid [\w ]*(?:value|port number|connection option)|definition of service .* not found"
    r"|syntax error in service file|service file .* not found|could not match \d+ (?:port|host)|missing .= after"
    r"|(?:certificate|key) file .* (?:does not exist|could not|has)|value .* invalid when|could not (?:read|parse) .*"
    " file"
)
"""What libpq and psycopg say of an address or a variable before they have asked any server."""
_DENIED_STATE = "42501"
_DENIED_NUMBERS = {1044, 1142, 1143, 1227}
_READ_ONLY_FILE = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}
_POOLER = ("unsupported startup parameter", 'prepared statement "_pg3_')


class Secrets:
    """What must not be seen in any message."""

    def __init__(self, secrets: Iterable[str | None] = ()) -> None:
        found = sorted({one for one in secrets if one}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None

    def hide(self, text: str) -> str:
        """The text without them."""
        return text if self._pattern is None else self._pattern.sub("***", text)


def is_transient(error: BaseException) -> bool:
    """Whether the server gave up this transaction to end a deadlock, so that the same again will do."""
    state, number = _codes(error)
    return state in _AGAIN_STATES or number in _AGAIN_NUMBERS


def is_stale(error: BaseException) -> bool:
    """Whether a connection was found to be gone, or to have prepared its statements for tables as they were before."""
    return isinstance(error, DBAPIError) and (error.connection_invalidated or _codes(error)[0] == _OUTDATED_PLAN)


def is_read_only(error: BaseException) -> bool:
    """Whether a server answered that it takes no writes, as a demoted primary does for as long as one asks it."""
    state, number = _codes(error)
    if number == _OPTION_PREVENTS:
        return _READ_ONLY.search(str(error)) is not None  # another option may be in the way
    return state == _READ_ONLY_STATE or number in _READ_ONLY_NUMBERS


def is_denied(error: BaseException) -> bool:
    """Whether a server answered that the role or account may not do what it was asked, or SQLite that the file is not
    to be written; it stays so until somebody grants it.
    """
    state, number = _codes(error)
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    return state == _DENIED_STATE or number in _DENIED_NUMBERS or (code is not None and code & 0xFF in _READ_ONLY_FILE)


def is_damage(error: DBAPIError) -> bool:
    """Whether SQLite says that its file, or a text in it, is damaged."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is None:  # Python's driver found it, not SQLite
        return isinstance(error.orig, sqlite3.Error) and "decode to UTF-8" in str(error.orig)
    return code & 0xFF in _DAMAGED


def translated(error: SQLAlchemyError, secrets: Secrets, *, committing: bool) -> F1monError:
    """The error of f1mon that a driver's error comes to.

    Args:
        error: What SQLAlchemy raised.
        secrets: What to leave out of the message.
        committing: Whether COMMIT had been sent.
    """
    said = secrets.hide(_said(error))
    state, number = _codes(error)
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
    primary = None if code is None else code & 0xFF
    if isinstance(error, DBAPIError) and is_damage(error):
        return CorruptStoreError(f"the database is damaged ({said}); run `f1mon check`")
    if (misset := _misset(said, asked=(state, number, code) != (None, None, None))) is not None:
        return misset
    if isinstance(error, PoolTimeoutError):
        return LockTimeoutError(f"no connection became free in time ({said}); nothing was written")
    if primary in _BUSY or state in _LOCK_STATES or number in _LOCK_NUMBERS:
        return LockTimeoutError(f"another writer held a lock for longer than the timeout ({said}); nothing was written")
    if committing and not _refused(error, state, number, primary):
        return OutcomeUnknown(f"COMMIT was sent and its answer was lost ({said}); repeat the call, which is safe")
    lost = NotWritten(f"the database refused or was lost ({said}); nothing was written, and to repeat is safe")
    return refused(said, state, number, primary) or lost


def _misset(said: str, *, asked: bool) -> ConfigurationError | None:
    """The error of f1mon for an address or a variable that cannot work; `asked` is whether a server said so."""
    if any(sign in said for sign in _POOLER):
        return ConfigurationError(
            f"a pooler such as PgBouncer stands before the server and did not pass something on ({said}); nothing was"
            " written: f1mon finds out by itself that it is there, so take PGOPTIONS out of the environment, and all"
            " but `-c name=value` out of the address's options"
        )
    if not asked and _MISSET.search(said):
        return ConfigurationError(f"the address, or a variable such as PGPORT, cannot be used: {said}")
    return None


def read_only(error: SQLAlchemyError, secrets: Secrets, address: str, where: str) -> ReadOnlyError:
    """The error of f1mon for a server that takes no writes."""
    return ReadOnlyError(
        f"{address} leads to a server that takes no writes: {where} ({secrets.hide(_said(error))}); nothing"
        " was written. While a failover is under way, repeat it; else let the address lead to the primary, or the role"
        " write"
    )


CONNECTING = (SQLAlchemyError, TypeError, ValueError, LookupError, RuntimeError, OSError, AssertionError)
"""What SQLAlchemy and the drivers raise where they do not get a connection."""


def unreachable(error: Exception, secrets: Secrets) -> F1monError:
    """The error of f1mon for no connection, from one of `CONNECTING`: nothing has been sent."""
    if isinstance(error, UnicodeError):
        # Its text or its `object` may hold what could not be encoded, a password perhaps.
        if isinstance(error, UnicodeEncodeError) and error.encoding != "idna":
            return ConfigurationError(
                f"the user or the password has a character that the driver cannot send in {error.encoding}"
            )
        return ConfigurationError("the server's host is no name that a network could know: look at its dots and length")
    if isinstance(error, OSError):
        said = secrets.hide(str(error))
        return NotWritten(f"the database cannot be reached ({said}); nothing was written, and to repeat is safe")
    if not isinstance(error, SQLAlchemyError | TypeError):  # a host that is no name, a plugin that is not installed
        said = secrets.hide(" ".join(str(error).split()))
        if isinstance(error, LookupError | AssertionError):
            # SQLAlchemy asks a new server who it is, and reads the answer by its place in the row.
            said += "; rows must be tuples: leave out row_factory, cursorclass and the like"
        return ConfigurationError(f"the driver cannot connect by this address ({type(error).__name__}: {said})")
    if isinstance(error, TypeError):
        # SQLAlchemy asks a new server who it is, and in SQL_ASCII psycopg answers it with bytes.
        return ConfigurationError(
            f"SQLAlchemy cannot read what the server answers ({error}): the engine's connections must be UTF8, not"
            ' SQL_ASCII (connect_args={"client_encoding": "utf8"})'
        )
    if not isinstance(error, SQLAlchemyError):
        raise error
    return translated(error, secrets, committing=False)


def _refused(error: SQLAlchemyError, state: str | None, number: int | None, code: int | None) -> bool:
    """Whether the database itself said that it did not commit."""
    if code is not None:
        return code == sqlite3.SQLITE_FULL
    if number is not None:
        return number in _MYSQL_SAID_NO and number not in _MYSQL_ENDING
    if state is not None:
        return state[:2] in {"40", "23", "25"}
    return not isinstance(error, DBAPIError)


def _codes(error: BaseException) -> tuple[str | None, int | None]:
    original: Any = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None)
    first = original.args[0] if original is not None and original.args else None
    return state, first if type(first) is int else None


def cause_of(error: Exception, secrets: Secrets) -> BaseException | None:
    """The driver's own error, to be named as the cause: SQLAlchemy's text would repeat the statement.

    None where it may hold a password, or quotes what must not be seen.
    """
    if isinstance(error, UnicodeError):
        return None
    original: BaseException = getattr(error, "orig", None) or error
    return original if secrets.hide(text := repr(original)) == text else None


def _said(error: SQLAlchemyError) -> str:
    original = getattr(error, "orig", None)
    text = str(original if original is not None else error)
    return " ".join(text.split())

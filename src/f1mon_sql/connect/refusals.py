"""What a database refuses for good: its error, and what to do before the same is tried again."""

from __future__ import annotations

import re
import sqlite3
from typing import NamedTuple

from f1mon_core.errors import (
    AccessDeniedError,
    ConfigurationError,
    CorruptStoreError,
    F1monError,
    NoSpaceError,
    ReadOnlyError,
    RefusedError,
    SchemaError,
    TooLargeError,
)


class Refusal(NamedTuple):
    """One kind of what a database refuses.

    Attributes:
        error: The error of f1mon.
        what: What it is, for its message.
        step: What to do next.
        states: PostgreSQL's SQLSTATEs, or their first two characters.
        numbers: MariaDB's and MySQL's error numbers.
        codes: SQLite's primary result codes.
        said: What the database says, where it has no code for it.
    """

    error: type[F1monError]
    what: str
    step: str
    states: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()
    codes: frozenset[int] = frozenset()
    said: re.Pattern[str] | None = None


def _texts(*parts: str) -> re.Pattern[str]:
    return re.compile("|".join(parts), re.IGNORECASE)


_REFUSALS = (
    Refusal(
        NoSpaceError,
        "there is no room for it",
        "make room on the server's disk, or raise its limits; then repeat it",
        frozenset({"53100"}),
        frozenset({1021, 1114}),
        frozenset({sqlite3.SQLITE_FULL}),
        _texts(r"no space left on device", r"\bgot error 28\b", r"\berrno: 28\b", r"disk quota exceeded"),
    ),
    Refusal(
        CorruptStoreError,
        "the database is damaged",
        "run `f1mon check`, and restore a backup",
        frozenset({"XX001", "XX002"}),
        frozenset({126, 127, 134, 144, 145, 1034, 1035, 1194, 1195, 1877}),
    ),
    Refusal(
        SchemaError,
        "a table or a column of f1mon's is not there",
        "run `f1mon db check` to see what differs, and restore it from a backup",
        frozenset({"42P01", "42703", "42883"}),
        frozenset({1051, 1054, 1109, 1146, 1356}),
        said=_texts(r"^no such (table|column|view)", r"^table \S+ has no column named"),
    ),
    Refusal(
        AccessDeniedError,
        "this account may not do it",
        "GRANT it what it lacks (docs/operating.md), or let the address name another account",
        frozenset({"28", "42501"}),
        frozenset({1044, 1045, 1130, 1142, 1143, 1227, 1251, 1370, 1698, 1820, 1862, 4151}),
        frozenset({sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}),
        _texts(
            r"FATAL: +(password|peer|ident|LDAP|GSSAPI|SSPI|PAM|RADIUS|certificate|\w+) authentication failed",
            r'FATAL: +role ".*" (does not exist|is not permitted to log in)',
            r"FATAL: +no pg_hba\.conf entry",
            r"FATAL: +permission denied",
            r"no password supplied",
            r"caching_sha2_password|sha256_password",
        ),
    ),
    Refusal(
        ConfigurationError,
        "the address or a setting says what the server does not have",
        "correct it",
        frozenset({"3D000", "3F000", "42704", "22023", "55P02", "F0000"}),
        frozenset({1049, 1115, 1193, 1231, 1273, 1298, 1524, 2005, 2059}),
        said=_texts(
            r'FATAL: +database ".*" does not exist',
            r"FATAL: +unrecognized configuration parameter",
            r"FATAL: +invalid (value|command-line argument)",
            r"^(invalid|unrecognized|unsupported) .*\b(value|option|parameter|port)\b",
            r"(definition of )?service (file )?\".*\" not found",
        ),
    ),
    Refusal(
        ReadOnlyError,
        "the database file, or its directory, takes no writes",
        "give the process the right to write both, and remount the disk if it is read-only",
        codes=frozenset({sqlite3.SQLITE_READONLY}),
    ),
    Refusal(
        AccessDeniedError,
        "the database file cannot be opened",
        "look whether its directory is there, and whether the process may read and write it",
        codes=frozenset({sqlite3.SQLITE_CANTOPEN}),
    ),
    Refusal(
        TooLargeError,
        "a value is larger than the database takes",
        "raise the server's limit (max_allowed_packet on MariaDB and MySQL), or write less at once",
        frozenset({"22", "54"}),
        frozenset({1069, 1070, 1071, 1118, 1139, 1153, 1162, 1263, 1264, 1301, 1366, 1367, 1390, 1406, 1436, 3170}),
        frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_RANGE, sqlite3.SQLITE_MISMATCH}),
        _texts(
            r"^error binding parameter",
            r"^too many SQL variables",
            r"number of parameters must be between",
            r"max_allowed_packet",
        ),
    ),
    Refusal(
        RefusedError,
        "the database refuses it",
        "look at what it says: a trigger, a constraint, a rule or a version that f1mon does not know is in the way",
        frozenset({"0A", "23", "27", "42", "44", "P0", "2F", "38", "39"}),
        frozenset({1062, 1048, 1064, 1216, 1217, 1290, 1364, 1419, 1442, 1451, 1452, 1644, 3819, 4025}),
        frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_NOLFS, sqlite3.SQLITE_SCHEMA}),
    ),
)


def refused(said: str, state: str | None, number: int | None, code: int | None) -> F1monError | None:
    """The error for what a database said, if it is one that no repeat mends.

    Args:
        said: Its message, without secrets.
        state: PostgreSQL's SQLSTATE, if there is one.
        number: MariaDB's or MySQL's error number.
        code: SQLite's primary result code.
    """
    for one in _REFUSALS:
        coded = state is not None and (state in one.states or state[:2] in one.states)
        # A code tells more than words do, which an application may have chosen (`RAISE`, a name).
        worded = state is None and one.said is not None and one.said.search(said)
        if coded or worded or number in one.numbers or code in one.codes:
            return one.error(f"{one.what} ({said}); nothing was written: {one.step}")
    return None

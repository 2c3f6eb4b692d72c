"""Addresses, environments and options as nobody should type them, with a password wherever one may end up."""

import asyncio
import contextlib
import io
import os
import re
import sys
import traceback
from unittest import mock
from urllib.parse import unquote

import attrs
import click
from hypothesis import assume
from hypothesis import strategies as st

from f1mon_core import AsyncMonitor, Monitor
from f1mon_core.cli import f1mon, main
from f1mon_core.errors import F1monError

CANARY = "c4nary"
FAMILIES = ("F1MON_", "MONITORING_DB_", "PG", "MYSQL", "MARIADB", "ALERT_")
"""How the names of variables begin that may say something to f1mon or a driver."""

SCHEMES = [
    *("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg_async", "postgresql+asyncpg", "mysql"),
    *("mysql+pymysql", "mysql+asyncmy", "mariadb", "mariadb+pymysql", "sqlite", "sqlite+aiosqlite", "jsonl", "memory"),
    *("POSTGRESQL", "Sqlite", "postgresq", "nonsense", "jdbc:postgresql", "", " postgresql", "http", "+psycopg"),
    *("mysql+", "sqlite+nonsense", "jsonl+x", "sql"),
]
PASSWORDS = [
    *(CANARY, f"{CANARY} {CANARY}", f"p@{CANARY}", f"{CANARY}@x", f"p/{CANARY}", f"p#{CANARY}", f"p?{CANARY}"),
    *(f"p:{CANARY}", f"p%40{CANARY}", f"%63%34%6e%61%72%79{CANARY}", "%63%34%6e%61%72%79", f"p%{CANARY}", f"é{CANARY}"),
    *(f"p%2540{CANARY}", f"p&{CANARY}", f"p;{CANARY}", f"p={CANARY}", f"p\n{CANARY}", f"'{CANARY}", f"p%00{CANARY}"),
    *(f'p"{CANARY}', f"p\\{CANARY}", f"p[{CANARY}]", f"{CANARY}\t", f"%{CANARY}", f"{CANARY}%", f"p%ff{CANARY}"),
]
SECRET_NAMES = ["password", "passwd", "pwd", "PASSWORD", "Password", "sslpassword", "ssl_key_password", "pass_word"]
SECRET_NAMES += [
    "oauth_client_secret",
    "secret",
    "token",
    "ssl-key-password",
    "password:",
    "user:password",
    " password",
]
NAMES = [
    *("sslmode", "ssl", "options", "host", "port", "user", "dbname", "service", "connect_timeout", "charset"),
    *("unix_socket", "init_command", "uri", "mode", "schema", "pgbouncer", "application_name", "x", "", "sslrootcert"),
    *("read_default_file", "ssl_ca", "target_session_attrs", "cached_statements", "vfs", "hostaddr", "passfile"),
    *("load_balance_hosts", "keepalives", "client_encoding", "timeout", "pool_size", "immutable", "gssencmode"),
]
VALUES = [
    *("", "1", "0", "-1", "true", "require", "disable", "ro", "nonsense", "%", "%3D", "a=b", "é", "\ud800", "%00"),
    *("99999999999999999999", "1e9", "127.0.0.1", "a:1,b:2", "-csearch_path%3Dx", "-c x%3Dy", "latin1", "memory"),
    *("/nowhere", "read-write", "'", '"', "\\", "SELECT%201", "shared", "NaN", "0x10", "٣"),
]
HOSTS = [
    "127.0.0.1",
    "127.0.0.1",
    "127.0.0.1",
    "",
    "[::1]",
    "[::1",
    "localhost",
    "a..b",
    "h,i",
    "%2Fnowhere",
    "256.1.1.1",
]
HOSTS += ["h%20i", "é.invalid", "x" * 70, "127.0.0.1,127.0.0.1", "\x7f", "[fe80::1%25lo]", "-"]
PORTS = [
    ":1",
    ":1",
    ":1",
    ":0",
    ":65536",
    ":port",
    ":-1",
    ":",
    ":1:1",
    ":1,2",
    ":99999999999999999999",
    ":٣",
    ": 1",
    ":1.0",
]
PATHS = [
    "/d",
    "/d",
    "/",
    "",
    "/d/e",
    "/:memory:",
    "/%00",
    "/d%2Fe",
    "//",
    "/é",
    "/ ",
    "/" + "d" * 300,
    "/.",
    "/d.db",
    "/%ff",
]


@st.composite
def addresses(draw):
    """An address, mostly one of a family of stores, with a password where it belongs or elsewhere."""
    take = lambda among: draw(st.sampled_from(among))  # noqa: E731 - a name for what every line does
    secret = take(PASSWORDS)
    scheme = take(SCHEMES)
    between = take(["://"] * 8 + [":/", ":", "//", ":///", "", "::/", ":\\\\", ":// ", "/"])
    account = take(
        ["u:{}@"] * 6 + ["", "u@", ":{}@", "u:{}:{}@", "u:x@{}@", "u%3A{}@", "u/{}@", "u:{}", "u:{}@@", "é:{}@"]
    )
    query = ""
    if draw(st.booleans()):
        pieces = st.one_of(
            st.tuples(st.sampled_from(SECRET_NAMES), st.sampled_from(PASSWORDS)),
            st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)),
        )
        query = take(["?", "?", "?", "?", "&", "??", "#"]) + take(["&", "&", "&", ";"]).join(
            name + take(["=", "=", "=", "=", "", "%3D", ":"]) + value
            for name, value in draw(st.lists(pieces, min_size=1, max_size=3))
        )
    told = scheme + between + account.replace("{}", secret) + take(HOSTS) + take(PORTS) + take(PATHS) + query
    if draw(st.integers(0, 5)) == 0:  # typed twice, cut off, or with something before it
        told = take([told + told, f"'{told}'", f" {told}\n", f"url={told}", told[: draw(st.integers(0, len(told)))]])
    assume(_AS_A_HOST.search(told) is None)
    return told


_AS_A_HOST = re.compile(rf"://[^/@]*@[^/@?]*{CANARY}[^@]*$")
"""Cut off or typed twice, an address may say nothing but that the password is the name of a host, which is shown."""
PLAIN = st.sampled_from([*VALUES, "d", "localhost", "5432", "jsonl", "sql", "memory", "sqlite", "postgresql", "yes"])


def _told(strategy):
    return strategy.map(lambda text: text.replace("\0", "").replace("\ud800", "\udcff"))


ENVIRONMENT = st.fixed_dictionaries(
    {},
    optional={
        "F1MON_BACKEND": _told(st.one_of(PLAIN, addresses())),
        "F1MON_URL": _told(addresses()),
        "MONITORING_DB_ENABLED": _told(st.one_of(st.just("true"), PLAIN)),
        "MONITORING_DB_TYPE": _told(
            st.one_of(st.sampled_from(["sqlite", "postgresql", "PostgreSQL"]), PLAIN, addresses())
        ),
        "MONITORING_DB_PATH": _told(st.one_of(st.sampled_from(["d.db", "no/d.db", "d?x=1", "d%20", "."]), PLAIN)),
        "MONITORING_DB_HOST": _told(st.one_of(st.sampled_from(HOSTS), addresses())),
        "MONITORING_DB_PORT": _told(st.one_of(st.sampled_from(["1", "0", "65536", "-1", " 1 "]), PLAIN, addresses())),
        "MONITORING_DB_USER": _told(st.one_of(PLAIN, st.just(f"u:{CANARY}@h"))),
        "MONITORING_DB_PASSWORD": _told(st.sampled_from(PASSWORDS)),
        "MONITORING_DB_NAME": _told(st.one_of(PLAIN, st.sampled_from([f"u:{CANARY}@h/d", ""]))),
        "MONITORING_DB_POOL_SIZE": _told(st.one_of(PLAIN, addresses())),
        "MONITORING_DB_MAX_OVERFLOW": _told(PLAIN),
        "MONITORING_DB_ECHO": _told(st.one_of(PLAIN, addresses())),
        "PGHOST": _told(st.sampled_from(HOSTS)),
        "PGHOSTADDR": _told(st.sampled_from(HOSTS)),
        "PGPORT": _told(st.sampled_from([one[1:] for one in PORTS])),
        "PGUSER": _told(PLAIN),
        "PGPASSWORD": _told(st.sampled_from(PASSWORDS)),
        "PGDATABASE": _told(st.one_of(PLAIN, addresses())),
        "PGSERVICE": _told(PLAIN),
        "PGPASSFILE": _told(PLAIN),
        "PGOPTIONS": _told(st.sampled_from(VALUES)),
        "PGSSLMODE": _told(PLAIN),
        "PGCONNECT_TIMEOUT": _told(PLAIN),
        "PGCLIENTENCODING": _told(st.sampled_from(["SQL_ASCII", "LATIN1", "nonsense"])),
        "PGTARGETSESSIONATTRS": _told(PLAIN),
        "PGCHANNELBINDING": _told(PLAIN),
        "PGREQUIREAUTH": _told(PLAIN),
        "PGGSSENCMODE": _told(PLAIN),
        "PGLOADBALANCEHOSTS": _told(PLAIN),
        "MYSQL_PWD": _told(st.sampled_from(PASSWORDS)),
        "MYSQL_HOST": _told(PLAIN),
        "MYSQL_TCP_PORT": _told(PLAIN),
        "MYSQL_UNIX_PORT": _told(PLAIN),
    },
)

COMMANDS = [
    *(
        ("status",),
        ("alerts",),
        ("incidents",),
        ("rules", "list"),
        ("channels", "list"),
        ("check",),
        ("models", "list"),
    ),
    *(("evaluate",), ("snapshot",), ("deliver",), ("deliveries", "list"), ("silence", "list")),
    *(
        ("db", "current"),
        ("db", "check"),
        ("db", "upgrade"),
        ("adopt", "."),
        ("incident", "x"),
        ("ack", "x", "--by", "y"),
    ),
]


def harmless(address):
    """Whether it leads to no file beyond the working directory, where a store would be made."""
    scheme, _, rest = address.partition("://")
    if scheme.strip().lower().startswith(("jsonl", "sqlite")):
        rest = unquote(rest)
        return not rest.startswith("/" if scheme.strip().lower().startswith("jsonl") else "//") and ".." not in rest
    return True


@attrs.frozen
class Said:
    """What came of a command: its exit code and both streams."""

    code: int
    stdout: str
    stderr: str


@contextlib.contextmanager
def environment(variables):
    """Only these of the variables that may say something about a store; and a server that nobody runs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FAMILIES)}
    with mock.patch.dict(os.environ, {**kept, "PGPORT": "1", **variables}, clear=True):
        yield


def commanded(arguments):
    """`f1mon ARGUMENTS` in this process, as it would end."""
    out, errors = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in range(2))
    argv = ["f1mon", *arguments]
    with mock.patch.multiple(sys, argv=argv, stdout=out, stderr=errors):
        try:
            main()
        except SystemExit as ended:
            code = ended.code or 0
    for one in (out, errors):
        one.flush()
    return Said(code, *(one.buffer.getvalue().decode() for one in (out, errors)))


def opened(door, address):
    """Open a store by one of the doors of the library; its error, or None."""
    try:
        if door == "async":
            asyncio.run(_opened_async(address))
        elif door == "url":
            Monitor.open(url=address).close()
        elif door == "sql":
            Monitor.open("sql", url=address).close()
        elif door == "jsonl":
            Monitor.open("jsonl", url=address).close()
        elif door == "environment":
            Monitor.open().close()
        else:
            Monitor.open(address).close()
    except F1monError as error:
        return error
    return None


async def _opened_async(address):
    monitor = await AsyncMonitor.open(address)
    await monitor.close()


def shows(text):
    """Whether the password is in a text, in whatever spelling."""
    for _ in range(4):
        if CANARY in text.lower():
            return True
        text = unquote(text)
    return False


def told_by(error):
    """All that a program may show of an error, without the lines of source."""
    parts = []
    while error is not None:
        parts += [*traceback.format_exception_only(error), repr(error), str(error)]
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(parts)


def _leaves(group=f1mon, path=()):
    """Every command that does something, by its words."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from _leaves(command, (*path, name))
        elif name not in {"demo", "dashboard"}:  # a matter of seconds, and what never ends
            yield (*path, name), command


NOT_TRIED = {"watch", "help", "url", "ping"}
"""What never ends, what is tried otherwise, and what calls somebody."""
WORDS = st.one_of(
    st.sampled_from(
        [*VALUES, "24h", "0h", "all", "90m", "999999w", "1.5", "nan", "inf", "-inf", "-5", "1e400", "p0", "m"]
    ),
    st.sampled_from(["warning", "2026-05-01", "0001-01-01T00:00:00+14:00", "9999-12-31", "head"]),
    st.sampled_from(["base", ".", "rules.toml", "no.toml", "a" * 300, "\x1b[2J", "\r\n", "--", "-", "@", "x=y", "low"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
    addresses().map(lambda text: text.replace("\0", "").replace("\ud800", "\udcff")),
)


@st.composite
def option_values(draw):
    """A command with some of its options and all of its arguments, whatever they say."""
    words, command = draw(st.sampled_from(sorted(_leaves(), key=lambda pair: pair[0])))
    told = list(words)
    for parameter in command.params:
        if parameter.name in NOT_TRIED:
            continue
        if isinstance(parameter, click.Argument):
            told.append(draw(WORDS))
        elif parameter.required or draw(st.integers(0, 3)) == 0:
            told.append(draw(st.sampled_from(parameter.opts)))
            if not parameter.is_flag:
                told.append(draw(WORDS))
    return told

"""What stands behind the `?` of an address: known, translated from other clients' spelling, or refused by name.

Drivers differ in what they take, and meet what they do not know with a `TypeError`; panels hand out addresses in the
spelling of some other client. So one table says for each family what is taken, and sync and async take the same.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from f1mon_core.errors import ConfigurationError
from f1mon_core.storage.address import masked

SECRET = re.compile("pass(?!file)|pwd|secret|token|scram_", re.IGNORECASE)
"""Names of parameters whose values nobody may see."""

_TEXT = "text"
_NUMBER = "number"
_SECONDS = "seconds"
_TRUTH = "truth"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_UTF8 = frozenset({"utf8", "utf8mb4", "unicode"})
_Kind = str | tuple[str, ...]

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_SSL_WORDS = {
    "disabled": "disable",
    "preferred": "prefer",
    "required": "require",
    "verify-identity": "verify-full",
    "strict": "verify-full",
    "accept-invalid-certs": "require",
    **dict.fromkeys(_TRUE, "require"),
    **dict.fromkeys(_FALSE, "disable"),
}
"""How others spell a mode of TLS, lower case and with hyphens."""

_LIBPQ_TEXTS = """
    application_name fallback_application_name options passfile service user dbname host hostaddr port
    sslcert sslkey sslrootcert sslcrl sslcrldir sslsni sslpassword sslcompression ssl_min_protocol_version
    ssl_max_protocol_version min_protocol_version max_protocol_version requirepeer require_auth krbsrvname gsslib
    gssdelegation scram_client_key scram_server_key oauth_issuer oauth_client_id oauth_client_secret oauth_scope
"""
_LIBPQ_NUMBERS = """
    connect_timeout keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout
"""
_POSTGRESQL: Mapping[str, _Kind] = {
    **dict.fromkeys(_LIBPQ_TEXTS.split(), _TEXT),
    **dict.fromkeys(_LIBPQ_NUMBERS.split(), _NUMBER),
    "sslmode": _SSL_MODES,
    "sslnegotiation": ("postgres", "direct"),
    "sslcertmode": ("disable", "allow", "require"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
    "client_encoding": _TEXT,
    "schema": _TEXT,
    "pgbouncer": _TRUTH,
}
_MYSQL: Mapping[str, _Kind] = {
    **dict.fromkeys(["unix_socket", "program_name", "init_command", "read_default_file", "read_default_group"], _TEXT),
    "connect_timeout": _SECONDS,
    "read_timeout": _SECONDS,
    "max_allowed_packet": _NUMBER,
    "sslmode": _SSL_MODES,
    **dict.fromkeys(["ssl_ca", "ssl_capath", "ssl_cert", "ssl_key", "ssl_key_password", "ssl_cipher"], _TEXT),
    "ssl_check_hostname": _TRUTH,
    "charset": _TEXT,
}
_SQLITE: Mapping[str, _Kind] = {
    "uri": _TRUTH,
    "cached_statements": _NUMBER,
    "mode": ("ro", "rw", "rwc", "memory"),
    "cache": ("shared", "private"),
    "immutable": _TRUTH,
    "nolock": _TRUTH,
    "psow": _TRUTH,
    "vfs": _TEXT,
}
_OF_A_URI = frozenset({"mode", "cache", "immutable", "nolock", "psow", "vfs"})
"""Parameters that SQLite itself reads, where an address says that it has such."""

KNOWN = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL, "mysql": _MYSQL}
_ALIASES: Mapping[str, Mapping[str, str]] = {
    "sqlite": {},
    "postgresql": {
        **dict.fromkeys(("ssl", "ssl_mode", "sslmode", "requiressl"), "sslmode"),
        **dict.fromkeys(("charset", "encoding", "client_encoding"), "client_encoding"),
        **dict.fromkeys(("currentschema", "schema", "search_path"), "schema"),
        **dict.fromkeys(("applicationname", "program_name"), "application_name"),
        "sslaccept": "sslmode",
        "database": "dbname",
    },
    "mysql": {
        **dict.fromkeys(("ssl", "ssl_mode", "usessl", "requiressl", "sslaccept", "tls"), "sslmode"),
        **dict.fromkeys(("encoding", "characterencoding", "default_character_set"), "charset"),
        **dict.fromkeys(("application_name", "applicationname"), "program_name"),
        "socket": "unix_socket",
        "sslrootcert": "ssl_ca",
        "sslcert": "ssl_cert",
        "sslkey": "ssl_key",
        "ssl_verify_identity": "ssl_check_hostname",
    },
}


@attrs.frozen
class Parameters:
    """The parameters of an address as its driver takes them.

    Attributes:
        query: What goes into the address.
        arguments: What is told to the driver beside it: secrets, numbers and objects.
        encrypted: Whether a connection that turns out to be open to be read is to be refused.
        pooled: Whether a pooler hands out the server's sessions by the transaction.
    """

    query: dict[str, str | tuple[str, ...]] = attrs.field(factory=dict)
    arguments: dict[str, Any] = attrs.field(factory=dict)
    encrypted: bool = False
    pooled: bool = False


def read(family: str, given: Mapping[str, str | Sequence[str]], *, hiding: bool = False) -> Parameters:
    """The parameters of an address. Raises `ConfigurationError` for one that is not known, naming those that are.

    Args:
        family: Of which databases the address is.
        given: The parameters by name.
        hiding: Whether a name that is not known is not shown either: beside a password it may be the rest of it.
    """
    known, aliases = KNOWN[family], _ALIASES[family]
    hiding = hiding or any(SECRET.search(name) for name in given)
    found: dict[str, Any] = {}
    if any("\0" in part for value in given.values() for part in value):
        raise ConfigurationError("the address holds a NUL, which no database takes")
    for name, value in given.items():
        plain = name.lower().replace("-", "_")
        canonical = aliases.get(plain, plain)
        if canonical not in known:
            said = "'***'" if hiding else _shown(name)
            raise ConfigurationError(f"{said} is no parameter of an address of {family}; {_list(known)}")
        if not isinstance(value, str):
            if canonical not in ("host", "port"):  # of which a cluster of PostgreSQL has several
                raise ConfigurationError(f"the address says {_shown(name)} more than once")
            found[canonical] = tuple(value)
            continue
        if canonical in found:
            raise ConfigurationError(f"the address says {canonical} more than once, once as {_shown(name)}")
        found[canonical] = _value(_shown(name), canonical, known[canonical], value)
    return {"sqlite": _of_sqlite, "postgresql": _of_postgresql, "mysql": _of_mysql}[family](found)


def refuse_blank(family: str, query: str) -> None:
    """Refuse a piece of a query without a value, which SQLAlchemy would leave out."""
    for piece in filter(None, query.split("&")):
        name, _, value = piece.partition("=")
        if not value:
            plain = name.lower().replace("-", "_")
            said = _shown(name) if {plain} & {*KNOWN[family], *_ALIASES[family]} else "'***'"
            raise ConfigurationError(f"the address gives {said} no value; {_list(KNOWN[family])}")


def _shown(name: str) -> str:
    """A name as far as it may be shown: what is none may be a part of a password."""
    return repr(name) if re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]{0,40}", name) else "'***'"


def _list(known: Iterable[str]) -> str:
    return f"f1mon takes {', '.join(sorted(known))}"


def _value(name: str, canonical: str, kind: _Kind, value: str) -> Any:
    said = "it" if SECRET.search(name) else repr(masked(value))
    if canonical == "sslmode":
        word = value.lower().replace("_", "-")
        value = _SSL_WORDS.get(word, word)
    if isinstance(kind, tuple):
        if value not in kind:
            raise ConfigurationError(f"{name} of an address must be one of {', '.join(kind)}, not {said}")
        return value
    if kind in (_NUMBER, _SECONDS):
        if re.fullmatch(r"[0-9]{1,9}" if kind == _NUMBER else r"[0-9]{1,7}", value) is None:
            raise ConfigurationError(f"{name} of an address must be a whole number, not {said}")
        if kind == _SECONDS and int(value) == 0:
            raise ConfigurationError(f"{name} of an address must be at least 1 second")
        return int(value)
    if kind == _TRUTH:
        if (lowered := value.lower()) not in _TRUE | _FALSE:
            raise ConfigurationError(f"{name} of an address must be true or false, not {said}")
        return lowered in _TRUE
    if canonical in ("charset", "client_encoding") and value.lower().replace("-", "").replace("_", "") not in _UTF8:
        needed = "utf8mb4" if canonical == "charset" else "UTF8"
        raise ConfigurationError(f"the connection's character set is {needed}, not {value}: leave {name} out")
    return value


# Families -----------------------------------------------------------------------------------------------------------


def _of_sqlite(found: dict[str, Any]) -> Parameters:
    if (needing := sorted(_OF_A_URI & set(found))) and not found.get("uri"):
        raise ConfigurationError(f"{', '.join(needing)} of an address of sqlite needs uri=true too")
    return Parameters(
        {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in found.items()}
    )


def _of_postgresql(found: dict[str, Any]) -> Parameters:
    pooled = found.pop("pgbouncer", False)
    schema, encoded = found.pop("schema", None), found.pop("client_encoding", None)
    del encoded  # it says what f1mon says anyway
    if schema is not None:
        escaped = re.sub(r"([\\ ])", r"\\\1", schema)
        found["options"] = f"{found.get('options', '')} -csearch_path={escaped}".strip()
    hidden = {name: found.pop(name) for name in list(found) if SECRET.search(name)}
    query = {name: value if isinstance(value, tuple) else str(value) for name, value in found.items()}
    # Said in the first message of a connection it wins over PGCLIENTENCODING, the role's setting and the database's.
    return Parameters(query, {**hidden, "client_encoding": "UTF8"}, pooled=pooled)


def session_of(query: Mapping[str, Any]) -> tuple[dict[str, str], dict[str, Any]]:
    """The settings that a query has in `options`, and the query without them."""
    settings, rest = {}, []
    words = [re.sub(r"\\(.)", r"\1", word) for word in re.findall(r"(?:\\.|\S)+", query.get("options", ""))]
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        if (said := re.fullmatch(r"(?:-c|--)([A-Za-z][A-Za-z0-9_.-]*)=(.*)", word, re.DOTALL)) is not None:
            settings[said[1].replace("-", "_")] = said[2]
        else:
            rest.append(word)  # such as a provider's own `endpoint=…`
    without = {name: value for name, value in query.items() if name != "options"}
    return settings, {**without, "options": " ".join(rest)} if rest else without


def _of_mysql(found: dict[str, Any]) -> Parameters:
    found.pop("charset", None)
    mode = found.pop("sslmode", None)
    files = {name: found.pop(name) for name in list(found) if name.startswith("ssl_")}
    arguments = {name: found.pop(name) for name in list(found) if isinstance(found[name], int)}
    if mode == "disable" or (mode is None and not files):
        return Parameters({**found, "charset": "utf8mb4"}, arguments)
    if mode in ("allow", "prefer"):
        raise ConfigurationError(f"f1mon encrypts or does not: sslmode={mode} of an address must be require or disable")
    return Parameters({**found, "charset": "utf8mb4"}, {**arguments, "ssl": _context(mode, files)}, encrypted=True)


def _context(mode: str | None, files: Mapping[str, Any]) -> ssl.SSLContext:
    """What both drivers take, who differ in everything else about TLS."""
    named = files.get("ssl_ca") or files.get("ssl_capath")
    checked = mode in ("verify-ca", "verify-full") or (mode is None and bool(named))
    hostname = files.get("ssl_check_hostname", mode == "verify-full" or (mode is None and bool(named)))
    try:
        made = ssl.create_default_context(cafile=files.get("ssl_ca"), capath=files.get("ssl_capath"))
        made.verify_flags &= ~ssl.VERIFY_X509_STRICT  # which the certificates that servers make for themselves fail
        made.check_hostname = bool(checked and hostname)
        made.verify_mode = ssl.CERT_REQUIRED if checked else ssl.CERT_NONE
        if "ssl_cert" in files:
            made.load_cert_chain(files["ssl_cert"], files.get("ssl_key"), files.get("ssl_key_password") or "")
        if "ssl_cipher" in files:
            made.set_ciphers(files["ssl_cipher"])
    except OSError as error:  # which an SSLError is too
        names = ", ".join(sorted(files))
        raise ConfigurationError(
            f"what the address says of TLS ({names}) cannot be used: {error.strerror or error}"
        ) from None
    return made

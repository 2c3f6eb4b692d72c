"""Addresses of stores, fit to print."""

from __future__ import annotations

import re
from urllib.parse import unquote


def scheme_of(url: str) -> str:
    """The scheme of an address, without the driver that may be in it."""
    return url.partition("://")[0].partition("+")[0].lower()


_FILES = {"jsonl", "sqlite"}
"""Schemes of addresses that end in a path, which may hold any sign."""
_SECRET = re.compile(r"pass(?!file)|pwd|secret|token|scram|credential|api.?key", re.IGNORECASE)
"""Names whose values nobody may see, in whatever spelling."""
_HELD = rf"(?:{_SECRET.pattern})[^\s=:&/]*\s*[=:]"
_MISTYPED = re.compile(rf"[:/\\].*@|(?<!^[a-z]):|{_HELD}", re.IGNORECASE | re.DOTALL)
"""What is no address and may be one that lost some signs; the colon of a drive (`C:\\data`) is not of one."""
_NO_PATH = re.compile(rf":.*@|@.*:|^[^/]*:|{_HELD}", re.IGNORECASE | re.DOTALL)

_BEGINS = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://")
_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://[^\s'\"]+")
_USER = r"(?:[^:/?#@\t\r\n\[\]%]|%(?!3a|2f)[0-9a-f]{2})*"
_HOST = r"(?:\[[0-9a-f:.]+\]|[^:/?#@\s\[\]%,]*)(?::[0-9]{1,5})?"
_CLEAR = re.compile(
    rf"(?:(?P<user>{_USER})(?P<password>:[^?]*)?@)?"
    rf"(?P<place>{_HOST}(?:,{_HOST})*(?:/[^:/?#@&=\s%]*)?)"
    r"(?:\?(?P<query>[^@]*))?",
    re.IGNORECASE | re.DOTALL,
)
"""What follows the scheme of an address that can be read in one way only, but for its password."""

_OPEN = re.compile(r"[^#;\s]*")
_WORD = re.compile(r"[A-Za-z_]+=")


def masked(url: str) -> str:
    """An address without its secrets: `user:***@` and `?password=***`.

    What can be read in more than one way may have a password in any place, so of such an address only the scheme is
    left; and what is no address, and may be one mistyped (`postgresql:/user:password@host`), is masked whole.
    """
    if (begins := _BEGINS.match(url)) is None:
        return "***" if _MISTYPED.search(_plain(url)) else url
    rest = url[begins.end() :]
    if scheme_of(url) in _FILES:
        path, mark, query = rest.partition("?")
        if _NO_PATH.search(_plain(path)) and path != ":memory:":
            return f"{begins[0]}***"
        return begins[0] + path + mark + _masked_query(query)
    if (clear := _CLEAR.fullmatch(rest)) is None:
        return f"{begins[0]}***"
    if clear["password"] is not None and re.search("[/&].*@", clear["password"], re.DOTALL):
        return f"{begins[0]}***"  # the place may end before, and what looks like it be the end of a password
    password = ":***" if clear["password"] is not None else ""
    account = "" if clear["user"] is None else f"{clear['user']}{password}@"
    query = "" if clear["query"] is None else f"?{_masked_query(clear['query'])}"
    return begins[0] + account + clear["place"] + query


def masked_in(text: str) -> str:
    """A text with every address in it as `masked` shows it."""
    return _IN_TEXT.sub(lambda found: masked(found[0]), text)


def _plain(text: str) -> str:
    """A text without percent-encoding, were it done twice."""
    return unquote(unquote(text))


def _masked_query(query: str) -> str:
    """A query without secrets, and without what may be the rest of one that has a `&` in it."""
    shown, hiding = [], False
    for piece in query.split("&"):
        name, sign, value = piece.partition("=")
        if sign and _SECRET.search(_plain(name)) and re.fullmatch(r"[\w-]+", name):
            shown.append(f"{name}=***")
            hiding = True
        elif (
            _OPEN.fullmatch(piece) is None
            or re.search(_HELD if sign else _SECRET.pattern, _plain(piece), re.IGNORECASE)
            or "@" in _plain(value)
        ):
            shown.append("***")
            hiding = True
        else:
            shown.append(piece if not hiding or _WORD.match(piece) else "***")
    return "&".join(shown)

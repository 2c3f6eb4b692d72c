"""Addresses of stores, fit to print."""

from __future__ import annotations

import re


def scheme_of(url: str) -> str:
    """The scheme of an address, without the driver that may be in it."""
    return url.partition("://")[0].partition("+")[0].lower()


_FILES = {"jsonl", "sqlite"}
"""Schemes of addresses that end in a path, which may hold any sign."""
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://")

# As much as may be a password: an address that nobody could read may hold blanks, line ends and any sign in it.
_ACCOUNT = re.compile(r"(://[^/:@]*):.*@", re.DOTALL)
_MISPLACED_ACCOUNT = re.compile(r"(://[^:@]*):.*@|(://[^:/@]*)/[^?]*@", re.DOTALL)

_SECRET = re.compile(r"((?:password|passwd|pwd|secret|token)=)[^&]*", re.IGNORECASE)
_SUSPECT = re.compile(r"[:/\\].*@|(?:password|passwd|pwd|secret|token)\s*[=:]", re.IGNORECASE | re.DOTALL)


def masked(url: str) -> str:
    """An address without its secrets: `user:***@` and `?password=***`.

    What is no address, and may be one mistyped (`postgresql:/user:password@host`), is masked whole.
    """
    if _ADDRESS.match(url) is None:
        return "***" if _SUSPECT.search(url) else url
    url = _ACCOUNT.sub(r"\1:***@", url)
    if scheme_of(url) not in _FILES:
        url = _MISPLACED_ACCOUNT.sub(lambda found: f"{found[1] or found[2]}:***@", url)
    return _SECRET.sub(r"\1***", url)

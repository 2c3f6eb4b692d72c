"""Addresses of stores, fit to print."""

from __future__ import annotations

import re


def scheme_of(url: str) -> str:
    """The scheme of an address, without the driver that may be in it."""
    return url.partition("://")[0].partition("+")[0].lower()


# As much as may be a password: an address that nobody could read may hold blanks, line ends and any sign in it.
_ACCOUNT = re.compile(r"(://[^/:@]*):.*@", re.DOTALL)

_SECRET = re.compile(r"((?:password|passwd|pwd|secret|token)=)[^&]*", re.IGNORECASE)


def masked(url: str) -> str:
    """An address without its secrets: `user:***@` and `?password=***`."""
    return _SECRET.sub(r"\1***", _ACCOUNT.sub(r"\1:***@", url))

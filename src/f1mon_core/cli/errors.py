"""Exit codes, and errors as one line without a traceback."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from f1mon_core.errors import (
    BrokenBackendError,
    ConfigurationError,
    DuplicateBackendError,
    F1monError,
    InvalidQueryError,
    MissingExtraError,
    UnknownBackendError,
)
from f1mon_core.storage.address import masked
from f1mon_core.text import discreet, one_line

FAILED = 1
"""The store, or the request as such, failed: not found, refused, damaged, locked."""
MISUSED = 2
"""Wrong usage or configuration: an unknown option, backend or address, a missing extra, a bad variable."""
FIRED = 3
"""An alert fired (`f1mon evaluate`), or something drifted (`f1mon drift`)."""
DAMAGED = 4
"""Something in the store is lost or wrong (`f1mon check`)."""
UNHEARD = 5
"""An alert may not be made or heard: a rule that matches nothing or is overdue, a dead letter (`check`, `deliver`)."""
INCOMPLETE = 6
"""Rows of a file were set aside (`f1mon import`); all the others are in."""

_CONFIGURATION = (
    BrokenBackendError,
    ConfigurationError,
    DuplicateBackendError,
    InvalidQueryError,
    MissingExtraError,
    UnknownBackendError,
)


WORDS = "f1mon.words"
"""Where a click context keeps the arguments as they were given."""
_LINE = 10_000
"""How many characters a line of an error has at most."""


class CannotError(click.ClickException):
    """A command that cannot be carried out, said in one line."""

    exit_code = FAILED

    def format_message(self) -> str:
        """See `click.ClickException.format_message`."""
        return one_line(self.message, _LINE)


class MisusedError(CannotError):
    """A command that cannot even begin, because of what it was told or how the machine is set up."""

    exit_code = MISUSED


_TOLD = 20
"""At least so many characters of a value are told."""
_ADDRESS = re.compile(r"[^\s'\"(]*[:/].*@[^\s'\")]*", re.DOTALL)


def hidden(message: str, words: Iterable[str]) -> str:
    """A message without those arguments that are an address with a password, wherever they stood.

    Nor with their beginning, as long values are told by it.
    """
    parts = {part for word in words for part in (word, *word.split("=", 1), word.lstrip("-"))}
    told = [
        spelled
        for part in sorted(parts, key=len, reverse=True)
        if masked(part) != part
        for spelled in (part, repr(part)[1:-1])
    ]
    for spelled in told:
        message = message.replace(spelled, "***")
    for spelled in told:
        message = re.sub(re.escape(spelled[:_TOLD]) + r"[^\s'\"…]*", "***", message)
    return message


def misused(error: click.UsageError, words: Iterable[str]) -> MisusedError:
    """A wrong usage in one line.

    Args:
        error: What was found wrong.
        words: The arguments as they were given.
    """
    message = discreet(_ADDRESS.sub("***", hidden(error.format_message(), words))).rstrip(".")
    about = error.ctx.command_path if error.ctx is not None else "f1mon"
    return MisusedError(f"{message}; see `{about} --help`")


def said(error: F1monError) -> CannotError:
    """An error of the library as one line, its notes included, with the exit code of its sort."""
    parts = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
    message = "; ".join(" ".join(part.split()) for part in parts)
    return MisusedError(message) if isinstance(error, _CONFIGURATION) else CannotError(message)

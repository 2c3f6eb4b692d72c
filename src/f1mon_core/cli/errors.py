"""Exit codes, and errors as one line without a traceback."""

from __future__ import annotations

import re

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
from f1mon_core.text import discreet

FAILED = 1
"""The store, or the request as such, failed: not found, refused, damaged, locked."""
MISUSED = 2
"""Wrong usage or configuration: an unknown option, backend or address, a missing extra, a bad variable."""
FIRED = 3
"""An alert fired (`f1mon evaluate`)."""
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


class CannotError(click.ClickException):
    """A command that cannot be carried out, said in one line."""

    exit_code = FAILED


class MisusedError(CannotError):
    """A command that cannot even begin, because of what it was told or how the machine is set up."""

    exit_code = MISUSED


_ADDRESS = re.compile(r"[^\s'\"(]*[:/].*@[^\s'\")]*", re.DOTALL)


def without_address(error: click.UsageError) -> click.UsageError:
    """The same error without an address in it: one in the wrong place, which may hold a password, is repeated whole."""
    return click.UsageError(discreet(_ADDRESS.sub("***", error.format_message())), error.ctx)


def said(error: F1monError) -> CannotError:
    """An error of the library as one line, its notes included, with the exit code of its sort."""
    parts = [str(error) or type(error).__name__, *getattr(error, "__notes__", ())]
    message = "; ".join(" ".join(part.split()) for part in parts)
    return MisusedError(message) if isinstance(error, _CONFIGURATION) else CannotError(message)

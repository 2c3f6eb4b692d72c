"""Which store a command works on."""

from __future__ import annotations

import os
from typing import Any

import attrs
import click

from f1mon_core.cli.errors import MisusedError
from f1mon_core.monitor import Monitor
from f1mon_core.storage.address import masked
from f1mon_core.storage.registry import open_existing_storage, open_storage

_VARIABLES = ("F1MON_URL", "MONITORING_DB_PATH")


def _masked(given: str | None) -> str:
    return repr(given and masked(given))


@attrs.frozen(kw_only=True)
class Place:
    """The store that the command line's own options name; what they leave open the environment decides."""

    backend: str | None = attrs.field(default=None, repr=_masked)
    url: str | None = attrs.field(default=None, repr=_masked)
    path: str | None = attrs.field(default=None, repr=_masked)

    @property
    def named(self) -> bool:
        """Whether the command line names a store at all."""
        return (self.backend, self.url, self.path) != (None, None, None)

    def open(self, *, create: bool = False, **options: Any) -> Monitor:
        """Open it. Errors are those of `open_storage`.

        Args:
            create: Whether a store that is not there is made; else it is a `NotFoundError`, where the backend can tell.
            **options: Further options of the backend.
        """
        backend = self.backend
        for given in (self.url, self.path, *map(os.environ.get, _VARIABLES)):
            if given is not None and not _is_text(given):
                raise MisusedError(f"the store's address {masked(given)!r} is not UTF-8")
        if self.url is not None:
            options["url"] = self.url
        if self.path is not None:
            options["path"] = self.path
            backend = backend or ("jsonl" if self.url is None else None)
        opened = open_storage if create else open_existing_storage
        return Monitor(opened(backend, **options))


def _is_text(given: str) -> bool:
    """Whether an argument was UTF-8: bytes that are not come as lone surrogates, which no store takes."""
    return not any("\ud800" <= one <= "\udfff" for one in given)


pass_place = click.make_pass_decorator(Place)
"""Hands a command the `Place` it works on."""

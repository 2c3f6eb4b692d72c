"""Which store a command works on."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import attrs
import click

from f1mon_core.cli.errors import MisusedError
from f1mon_core.cli.output import note_damage
from f1mon_core.errors import CorruptStoreError
from f1mon_core.monitor import Monitor
from f1mon_core.storage.address import masked
from f1mon_core.storage.condition import damage_of
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
    strict: bool = False

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
        storage = opened(backend, **options)
        if (damage := damage_of(storage)) is not None:
            note_damage(damage)
            if self.strict:
                storage.close()
                raise CorruptStoreError(
                    f"{storage.address} is {damage}; --strict answers nothing from it: run `f1mon check`"
                )
        return Monitor(storage)


def _is_text(given: str) -> bool:
    """Whether an argument was UTF-8: bytes that are not come as lone surrogates, which no store takes."""
    return not any("\ud800" <= one <= "\udfff" for one in given)


def _be_strict(ctx: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given and (place := ctx.find_object(Place)) is not None:
        ctx.obj = attrs.evolve(place, strict=True)


strict_option = click.option(
    "--strict",
    is_flag=True,
    expose_value=False,
    callback=_be_strict,
    help="Refuse a store that is damaged, instead of a warning; exit code 1.",
)
_passed = click.make_pass_decorator(Place)


def pass_place(command: Callable[..., Any]) -> Callable[..., Any]:
    """Hands a command the `Place` it works on, and gives it the option `--strict`."""
    return strict_option(_passed(command))

"""`f1mon backends`: what is installed, and whether it loads."""

from __future__ import annotations

import click

from f1mon_core.cli.output import document, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.errors import F1monError
from f1mon_core.storage.registry import backend_names, load_backend

_COLUMNS = ("backend", "distribution", "durable", "shared", "async", "state")
_WORDS: dict[str | bool | None, str] = {True: "yes", False: "no"}


@click.command
@json_option
def backends(*, as_json: bool) -> None:
    """List the backends that are installed, and why one would not open."""
    found = [_described(name, distributions) for name, distributions in backend_names().items()]
    if as_json:
        document(found)
    else:
        table(_COLUMNS, [[_WORDS.get(cell, cell) for cell in one.values()] for one in found])


def _described(name: str, distributions: list[str]) -> dict[str, str | bool | None]:
    described: dict[str, str | bool | None] = dict.fromkeys(_COLUMNS)
    described |= {"backend": name, "distribution": ", ".join(distributions)}
    try:
        backend = load_backend(name)
    except F1monError as error:
        return described | {"state": str(error)}
    return described | {
        "durable": backend.durable,
        "shared": backend.shared,
        "async": "offloaded" if backend.open_async is None else "native",
        "state": "ready",
    }

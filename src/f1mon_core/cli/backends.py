"""`f1mon backends`: what is installed, and whether it loads."""

from __future__ import annotations

import subprocess
import sys

import click

from f1mon_core.cli.output import document, table
from f1mon_core.cli.parameters import json_option
from f1mon_core.errors import F1monError
from f1mon_core.storage.registry import backend_names, load_backend

_COLUMNS = ("backend", "distribution", "durable", "shared", "async", "state")
_WORDS: dict[str | bool | None, str] = {True: "yes", False: "no"}


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option("--verify", "verified", metavar="BACKEND", help="Hold a backend to every law of the storage contract.")
@json_option
@click.pass_context
def backends(context: click.Context, verified: str | None, *, as_json: bool) -> None:
    """List the backends that are installed, and why one would not open.

    With --verify every law of the contract is asked of one, in places of their own, and the exit code is 1 if one is
    broken. What else is given goes to the kit and to the backend, as in

        f1mon backends --verify sql --url sqlite:///tmp/kit.db --quick
    """
    if verified is not None:
        if verified not in (known := backend_names()):
            raise click.UsageError(f"there is no backend {verified!r} here, but {', '.join(sorted(known))}")
        form = ("--format", "json") if as_json else ()
        # The kit stands above the command and needs pytest, so it is run and not imported.
        kit = (sys.executable, "-m", "f1mon_core.testing", verified, *form, *context.args)
        context.exit(subprocess.run(kit, check=False).returncode)  # noqa: S603 - Python itself, and no shell
    if context.args:
        raise click.UsageError(f"{context.args[0]!r} is for the kit: it goes with --verify BACKEND")
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

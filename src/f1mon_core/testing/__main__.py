"""`python -m f1mon_core.testing BACKEND [--OPTION VALUE …]`: how a backend stands the contract, law by law.

Exit codes: 0 if every law holds or is not claimed, 1 if one fails, 2 if the question is wrong.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from secrets import token_hex
from typing import Any

import click

from f1mon_core.backends import load_backend
from f1mon_core.errors import F1monError
from f1mon_core.testing.contract import LAWS, run_law
from f1mon_core.testing.laws.base import CLAIMS
from f1mon_core.testing.laws.durability import DurabilityLaws
from f1mon_core.testing.laws.kills import KillLaws
from f1mon_core.testing.laws.races import RaceLaws
from f1mon_core.testing.location import Location

FRESH = "{fresh}"


def fresh_places(backend: str, options: dict[str, str]) -> Callable[[], AbstractContextManager[Location]]:
    """Where each law gets its own empty place, from what was said on the command line.

    Raises:
        click.UsageError: If all laws would share one place.
    """
    record = load_backend(backend)
    if record.fresh is not None:
        make = record.fresh

        @contextmanager
        def beside() -> Iterator[Location]:
            with make(**options) as settled:
                yield Location(backend, **settled)

        return beside
    if record.durable and not any(FRESH in value for value in options.values()):
        raise click.UsageError(
            f"every law wants an empty place of its own, which backend {backend!r} does not make by itself: write "
            f"{FRESH} where a fresh name goes, as in --path /tmp/kit/{FRESH}"
        )

    def named() -> AbstractContextManager[Location]:
        name = f"f1mon_{token_hex(6)}"
        return nullcontext(Location(backend, **{key: value.replace(FRESH, name) for key, value in options.items()}))

    return named


def options_of(arguments: list[str]) -> dict[str, str]:
    """`--name value` and `--name=value` pairs as the backend's options. Raises `click.UsageError`."""
    options: dict[str, str] = {}
    remaining = iter(arguments)
    for argument in remaining:
        if not argument.startswith("--"):
            raise click.UsageError(f"{argument!r} is no option: give the backend's options as --name value")
        name, given, value = argument[2:].partition("=")
        if not given and (value := next(remaining, "")) == "":
            raise click.UsageError(f"--{name} wants a value")
        options[name.replace("-", "_")] = value
    return options


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("backend")
@click.option("--colour", type=click.Choice(["sync", "async", "offloaded"]), default="sync", show_default=True)
@click.option("--law", "wanted", default="", help="Only laws whose name has this in it.")
@click.option("--quick", is_flag=True, help="Without the laws of several processes and of kills.")
@click.option("--traces", is_flag=True, help="Show where each failing law broke.")
@click.pass_context
def report(context: click.Context, backend: str, colour: str, wanted: str, quick: bool, traces: bool) -> None:
    """Hold BACKEND to every law of the storage contract, each in a fresh, empty place.

    Further options go to the backend, e.g. --url sqlite:////tmp/kit.db. Nothing that is stored at that address is
    touched: laws get places of their own beside it.
    """
    try:
        location = fresh_places(backend, options_of(context.args))
    except F1monError as error:
        raise click.UsageError(str(error)) from error
    slow = {*vars(DurabilityLaws), *vars(RaceLaws), *vars(KillLaws)} if quick else set()
    names = [name for name in LAWS if wanted.replace(" ", "_") in name and f"test_{name}" not in slow]
    if not names:
        raise click.UsageError(f"no law has {wanted!r} in its name")
    counted: Counter[str] = Counter()
    begun = time.monotonic()
    for name in names:
        verdict = run_law(location, name, colour=colour)
        counted[verdict.status] += 1
        claims = "".join(f" ({claim})" for claim in verdict.claims)
        click.echo(f"{verdict.status:<12}{name.replace('_', ' ')}{claims}")
        if verdict.error is not None:
            click.echo(verdict.trace if traces else f"{'':<12}{_reason(verdict.error)}", err=True)
    seconds = time.monotonic() - begun
    click.echo(
        f"\n{backend}, {colour}: {counted['pass']} laws hold, {counted['fail']} fail, "
        f"{counted['not claimed']} not claimed, in {seconds:.1f} s"
    )
    if counted["not claimed"]:
        record = load_backend(backend)
        for claim, meaning in CLAIMS.items():
            if not getattr(record, claim):
                click.echo(f"not claimed: {meaning}")
    sys.exit(1 if counted["fail"] else 0)


def _reason(error: BaseException) -> str:
    text: Any = str(error) or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


if __name__ == "__main__":
    report(prog_name="python -m f1mon_core.testing")

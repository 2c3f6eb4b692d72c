"""`python -m f1mon_core.testing BACKEND [--OPTION VALUE …]`: how a backend stands the contract, law by law.

Exit codes: 0 if every law holds or is not claimed, 1 if one fails or had no place, 2 if the question is wrong.
"""

from __future__ import annotations

import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

import click
import pytest

from f1mon_core.errors import F1monError
from f1mon_core.storage.address import masked_in
from f1mon_core.storage.registry import check_options, load_backend
from f1mon_core.testing.clocks import SharedClock
from f1mon_core.testing.contract import LAWS, Verdict, run_law
from f1mon_core.testing.facts import NOON
from f1mon_core.testing.laws.durability import DurabilityLaws
from f1mon_core.testing.laws.kills import KillLaws
from f1mon_core.testing.laws.races import RaceLaws
from f1mon_core.testing.location import Colour, Location, Place
from f1mon_core.testing.report import Report

FRESH = "{fresh}"


def fresh_places(backend: str, options: dict[str, Any]) -> Callable[[], AbstractContextManager[Location]]:
    """Where each law gets its own empty place, from what was said on the command line.

    Raises:
        click.UsageError: If all laws would share one place.
        F1monError: If there is no such backend, or it has no such option, or needs another.
    """
    record = load_backend(backend)
    if record.fresh is None and record.durable and not any(FRESH in str(value) for value in options.values()):
        raise click.UsageError(
            f"every law wants an empty place of its own, which backend {backend!r} does not make by itself: write "
            f"{FRESH} where a fresh name goes, as in --path /tmp/kit/{FRESH}"
        )
    check_options(backend, record.open, options)

    @contextmanager
    def place() -> Iterator[Location]:
        with ExitStack() as going:
            named = {name: _named(value, going) for name, value in options.items()}
            settled = named if record.fresh is None else going.enter_context(record.fresh(**named))
            yield Location(backend, **settled)

    return place


def _named(value: Any, going: ExitStack) -> Any:
    """An option with a name in the place of `FRESH`; in a directory that goes with the place, where it is a path."""
    if not isinstance(value, str) or FRESH not in value:
        return value
    name = f"f1mon_{token_hex(6)}"
    if (folder := _folder_of(value)) is None:
        return value.replace(FRESH, name)
    beside, slash, below = value.partition(FRESH)[0].rpartition("/")
    directory = going.enter_context(tempfile.TemporaryDirectory(prefix="f1mon_fresh_", dir=folder))
    inside = (below + value[len(beside) + len(slash) + len(below) :]).replace(FRESH, name)
    return f"{beside}/{Path(directory).name}/{inside}"


def _folder_of(value: str) -> str | None:
    """The directory in which the fresh part of a path is to lie; None where it is no path."""
    beside, slash, _ = value.partition(FRESH)[0].rpartition("/")
    folder = beside.rpartition("://")[2] or "/"
    return folder if slash and Path(folder).is_dir() else None


def try_out(location: Callable[[], AbstractContextManager[Location]], colour: Colour) -> None:
    """Open a place once, so that a wrong question is one error and not as many failed laws.

    Raises:
        click.UsageError: If no place can be had or opened.
    """
    try:
        with (
            location() as tried,
            tempfile.TemporaryDirectory(prefix="f1mon-clock-") as directory,
            closing(Place(tried, colour, SharedClock.made(Path(directory) / "clock", NOON))) as place,
        ):
            place.open()
    except (Exception, pytest.skip.Exception) as error:
        raise click.UsageError(f"no place can be opened: {masked_in(_reason(error))}") from error


def options_of(arguments: list[str]) -> dict[str, Any]:
    """`--name value` and `--name=value` pairs as the backend's options, numbers and flags as such.

    Raises:
        click.UsageError: If they are no pairs.
    """
    options: dict[str, Any] = {}
    remaining = iter(arguments)
    for argument in remaining:
        if not argument.startswith("--"):
            raise click.UsageError(f"{argument!r} is no option: give the backend's options as --name value")
        name, given, value = argument[2:].partition("=")
        if not given and (value := next(remaining, "")) == "":
            raise click.UsageError(f"--{name} wants a value")
        name = name.replace("-", "_")
        options[name] = value if name in {"path", "url"} else _typed(value)
    return options


def _typed(value: str) -> Any:
    if value in {"true", "false"}:
        return value == "true"
    for number in (int, float):
        with suppress(ValueError):
            return number(value)
    return value


@click.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("backend")
@click.option("--colour", type=click.Choice(["sync", "async", "offloaded"]), default="sync", show_default=True)
@click.option("--law", "wanted", default="", help="Only laws whose name has this in it.")
@click.option("--quick", is_flag=True, help="Without the laws of several processes and of kills.")
@click.option("--traces", is_flag=True, help="Show where each failing law broke.")
@click.option("--format", "form", type=click.Choice(["text", "json", "html"]), default="text", show_default=True)
@click.pass_context
def report(
    context: click.Context, backend: str, colour: Colour, wanted: str, quick: bool, traces: bool, form: str
) -> None:
    """Hold BACKEND to every law of the storage contract, each in a fresh, empty place.

    Further options go to the backend, e.g. --url sqlite:////tmp/kit.db. Nothing that is stored at that address is
    touched: laws get places of their own beside it, which are taken away again. A backend that makes none by itself
    gets a fresh name for each law where `{fresh}` stands, as in --path /tmp/{fresh}.db; what lies there goes again.
    Where every law was asked and none was broken, the last line is one to print in a README.
    """
    try:
        options = options_of(context.args)
        location = fresh_places(backend, options)
    except F1monError as error:
        raise click.UsageError(str(error)) from error
    slow = {*vars(DurabilityLaws), *vars(RaceLaws), *vars(KillLaws)} if quick else set()
    names = [name for name in LAWS if wanted.replace(" ", "_") in name and f"test_{name}" not in slow]
    if not names:
        raise click.UsageError(f"no law has {wanted!r} in its name")
    try_out(location, colour)
    verdicts = []
    begun = time.monotonic()
    for name in names:
        verdicts.append(run_law(location, name, colour=colour))
        if form == "text":
            said(verdicts[-1], traces=traces)
    made = Report(load_backend(backend), colour, verdicts, time.monotonic() - begun, left=left_by(backend, options))
    click.echo({"text": made.summary, "json": made.json, "html": made.page}[form]())
    sys.exit(0 if made.ok else 1)


def said(verdict: Verdict, *, traces: bool) -> None:
    """Print one verdict, and to stderr why."""
    claims = "".join(f" ({claim})" for claim in verdict.claims)
    click.echo(f"{verdict.status:<12}{verdict.law.replace('_', ' ')}{claims}")
    if verdict.reason:
        click.echo(f"{'':<12}{verdict.reason}", err=True)
    if verdict.failure is not None:
        click.echo(textwrap.indent(verdict.trace if traces else str(verdict.failure), " " * 12), err=True)


def left_by(backend: str, options: dict[str, Any]) -> list[str]:
    """The options in which fresh names stood of places that nobody takes away again."""
    if load_backend(backend).fresh is not None:
        return []
    return [name for name, value in options.items() if FRESH in str(value) and _folder_of(value) is None]


def _reason(error: BaseException) -> str:
    text: Any = str(error) or "no message"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


if __name__ == "__main__":
    report(prog_name="python -m f1mon_core.testing")

"""The `f1mon` command: its options, and its commands, each imported when it is asked for."""

from __future__ import annotations

import difflib
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points

import click
from click.exceptions import NoArgsIsHelpError

from f1mon_core._version import __version__
from f1mon_core.cli.errors import FAILED, WORDS, CannotError, MisusedError, hidden, misused, said
from f1mon_core.cli.place import Place
from f1mon_core.cli.streams import be_quiet, ended, warn
from f1mon_core.errors import DamagedStoreWarning, F1monError
from f1mon_core.storage.address import masked
from f1mon_core.storage.registry import missing_extra
from f1mon_core.text import discreet, one_line

COMMANDS_GROUP = "f1mon.commands"
"""The entry-point group of further commands: the command's name -> a `click.Command`."""

OWN_COMMANDS = {
    "ack": "f1mon_core.cli.alerts:ack",
    "adopt": "f1mon_core.cli.adopt:adopt",
    "alerts": "f1mon_core.cli.alerts:alerts",
    "backends": "f1mon_core.cli.backends:backends",
    "channels": "f1mon_core.cli.channels:channels",
    "check": "f1mon_core.cli.check:check",
    "compare": "f1mon_core.cli.compare:compare",
    "dashboard": "f1mon_core.cli.dashboard:dashboard",
    "deliver": "f1mon_core.cli.delivery:deliver",
    "deliveries": "f1mon_core.cli.delivery:deliveries",
    "demo": "f1mon_core.cli.demo:demo",
    "drift": "f1mon_core.cli.drift:drift",
    "evaluate": "f1mon_core.cli.evaluate:evaluate",
    "import": "f1mon_core.cli.importing:import_",
    "incident": "f1mon_core.cli.alerts:incident",
    "incidents": "f1mon_core.cli.incidents:incidents",
    "metrics": "f1mon_core.cli.metrics:metrics",
    "models": "f1mon_core.cli.models:models",
    "reference": "f1mon_core.cli.reference:reference",
    "report": "f1mon_core.cli.report:report",
    "resolve": "f1mon_core.cli.incidents:resolve",
    "rules": "f1mon_core.cli.rules:rules",
    "segments": "f1mon_core.cli.trend:segments",
    "settling": "f1mon_core.cli.settling:settling",
    "silence": "f1mon_core.cli.delivery:silence",
    "snapshot": "f1mon_core.cli.snapshot:snapshot",
    "status": "f1mon_core.cli.status:status",
    "trend": "f1mon_core.cli.trend:trend",
}
"""Core's own commands; a name here wins over a distribution that registers it too."""


class _Commands(click.Group):
    """Commands found by name. One that does not load spoils neither the others nor the list of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *OWN_COMMANDS, *_registered()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (known := super().get_command(ctx, cmd_name)) is not None:
            return known
        if (where := OWN_COMMANDS.get(cmd_name)) is not None:
            module, _, name = where.partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        points = _registered().get(cmd_name, [])
        if not points:
            return None
        return _load(cmd_name, points)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and (close := self._closest(ctx, args[0])):
            ctx.fail(f"No such command {args[0]!r}. Did you mean {close!r}?")
        return super().resolve_command(ctx, args)

    def _closest(self, ctx: click.Context, name: str) -> str | None:
        return next(iter(difflib.get_close_matches(name, self.list_commands(ctx), n=1)), None)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = []
        for name in self.list_commands(ctx):
            try:
                command = self.get_command(ctx, name)
            except click.ClickException as error:
                rows.append((name, f"({error.message})"))
                continue
            if command is not None and not command.hidden:
                rows.append((name, command.get_short_help_str(formatter.width)))
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[WORDS] = tuple(args)
        with _in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> None:
        with _in_one_line(ctx):
            self._invoked(ctx)

    def _invoked(self, ctx: click.Context) -> None:
        try:
            super().invoke(ctx)  # what a command returns is nobody's exit code
        except F1monError as error:
            raise said(error) from error
        except UnicodeEncodeError as error:
            # Arguments and paths that are no text of their locale come as lone surrogates, which no store takes.
            raise MisusedError(f"{masked(error.object)!r} is not {error.encoding.upper()}") from error


@contextmanager
def _in_one_line(ctx: click.Context) -> Iterator[None]:
    try:
        yield
    except NoArgsIsHelpError:
        raise
    except click.UsageError as error:
        raise misused(error, ctx.meta[WORDS]) from None
    except CannotError as error:
        raise type(error)(hidden(error.message, ctx.meta[WORDS])) from error.__cause__


def _registered() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=COMMANDS_GROUP):
        found.setdefault(point.name, []).append(point)
    return found


def _load(name: str, points: list[EntryPoint]) -> click.Command:
    if len({point.value for point in points}) > 1:
        claims = " and ".join(sorted(f"{point.dist.name if point.dist else '?'} ({point.value})" for point in points))
        raise CannotError(f"command {name!r} is registered twice, by {claims}: uninstall one of them")
    try:
        command = points[0].load()
    except ImportError as error:
        if (missing := missing_extra(points[0], f"command {name!r}", error)) is not None:
            raise said(missing) from error
        raise CannotError(f"command {name!r} does not load: {type(error).__name__}: {error}") from error
    except Exception as error:
        raise CannotError(f"command {name!r} does not load: {type(error).__name__}: {error}") from error
    if not isinstance(command, click.Command):
        raise CannotError(f"command {name!r} does not load: {points[0].value} is not a click command")
    return command


class _Talk(logging.Handler):
    """Log records as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if record.exc_info is not None and (error := record.exc_info[1]) is not None:
            # Without a traceback, but not without the reason: a worker's log is where somebody looks for it.
            said = f"{said}: {discreet(f'{type(error).__name__}: {error}')}"
        warn(one_line(f"f1mon: {record.levelname.lower()}: {said}"))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="f1mon")
@click.option("--backend", metavar="NAME", help="Backend by name: jsonl, sql, … (see `f1mon backends`).")
@click.option("--url", metavar="ADDRESS", help="Store by address: sqlite:///f1mon.db, postgresql://…, jsonl:///dir.")
@click.option("--path", metavar="DIRECTORY", help="Directory of the file backend.")
@click.option("--strict", is_flag=True, help="Refuse a store that is damaged, instead of a warning.")
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
@click.option("-q", "--quiet", is_flag=True, help="Say only what is wrong on stderr.")
@click.pass_context
def f1mon(
    ctx: click.Context,
    *,
    backend: str | None,
    url: str | None,
    path: str | None,
    strict: bool,
    verbose: bool,
    quiet: bool,
) -> None:
    """Predictions, the outcomes that arrive late, and the alerts about them.

    Which store: an option here, else F1MON_BACKEND / F1MON_URL, else MONITORING_DB_*, else files in data/monitoring.

    Exit codes: 0 done; 1 the store or the request failed; 2 wrong usage or configuration; 3 an alert fired (evaluate),
    or something drifted (drift); 4 something is lost or wrong (check); 5 an alert may not be made or heard (check,
    deliver); 6 rows were set aside (import). They are those of what happened: where only stdout failed it is 1.
    """
    if quiet:
        be_quiet()
    talk = _Talk()
    log = logging.getLogger("f1mon")
    log.addHandler(talk)
    level = log.level
    log.setLevel(logging.INFO if verbose else logging.WARNING)

    def silence() -> None:
        log.removeHandler(talk)
        log.setLevel(level)

    ctx.call_on_close(silence)
    ctx.with_resource(warnings.catch_warnings())
    warnings.simplefilter("ignore", DamagedStoreWarning)  # the log says the same, in one line
    ctx.obj = Place(backend=backend, url=url, path=path, strict=strict)


def main() -> None:
    """Run the command line."""
    sys.exit(ended(lambda: f1mon.main(standalone_mode=False), FAILED))

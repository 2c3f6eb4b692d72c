"""`f1mon import`: predictions and outcomes from CSV, JSON lines and Parquet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NoReturn
from zoneinfo import ZoneInfo

import attrs
import click

from f1mon_core.cli.errors import INCOMPLETE, CannotError, MisusedError
from f1mon_core.cli.output import document
from f1mon_core.cli.parameters import LABEL, json_option
from f1mon_core.cli.place import Place, pass_place
from f1mon_core.cli.streams import talk
from f1mon_core.errors import InvalidRecordError
from f1mon_core.monitor import Monitor
from f1mon_core.recording import plans
from f1mon_core.recording.cells import ISO, Meaning
from f1mon_core.recording.files import Table, format_of, opened
from f1mon_core.recording.importing import Imported, Refused, SetAside, import_rows
from f1mon_core.recording.layout import layout
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.plans import run
from f1mon_core.text import printable

_BATCH = 5_000


class _Pair(click.ParamType):  # type: ignore[type-arg]  # generic only in clicks newer than our oldest
    """`NAME=VALUE`; the last `=` divides, where several do, if `last`."""

    name = "pair"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """See `click.ParamType.convert`."""
        if isinstance(value, tuple):
            return value
        name, divided, rest = value.partition("=")
        if not divided or not name:
            self.fail(f"{value!r} is no NAME=VALUE", param, ctx)
        return name, rest


_PAIR = _Pair()


def _choice(value: str | None) -> Any:
    """Columns as an option lists them: `a,b`, `name=column`, or `rest`."""
    if value is None or value == "rest":
        return value
    pairs = [one.partition("=") for one in value.split(",") if one]
    return {name: column or name for name, _, column in pairs}


def _zone(ctx: click.Context, param: click.Parameter, value: str | None) -> ZoneInfo | None:  # noqa: ARG001 - a callback's shape
    if value is None:
        return None
    try:
        return ZoneInfo(value)
    except (ValueError, OSError, LookupError) as error:
        raise click.BadParameter(f"{value!r} is no time zone such as UTC or Europe/Berlin") from error


def _file_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that both kinds of rows have."""
    for option in reversed(
        [
            click.argument("file", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)),
            click.option("--column", "columns", type=_PAIR, multiple=True, metavar="FIELD=COLUMN",
                         help="The column a field is in, where it is called otherwise."),
            click.option("--label", "labels", type=_PAIR, multiple=True, metavar="TEXT=LABEL",
                         help="What a label is called in the file, and the label, as in malignant=1; no other then."),
            click.option("--label-type", type=click.Choice(["auto", "int", "text"]), default="auto", show_default=True,
                         help="Whether labels are whole numbers or texts."),
            click.option("--time-format", default=ISO, show_default=True, metavar="FORMAT",
                         help="iso, unix, unix-ms, unix-us (since 1970), or a format such as %d.%m.%Y %H:%M."),
            click.option("--time-zone", callback=_zone, metavar="ZONE", help="The zone of times that name none."),
            click.option("--text", "as_text", multiple=True, metavar="COLUMN",
                         help="A column that stays text, also where it looks like numbers."),
            click.option("--set-aside", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
                         help="Where rows go that cannot be taken, with line, field, reason; else the first ends it."),
            click.option("--format", "form", type=click.Choice(["csv", "jsonl", "parquet"]),
                         help="The file's format, where its name does not say it."),
            click.option("--delimiter", metavar="CHARACTER", help="What is between the fields of CSV; a comma."),
            click.option("--encoding", default="utf-8-sig", show_default=True, help="Of CSV and JSON lines."),
            json_option,
        ]
    ):  # fmt: skip
        command = option(command)
    return command


@attrs.frozen(kw_only=True)
class _Asked:
    """What the options of a file say."""

    file: Path
    columns: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str], ...]
    label_type: Any
    time_format: str
    time_zone: ZoneInfo | None
    as_text: tuple[str, ...]
    set_aside: Path | None
    form: Any
    delimiter: str | None
    encoding: str
    as_json: bool

    def fields(self) -> dict[str, Any]:
        """Field to column; `probabilities.LABEL` together."""
        made: dict[str, Any] = {}
        for field, column in self.columns:
            name, inside, label = field.partition(".")
            if name == "probabilities" and inside:
                made.setdefault(name, {})[self.label_of(label)] = column
            else:
                made[field] = column
        return made

    def label_of(self, text: str) -> int | str:
        """A label as it is spelled on the command line."""
        return text if self.label_type == "text" else LABEL.convert(text, None, None)


@click.group("import")
def import_() -> None:
    """Take predictions or outcomes from a file; again is harmless, also after a run that was killed."""


@import_.command("predictions")
@_file_options
@click.option("--model-version", metavar="V", help="The model of all rows, where no column says it.")
@click.option("--positive", type=LABEL, metavar="LABEL", help="The class that a column of probability is of.")
@click.option("--features", metavar="COLUMNS", help="Columns that go into features: a,b or name=a,b, or rest.")
@click.option("--segments", metavar="COLUMNS", help="Columns that go into segments.")
@click.option("--metadata", metavar="COLUMNS", help="Columns that go into metadata.")
@pass_place
def import_predictions(
    place: Place,
    /,
    *,
    model_version: str | None,
    positive: int | str | None,
    features: str | None,
    segments: str | None,
    metadata: str | None,
    **options: Any,
) -> None:
    """Take predictions from FILE: CSV with a header, JSON lines or Parquet, also CSV and JSON lines under gzip.

    Columns called like a field are that field: prediction_id, model_version, predicted_outcome, at, and confidence (of
    the predicted class) or probability (of the positive one); --column names others, also probabilities.LABEL=COLUMN.

    Exit code 6 if rows were set aside; then all the others are in.
    """
    groups = {"features": _choice(features), "segments": _choice(segments), "metadata": _choice(metadata)}
    _import(place, Prediction, _Asked(**options), groups, {"model_version": model_version, "positive": positive})


@import_.command("outcomes")
@_file_options
@pass_place
def import_outcomes(place: Place, /, **options: Any) -> None:
    """Take outcomes from FILE: CSV with a header, JSON lines or Parquet, also CSV and JSON lines under gzip.

    Columns called like a field are that field: prediction_id, actual_outcome, known_at; --column names others. Without
    a column for known_at an outcome is known when it is taken, and of two labels of one item the first is taken. Rows
    without a label are skipped.

    Exit code 6 if rows were set aside; then all the others are in.
    """
    _import(place, Outcome, _Asked(**options), {}, {})


def _import(
    place: Place,
    kind: type[Prediction | Outcome],
    asked: _Asked,
    groups: Mapping[str, Any],
    given: Mapping[str, Any],
) -> None:
    form = asked.form or format_of(asked.file)
    meaning = Meaning(
        labels={text: asked.label_of(label) for text, label in asked.labels},
        label_type=asked.label_type,
        time_format=asked.time_format,
        time_zone=asked.time_zone,
        as_text=frozenset(asked.as_text),
        typed=form != "csv",
    )
    if asked.delimiter is not None and len(asked.delimiter) != 1:
        raise MisusedError("--delimiter is one character")
    try:
        table = opened(asked.file, form, delimiter=asked.delimiter, encoding=asked.encoding)
    except LookupError as error:
        raise MisusedError(f"--encoding {asked.encoding}: {error}") from error
    with table:
        try:
            found = layout(kind, table.names, columns=asked.fields(), groups=groups, given=given)
        except InvalidRecordError as error:
            raise MisusedError(f"{asked.file.name}: {error} (--column FIELD=COLUMN)") from error
        for column in asked.as_text:
            if column not in table.names:
                raise MisusedError(f"--text {column}: {asked.file.name} has no such column")
        with place.open(create=True) as monitor, _aside(table, asked) as refuse, _bar(table) as bar:
            account = import_rows(
                table,
                found,
                meaning,
                lambda batch: run(plans.append(batch), monitor.storage),
                refuse,
                batch_size=_BATCH,
                progress=lambda: bar.update(table.position() - bar.pos),
            )
            _tell(monitor, account, kind, asked)
    if not account.complete:
        raise click.exceptions.Exit(INCOMPLETE)


def _bar(table: Table) -> Any:
    """A progress bar on stderr, where that is a terminal."""
    return click.progressbar(length=table.length, file=sys.stderr, hidden=not sys.stderr.isatty())


def _aside(table: Table, asked: _Asked) -> AbstractContextManager[Callable[[Refused], None]]:
    return nullcontext(_first_ends_it(table, asked.file)) if asked.set_aside is None else SetAside(asked.set_aside)


def _first_ends_it(table: Table, file: Path) -> Callable[[Refused], NoReturn]:
    def refuse(row: Refused) -> NoReturn:
        column = "" if row.column in {None, row.field} else f", column {row.column!r}"
        raise CannotError(
            printable(
                f"{file.name}, {table.unit} {row.place}{column}: {row.field}: {row.reason}; whole batches of "
                f"{_BATCH} rows before it are stored: mend it, or go on with --set-aside FILE"
            )
        )

    return refuse


def _tell(monitor: Monitor, account: Imported, kind: type[Prediction | Outcome], asked: _Asked) -> None:
    told = attrs.asdict(account.appended)
    if asked.as_json:
        aside = None if asked.set_aside is None else str(asked.set_aside)
        said = {"store": monitor.address, "file": str(asked.file), "kind": kind.kind, "rows": account.rows, **told}
        document({**said, "set_aside": account.refused, "set_aside_file": aside, "complete": account.complete})
        return
    click.echo(f"rows        {account.rows}")
    for name in ("new", "repeated", "skipped", "nulled", "prelabelled", "unmatched"):
        if told[name] or name in {"new", "repeated"}:
            click.echo(f"{name:<11} {told[name]}")
    if account.refused:
        click.echo(f"set aside   {account.refused}, in {asked.set_aside}")
    if told["prelabelled"]:
        talk("prelabelled: predictions of items labelled more than a day before: are their ids given out anew?")
    if told["unmatched"]:
        talk("unmatched: outcomes of items that nobody predicted yet: do the ids agree with those of the predictions?")

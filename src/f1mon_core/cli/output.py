"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import attrs
import click

from f1mon_core.storage.condition import Damage
from f1mon_core.text import printable

_DAMAGE = "f1mon.damage"


def stamp(instant: datetime | None) -> str:
    """An instant as UTC to the second; `-` for None."""
    return "-" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]], *, right: Sequence[int] = ()) -> None:
    """Print aligned columns under a header; None as `-`, the columns named in `right` to the right."""
    lines = [header, *([printable(str("-" if cell is None else cell)) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    for line in lines:
        cells = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        click.echo("  ".join(cells).rstrip())


def note_damage(damage: Damage) -> None:
    """From now on what this command prints as a JSON object says that the store is damaged."""
    click.get_current_context().meta[_DAMAGE] = damage


def document(value: Any) -> None:
    """Print one JSON document; instants as ISO 8601 in UTC with microseconds.

    An object that rests on a damaged store has the member `damage`.
    """
    ctx = click.get_current_context(silent=True)
    damage = None if ctx is None else ctx.meta.get(_DAMAGE)
    if damage is not None and isinstance(value, dict):
        value = {**value, "damage": attrs.asdict(damage)}
    click.echo(json.dumps(value, indent=2, allow_nan=False, default=_instant))


def _instant(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    message = f"{type(value).__name__} is not JSON"
    raise TypeError(message)

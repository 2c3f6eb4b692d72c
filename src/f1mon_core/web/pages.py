"""From what a screen found to HTML: the templates, and how numbers, times and addresses are written in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from f1mon_core._version import __version__
from f1mon_core.records.fields import ClassLabel
from f1mon_core.text import printable, told_segments

NONE = "\N{EN DASH}"
"""What stands where nothing is known; the reason is beside it."""
_WEEK = timedelta(weeks=1)
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


class Link(Protocol):
    """Makes the address of a page, of its name and the words of its query; a None is left out."""

    def __call__(self, page: str, /, **words: Any) -> str:
        """The address."""


def links(prefix: str) -> Link:
    """Addresses under a prefix, `""` or `/f1mon`."""

    def link(page: str, /, **words: Any) -> str:
        kept = {name: _word(value) for name, value in words.items() if value not in (None, "")}
        return f"{prefix}/{page}" + (f"?{urlencode(kept)}" if kept else "")

    return link


def _word(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if isinstance(value, str) else json.dumps(value)


def stamp(at: datetime | None) -> str:
    """An instant in UTC to the minute, or to the second where it has some."""
    if at is None:
        return NONE
    at = at.astimezone(UTC)
    return f"{at:%Y-%m-%d %H:%M}" if not at.second else f"{at:%Y-%m-%d %H:%M:%S}"


def minute(at: datetime | None) -> str:
    """An instant in UTC to the minute, for titles."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M}"


def time(at: datetime | None) -> Markup:
    """An instant as an element that programs can read."""
    if at is None:
        return escape(NONE)
    return Markup('<time datetime="{}">{}</time>').format(at.astimezone(UTC).isoformat(), stamp(at))


def number(value: float | None, digits: int = 4) -> Markup:
    """A number, whole in the attribute and rounded for the eye; a dash for None."""
    if value is None:
        return escape(NONE)
    return Markup('<data value="{}">{}</data>').format(repr(value), f"{value:.{digits}f}")


def count(value: int | None) -> Markup:
    """A whole number, with its thousands apart."""
    return escape(NONE) if value is None else Markup('<data value="{}">{}</data>').format(value, f"{value:,}")


def share(value: float | None) -> Markup:
    """A share in percent."""
    return escape(NONE) if value is None else Markup('<data value="{}">{}</data>').format(repr(value), f"{value:.1%}")


def duration(length: timedelta | None) -> str:
    """A length of time in its two largest units."""
    if length is None:
        return NONE
    if length >= _WEEK and not length % _WEEK:
        return f"{length // _WEEK} week{'' if length == _WEEK else 's'}"
    seconds, told = round(abs(length.total_seconds())), []
    for size, unit in _UNITS:
        if seconds >= size:
            told.append(f"{seconds // size} {unit}")
            seconds %= size
    return " ".join(told[:2]) or "0 s"


def label(value: ClassLabel) -> str:
    """A class label, with its type where a text looks like a number."""
    return json.dumps(value) if isinstance(value, str) and value.lstrip("-").isdigit() else str(value)


@cache
def environment() -> Environment:
    """The templates, with every value escaped and control characters shown as such."""
    made = Environment(
        loader=PackageLoader("f1mon_core.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.filters |= {
        "time": time, "number": number, "count": count, "share": share, "duration": duration, "label": label,
        "segments": told_segments, "stamp": stamp, "exact": escape, "minute": minute,
    }  # fmt: skip
    made.globals |= {"version": __version__, "stylesheet": stylesheet_name()}
    return made


def _shown(value: Any) -> Any:
    """What a template shows: text of unknown origin cannot turn a line around, nor hide."""
    if type(value) is str:
        return value if value.isprintable() else "\n".join(map(printable, value.split("\n")))
    return NONE if value is None else value


@cache
def asset(name: str) -> bytes:
    """A file that pages ask for."""
    return (files("f1mon_core.web") / "static" / name).read_bytes()


def stylesheet_name() -> str:
    """The style sheet's address, which changes with it."""
    return f"f1mon.css?{hashlib.sha256(asset('f1mon.css')).hexdigest()[:12]}"


def render(template: str, context: Mapping[str, Any]) -> str:
    """A whole page."""
    return environment().get_template(template).render(context)

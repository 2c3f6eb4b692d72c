"""Text of unknown origin, made fit to be shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://[^\s'\"]+")
_NOTHING = "\N{EN DASH}"
_SECRET = re.compile(
    r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key|authorization)[\"']?\s*[=:]\s*[\"']?(?:(?:basic|bearer)\s+)?)[^&;,\s\"']+"
)


def printable(text: str) -> str:
    """Text that cannot move the cursor, turn the line around or end it: control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int = 1_000) -> str:
    """Printable text with every run of white space, line ends included, as one blank; cut at `limit` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def shortened(text: str, limit: int) -> str:
    """Text of at most so many characters; what is left out, and counted, is in its middle: its end says what to do."""
    if len(text) <= limit:
        return text
    lines, end = text.count("\n"), text[text.rfind("\n") :][-limit // 2 :]
    room = limit - len(end) - len(f"\n… {lines} lines left out …")
    begin = text[: max(room, 0)]
    if "\n" in begin.strip("\n"):
        begin = begin[: begin.rfind("\n")]  # whole lines
    return f"{begin}\n… {lines - begin.count(chr(10)) - end.count(chr(10))} lines left out …{end}"


def discreet(text: str) -> str:
    """Text of somebody else's error without what may be a secret: of an address only its scheme stays."""
    return _SECRET.sub(r"\1***", _ADDRESS.sub(r"\1://***", text))


def apart(first: float, second: float, form: str = "g", least: int = 6) -> tuple[str, str]:
    """Two numbers in as many digits as it takes to see that they differ, and at least so many."""
    for digits in range(least, 18):
        shown = f"{first:.{digits}{form}}", f"{second:.{digits}{form}}"
        if first == second or shown[0] != shown[1]:
            return shown
    return repr(first), repr(second)


def told_segments(segments: Mapping[str, Any]) -> str:
    """Segments in words: `country=DE, without tier`; of alternatives, with bars between them."""
    return ", ".join(f"without {name}" if one is None else f"{name}={_choice(one)}" for name, one in segments.items())


def _choice(choice: Any) -> str:
    if isinstance(choice, tuple | list):
        return "|".join("none" if one is None else str(one) for one in choice)
    if isinstance(choice, Mapping):
        return f"({told_segments(choice)})"
    return str(choice)


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Any]], notes: Iterable[str] = ()) -> str:
    """A plain HTML table for a notebook, of text that may hold anything; None is a dash, numbers stand to the right."""
    from html import escape  # noqa: PLC0415 - brings every name that HTML has for a character

    def cell(value: Any) -> str:
        text = escape(printable(_NOTHING if value is None else str(value)))
        right = isinstance(value, int | float) or text[:1].isdigit() or text[:1] in {"+", "-"}
        return f'<td style="text-align: right">{text}</td>' if right else f"<td>{text}</td>"

    head = "".join(f'<th scope="col">{escape(printable(one))}</th>' for one in header)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    said = "".join(f"<p>{escape(printable(one))}</p>" for one in notes)
    title = escape(printable(caption))
    return f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{said}"


def closest(name: str, known: Collection[str]) -> str:
    """`; did you mean …?` where a known name is close, else nothing."""
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close and close[0] != name else ""


def is_one_of(value: object, names: Collection[str]) -> bool:
    """Whether a value of any type is one of some names; never asks an array or a frame whether it equals a text."""
    return isinstance(value, str) and value in names

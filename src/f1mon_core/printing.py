"""Text of unknown origin, made fit to be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text that cannot move the cursor, turn the line around or end it: control characters are escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def one_line(text: str, limit: int = 1_000) -> str:
    """Printable text with every run of white space, line ends included, as one blank; cut at `limit` characters."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"

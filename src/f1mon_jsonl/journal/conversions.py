"""What tools do to a text file and thereby to a journal, told by its name with the command that undoes it."""

from __future__ import annotations

from f1mon_core.errors import CorruptStoreError
from f1mon_jsonl.format import intact

_FILE = "journal.jsonl"
_TO_LF = rf"sed -i 's/\r$//' {_FILE}"
_WITHOUT_BOM = rf"sed -i '1s/^\xEF\xBB\xBF//' {_FILE}"
_BOM = b"\xef\xbb\xbf"
_UTF_16 = {b"\xff\xfe": "UTF-16LE", b"\xfe\xff": "UTF-16BE"}
_BRACE = {b"{\0": "UTF-16LE", b"\0{": "UTF-16BE"}
"""How a header begins in UTF-16 without a byte order mark."""


def refuse(first_line: bytes) -> None:
    """Raise `CorruptStoreError` if the first line is a header that a conversion of the whole file changed.

    Args:
        first_line: With its newline. No line can be read then, and what would be written could not be either once the
            file is converted back.
    """
    beginning = first_line[:2]
    if (found := _UTF_16.get(beginning) or _BRACE.get(beginning)) is not None:
        raise _converted(
            f"was converted to {found}",
            f"iconv -f {found} -t UTF-8 {_FILE} | sed '1s/^\\xEF\\xBB\\xBF//' > mended && mv mended {_FILE}",
        )
    line = first_line[:-1]
    if line.startswith(_BOM):
        line = line[len(_BOM) :]
        if intact(line):
            raise _converted("was given a byte order mark", _WITHOUT_BOM)
        if _is_crlf(line):
            raise _converted(
                "was given a byte order mark, and CRLF for its ends of lines", f"{_WITHOUT_BOM} && {_TO_LF}"
            )
    if _is_crlf(line):
        raise _converted("has CRLF for its ends of lines", _TO_LF)


def reason(piece: bytes) -> str | None:
    """What a conversion did to one line, given without its newline; None if none did."""
    if _is_crlf(piece):
        return f"the line ends in CRLF; where nobody writes: {_TO_LF}"
    if piece.startswith(_BOM) and intact(piece[len(_BOM) :]):
        return "the line begins with a byte order mark, as where files were put together"
    return None


def _is_crlf(line: bytes) -> bool:
    return line.endswith(b"\r") and intact(line[:-1])


def _converted(how: str, command: str) -> CorruptStoreError:
    return CorruptStoreError(
        f"the journal {how}, by an editor, a version control system or a copy; nothing was read or written. Stop those"
        f" who use the store and, in its directory, undo it: {command}"
    )

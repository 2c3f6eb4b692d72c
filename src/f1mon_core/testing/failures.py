"""What became of a law that was not kept: what was done, what was expected, what was seen."""

from __future__ import annotations

import ast
import inspect
import linecache
import re
import textwrap
from collections.abc import Callable, Iterator
from types import CodeType, TracebackType
from typing import Any

import attrs

from f1mon_core.storage.address import masked_in
from f1mon_core.testing.asserts import Unkept, shown

LINES = 12
"""The most lines of a law that tell what was done."""
_WHOLE = 3
"""The most lines of a statement that are quoted."""


@attrs.frozen
class Failure:
    """How a law was broken.

    Attributes:
        done: What the law had done, its last lines; and what it was given, where it looked for an example.
        expected: What must have come of the next statement.
        seen: What came of it.
        names: The values of what the statement names, so far as they are plain.
        where: File and line of the statement.
    """

    done: str
    expected: str
    seen: str
    names: str
    where: str

    def __str__(self) -> str:
        parts = {"done": self.done, "with": self.names, "expected": self.expected, "seen": self.seen, "at": self.where}
        return "\n".join(f"{name + ':':<10}{_indented(text)}" for name, text in parts.items() if text)


def failure_of(error: BaseException, law: Callable[..., Any]) -> Failure:
    """What an exception that came out of a law tells; a password in it is masked."""
    law = inspect.unwrap(law)
    source, first = inspect.getsourcelines(law)
    path = inspect.getsourcefile(law) or ""
    places = list(_places(error.__traceback__))
    own = range(first, first + len(source))
    line = next((line for code, line, _ in reversed(places) if code.co_filename == path and line in own), first)
    nothing: dict[str, Any] = {}
    names = next((names for code, _, names in reversed(places) if code.co_filename == path), nothing)
    tree = ast.parse(textwrap.dedent("".join(source)))
    begins, ends = _statement(tree, line - first + 1)
    body = tree.body[0].body[0].lineno  # type: ignore[attr-defined]
    quoted = textwrap.dedent("".join(source[begins - 1 : min(ends, begins + _WHOLE - 1)])).strip()
    done = textwrap.dedent("".join(source[max(body - 1, begins - 1 - LINES) : begins - 1])).strip("\n")
    notes = "\n".join(str(note) for note in getattr(error, "__notes__", ()))
    inner = next(((code, line) for code, line, _ in reversed(places) if _is_kit(code)), (law.__code__, line))
    return Failure(
        done=masked_in("\n".join(filter(None, [done, notes])) or "a fresh place was opened"),
        expected=masked_in(_expected(error, quoted)),
        seen=masked_in(error.seen if isinstance(error, Unkept) else _told(error)),
        names=masked_in(_plain(names, f"{quoted}\n{linecache.getline(*_at(inner)).strip()}")),
        where="{}:{}".format(*_at(inner)),
    )


def _expected(error: BaseException, quoted: str) -> str:
    if isinstance(error, Unkept):
        return f"{error.expected} ({error.about})" if error.about else error.expected
    if str(error).startswith("DID NOT RAISE"):
        return quoted
    return f"no error from: {quoted}" if "pytest.fail" not in quoted else quoted


def _told(error: BaseException) -> str:
    text = str(error)
    if text.startswith("DID NOT RAISE"):
        return "no error"
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__


def _places(trace: TracebackType | None) -> Iterator[tuple[CodeType, int, dict[str, Any]]]:
    while trace is not None:
        yield trace.tb_frame.f_code, trace.tb_lineno, trace.tb_frame.f_locals
        trace = trace.tb_next


def _is_kit(code: CodeType) -> bool:
    return "f1mon_core/testing/" in code.co_filename.replace("\\", "/")


def _at(place: tuple[CodeType, int]) -> tuple[str, int]:
    return place[0].co_filename, place[1]


def _statement(tree: ast.AST, line: int) -> tuple[int, int]:
    """The lines of the innermost statement that a line is of; of a `with` its head and the first of its body."""
    found = (line, line)
    for node in ast.walk(tree):  # outer statements come before inner ones
        if not isinstance(node, ast.stmt) or not node.lineno <= line <= (node.end_lineno or line):
            continue
        if not (body := getattr(node, "body", None)):
            found = (node.lineno, node.end_lineno or line)
        elif line < body[0].lineno:
            found = (node.lineno, body[0].lineno if isinstance(node, ast.With) else max(line, body[0].lineno - 1))
    return found


def _plain(names: dict[str, Any], statement: str) -> str:
    """The values of the plain names in a statement."""
    used = sorted(set(names) & set(re.findall(r"[^\W\d]\w*", statement)))
    plain = [name for name in used if isinstance(names[name], str | bytes | int | float | tuple | list | dict | None)]
    return ", ".join(f"{name} = {shown(names[name])}" for name in plain)


def _indented(text: str) -> str:
    return text.replace("\n", "\n" + " " * 10)

"""What a command says, where stdout is full or gone: the exit code is that of what happened, not of how it was told."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

import click

from f1mon_core.cli.errors import WORDS, hidden

_QUIET = "f1mon.quiet"


def be_quiet() -> None:
    """From now on this command says only what is wrong."""
    click.get_current_context().meta[_QUIET] = True


def talk(text: str) -> None:
    """Say something on stderr beside the data; nothing under `--quiet`."""
    ctx = click.get_current_context(silent=True)
    if ctx is None or not ctx.meta.get(_QUIET):
        warn(text)


def warn(text: str) -> None:
    """Say on stderr what is wrong, also under `--quiet`. A stderr that takes nothing ends no command.

    An argument that is an address with a password is not repeated, whatever it was given as.
    """
    if (ctx := click.get_current_context(silent=True)) is not None:
        text = hidden(text, ctx.meta.get(WORDS, ()))
    with contextlib.suppress(OSError, ValueError):
        click.echo(text, err=True)


class _Held(io.RawIOBase):
    """A stream's bytes; the first write that fails is remembered, and what follows goes nowhere."""

    def __init__(self, raw: Any) -> None:
        super().__init__()
        self._raw = raw
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        if self._raw is None:
            raise io.UnsupportedOperation
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return self._raw is not None and bool(self._raw.isatty())

    def write(self, chunk: Any, /) -> int:
        data = memoryview(chunk).cast("B")
        written = 0
        if self._raw is None:
            self.failure = OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            while self.failure is None and written < len(data):
                written += self._raw.write(data[written:]) or 0
        except OSError as error:
            self.failure = error
        return len(data)


class Stdout:
    """Stands before the process's stdout while commands run, and knows whether all of it arrived."""

    def __init__(self) -> None:
        was: TextIO | None = sys.stdout
        _fill_descriptors()
        self._held = _Held(None if was is None else getattr(was, "buffer", was))
        encoding = "utf-8" if was is None else was.encoding
        buffered = io.BufferedWriter(self._held)
        sys.stdout = io.TextIOWrapper(
            buffered, encoding, errors="backslashreplace", line_buffering=self._held.isatty(), write_through=False
        )
        self._was = was

    def failure(self) -> OSError | None:
        """Why not all of it arrived; None if it did."""
        sys.stdout.flush()
        if self._was is not None and self._held.failure is None:
            try:
                self._was.flush()
            except OSError as error:
                self._held.failure = error
        if self._held.failure is not None:
            _abandon(1)  # what is left in the process's own buffer must not fail again when it ends
        return self._held.failure


def _fill_descriptors() -> None:
    """Open what was closed of 0, 1 and 2, so that no file of a store gets such a number and is written to as stdout."""
    with contextlib.suppress(OSError):
        while (opened := os.open(os.devnull, os.O_RDWR)) < 3:  # noqa: PLR2004 - those three
            pass
        os.close(opened)


def _abandon(descriptor: int) -> None:
    with contextlib.suppress(OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def ended(run: Callable[[], Any], failed: int) -> int:
    """Run the commands and say their errors; the exit code of what happened, or `failed` if only stdout did."""
    if sys.stderr is not None and hasattr(sys.stderr, "reconfigure"):
        sys.stderr.reconfigure(errors="backslashreplace")  # a terminal that cannot show a character ends no command
    stdout = Stdout()
    try:
        code = run()
    except click.ClickException as error:
        with contextlib.suppress(OSError, ValueError):
            error.show()
        code = error.exit_code
    except click.Abort:
        warn("Aborted!")
        code = failed
    code = code if isinstance(code, int) else 0
    if (failure := stdout.failure()) is not None:
        warn(f"Error: stdout: {failure.strerror or failure}")
        code = code or failed
    try:
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        _abandon(2)
    return code

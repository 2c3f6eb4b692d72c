"""What a handle knows to be damaged in its directory: in the journal it read, and in files that were set aside."""

from __future__ import annotations

import os

from f1mon_core.storage.condition import Damage
from f1mon_core.storage.contract import Problem
from f1mon_jsonl.disk.directory import DAMAGED, JOURNAL, Directory, read_all
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.format import intact
from f1mon_jsonl.journal.reader import Reader

_HOLE = "zeros that nobody vouches for end the journal; what lies behind them is not read"


class Doubts:
    """What is damaged, as known since it was last asked.

    Attributes:
        damage: It; None if nothing is.
    """

    def __init__(self, directory: Directory, files: Files) -> None:
        self._directory = directory
        self._files = files
        self._aside: list[Problem] = []
        self._looked_at: object = None
        self._told: Damage | None = None
        self.damage: Damage | None = None

    def of(self, reader: Reader) -> Damage | None:
        """What is damaged in a journal as far as it was read, and beside it."""
        if self._looked_at is not reader.identity:  # only a compaction sets lines aside, and then all is read anew
            found = set_aside(self._directory, self._files)
            self._aside = [problem for problem in found if problem.severity == "error"]
            self._looked_at = reader.identity
        pieces = len(reader.damages) + (reader.hole is not None) + len(self._aside)
        if not pieces:
            self.damage = None
        elif reader.damages:
            first = reader.damages[0]
            self.damage = Damage(pieces, f"{JOURNAL}, line {first.line}, byte {first.offset}", first.reason)
        elif reader.hole is not None:
            self.damage = Damage(pieces, f"{JOURNAL}, byte {reader.hole}", _HOLE)
        else:
            self.damage = Damage(pieces, self._aside[0].where, self._aside[0].message)
        return self.damage

    def is_news(self) -> bool:
        """Whether what is damaged was not told before."""
        news = self.damage != self._told
        self._told = self.damage
        return news


def set_aside(directory: Directory, files: Files) -> list[Problem]:
    """What lies in the files that were set aside: lost lines, or what nobody acknowledged."""
    return [_of_bytes(name, _read(directory, files, name)) for name in directory.set_aside_files()]


def _read(directory: Directory, files: Files, name: str) -> bytes:
    if name.startswith(DAMAGED):
        return b""  # what it holds does not matter
    try:
        descriptor = directory.open(name, os.O_RDONLY)
    except FileNotFoundError:
        return b""  # somebody has just dealt with it
    try:
        return read_all(files, descriptor, 0, files.fstat(descriptor).st_size)
    finally:
        files.close(descriptor)


def _of_bytes(name: str, data: bytes) -> Problem:
    if name.startswith(DAMAGED):
        return Problem("error", name, "a damaged line that a compaction set aside; delete the file to end this report")
    if whole := whole_transactions(data):
        return Problem("error", name, f"{BEHIND_ZEROS.format(whole)}; repeat what is missing, then delete the file")
    if intact(data):
        return Problem("warning", name, "1 whole transactions that lack the newline; they were never acknowledged")
    return Problem("warning", name, "the torn end of a journal, set aside; it was never acknowledged")


BEHIND_ZEROS = "{} whole transactions behind zeros; whether they were acknowledged is not known"


def whole_transactions(data: bytes) -> int:
    """How many lines that somebody finished lie in what is no part of the journal."""
    return sum(map(intact, data.split(b"\n")[:-1]))

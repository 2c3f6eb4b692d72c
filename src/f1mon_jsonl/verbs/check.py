"""Reading a store whole, from the first byte, and saying what is wrong with it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable

from f1mon_core.errors import CorruptStoreError, InvalidRecordError, SchemaError
from f1mon_core.records import documents
from f1mon_core.storage.contract import CheckReport, Problem
from f1mon_jsonl.disk.directory import JOURNAL, LOCK, REWRITTEN, Directory, read_all
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.index.lines import Spot
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.doubts import BEHIND_ZEROS, set_aside, whole_transactions
from f1mon_jsonl.journal.loading import Loader
from f1mon_jsonl.journal.reader import Reader


def check(directory: Directory, files: Files, *, durable: bool) -> CheckReport:
    """What a store found when it read itself whole."""
    problems: list[Problem] = []
    reader = Reader(files)
    try:
        descriptor = directory.open(JOURNAL, os.O_RDONLY)
    except FileNotFoundError:
        return CheckReport({}, [Problem("error", JOURNAL, "the journal is gone")])
    try:
        reader.read_on(descriptor, locked=False)
        problems += _of_lines(reader)
        problems += _of_tail(reader, files, descriptor)
        checking = Loader(files, descriptor, reader.index, CorruptStoreError, documents.from_documents)
        problems += _of_facts(reader, checking)
    finally:
        files.close(descriptor)
    problems += _of_directory(directory, files)
    if not durable:
        problems.append(Problem("warning", "durability", "'os': a power loss may take what was acknowledged last"))
    return CheckReport(reader.index.counts(), problems)


def with_doubt(report: CheckReport, doubtful: Callable[[], str | None]) -> CheckReport:
    """A report, and whether the journal that was read is the one of the handle that asks."""
    if any(problem.where == JOURNAL for problem in report.problems) or (doubt := doubtful()) is None:
        return report
    return CheckReport(report.facts, [Problem("error", JOURNAL, doubt), *report.problems])


def _of_lines(reader: Reader) -> list[Problem]:
    return [
        Problem("error", f"{JOURNAL}, line {damage.line}, byte {damage.offset}", damage.reason)
        for damage in reader.damages
    ]


def _of_tail(reader: Reader, files: Files, descriptor: int) -> list[Problem]:
    if (size := files.fstat(descriptor).st_size) <= reader.end:
        return []
    where = f"{JOURNAL}, byte {reader.end}"
    if whole := whole_transactions(read_all(files, descriptor, reader.end, size)):
        return [Problem("error", where, f"{BEHIND_ZEROS.format(whole)}; the next writer sets them aside")]
    return [
        Problem("warning", where, f"{size - reader.end} bytes that nobody finished; the next writer sets them aside")
    ]


def _of_facts(reader: Reader, loader: Loader) -> list[Problem]:
    problems = []
    for spot in _spots(reader.index):
        try:
            loader.fact(spot)
        except (InvalidRecordError, SchemaError, CorruptStoreError) as error:
            where = f"{JOURNAL}, byte {reader.index.lines.offsets[spot[0]]}, fact {spot[1]}"
            problems.append(Problem("error", where, str(error)))
    return problems


def _spots(index: Index) -> list[Spot]:
    table, links = index.predictions, index.outcomes
    spots = [(line, item) for line, item in zip(table.line, table.item, strict=True) if line >= 0]
    spots += zip(links.line, links.item, strict=True)
    spots += [entry.spot for kind in index.kinds.values() for entry in kind.ordered]
    return sorted(spots)


def _of_directory(directory: Directory, files: Files) -> list[Problem]:
    problems = set_aside(directory, files)
    if _was_cut_off(directory, files):
        problems.append(Problem("warning", REWRITTEN, "a compaction was cut off; the next one respots the file"))
    if kind := directory.network_file_system():
        problems.append(
            Problem(
                "warning", directory.path, f"lies on {kind}, where locks and syncs promise less than on a local disk"
            )
        )
    return problems


def _was_cut_off(directory: Directory, files: Files) -> bool:
    """Whether a rewritten journal lies there that no compaction is at work on: that one would hold the lock."""
    if REWRITTEN not in files.listdir(directory.path):
        return False
    try:
        descriptor = directory.open(LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        files.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return REWRITTEN in files.listdir(directory.path)  # it may have been done just before
    except BlockingIOError:
        return False
    finally:
        files.close(descriptor)

"""Adopting the files of the old system: once, idempotent, and without touching them.

Every fact gets its id from its line, so adopting twice, or from eight processes at once, gives the same facts. What a
store refuses (a repeated id with different content) goes to a file beside the old ones, named by its content.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import BinaryIO, cast

import attrs

from f1mon_core.alerts import rule_edits, watch
from f1mon_core.errors import ConflictError, F1monError, InvalidRecordError, PrunedError, StorageError
from f1mon_core.legacy import old_files
from f1mon_core.legacy.old_files import Fields, Line, OldAlert, Read, Torn, Translate, Unreadable
from f1mon_core.legacy.records import AlertRule, core_rule
from f1mon_core.records.fields import MAX_ID_CHARACTERS, Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Alert, Fact, same
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, state_key, state_prefix
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.select import Select

_BATCH = 250
"""Facts of one commit: few enough that a store which keeps a batch together finds one of them quickly."""

_SHOWN = 20
"""How many repaired lines of a file an account names one by one."""

_log = logging.getLogger("f1mon.legacy")


# The account --------------------------------------------------------------------------------------------------------


@attrs.frozen
class SetAside:
    """Something of an old file that could not become a fact, kept word for word.

    Attributes:
        line: The number of its line, from 1; None for a rule, which has none.
    """

    file: str
    line: int | None
    reason: str
    raw: bytes

    def to_json(self) -> str:
        """One line of the set-aside file; bytes that are not UTF-8 as base64."""
        kept: dict[str, object] = {"file": self.file, "line": self.line, "reason": self.reason}
        try:
            kept["text"] = self.raw.decode()
        except UnicodeDecodeError:
            kept["base64"] = base64.b64encode(self.raw).decode()
        return json.dumps(kept)


@attrs.define
class FileAccount:
    """What became of one old file.

    Attributes:
        name: Its name.
        lines: Lines (or rules) read this time; those adopted earlier are not read again.
        adopted: Facts that are new in the store.
        repeated: Facts that were stored already.
        pruned: Facts from before the store's prune horizon, which stay away.
        repaired: Line numbers, and what was repaired.
        renamed: Old alert ids that another alert has, and the ids their alerts got.
        set_aside: What could not be stored.
        encoding: What the file is written in, where that is UTF-16 and not UTF-8, so that no line can be read.
    """

    name: str
    lines: int = 0
    adopted: int = 0
    repeated: int = 0
    pruned: int = 0
    repaired: list[tuple[int, str]] = attrs.field(factory=list)
    renamed: list[tuple[str, str]] = attrs.field(factory=list)
    set_aside: list[SetAside] = attrs.field(factory=list)
    encoding: str | None = None

    @property
    def lost(self) -> str | None:
        """Why nothing of the file was adopted although something is in it; None if something was."""
        if not self.set_aside or self.adopted or self.repeated or self.pruned:
            return None
        return old_files.nothing_adopted(self.name, self.encoding)

    @property
    def clean(self) -> bool:
        """Whether every line became a fact just as it was."""
        return not (self.repaired or self.renamed or self.set_aside)

    def report(self) -> Iterator[str]:
        """The account in lines of text."""
        pruned = f", {self.pruned} before the prune horizon" if self.pruned else ""
        yield (
            f"{self.name}: {self.lines} read, {self.adopted} facts adopted, {self.repeated} already stored{pruned}, "
            f"{len(self.repaired)} repairs, {len(self.renamed)} under a derived id, {len(self.set_aside)} set aside"
        )
        told = [
            *(f"  line {number}: {what}" for number, what in self.repaired),
            *(f"  alert id {old} was taken: stored as {new}" for old, new in self.renamed),
            *(
                f"  {'rule' if one.line is None else f'line {one.line}'} set aside: {one.reason}"
                for one in self.set_aside
            ),
        ]
        yield from told[:_SHOWN]
        if len(told) > _SHOWN:
            yield f"  … and {len(told) - _SHOWN} more"


@attrs.frozen
class Account:
    """What became of the old files in one directory.

    Attributes:
        files: One account for each file that was read; those unchanged since their adoption are not read again.
        set_aside_file: Where what could not be stored was written; None if there was nothing.
        not_kept: Why that file could not be written; None if it was. The lines are in the old files still, which the
            next adoption reads again.
    """

    directory: Path
    files: tuple[FileAccount, ...] = ()
    set_aside_file: Path | None = None
    not_kept: str | None = None

    def __str__(self) -> str:
        told = [line for one in self.files for line in one.report()]
        if self.set_aside_file is not None:
            told.append(f"set aside in {self.set_aside_file}")
        if self.not_kept is not None:
            told.append(self.not_kept)
        return "\n".join(told) or f"nothing to adopt in {self.directory}"


# Adopting -----------------------------------------------------------------------------------------------------------


def adopt(storage: Storage, directory: Path) -> Account:
    """Adopt the old system's files in a directory; those that are unchanged since they were adopted cost one look.

    The files stay as they are, byte for byte.

    Where the set-aside file cannot be written, all else is adopted, and the account and the log say so: an application
    starts in a directory that it may only read.

    Raises:
        StorageError: If the store fails, or a file cannot be read; repeating goes on where it stopped.
    """
    present = [name for name in _READERS if (directory / name).is_file()]
    if not present:
        return Account(directory)
    place = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:16]
    markers = storage.state(state_prefix("adopted", place))
    accounts: list[FileAccount] = []
    settled: list[tuple[str, Document]] = []
    for name in present:
        key = state_key("adopted", place, name)
        with _read(directory / name) as file:
            marker = _Marker.of(markers.get(key))
            status = os.fstat(file.fileno())
            if (marker.size, marker.mtime_ns) == (status.st_size, status.st_mtime_ns):
                continue
            account = FileAccount(name, encoding=old_files.wide_encoding(file.read(2)))
            file.seek(0)
            read = _READERS[name](storage, file, account, marker)
        accounts.append(account)
        made = attrs.evolve(read, size=status.st_size, mtime_ns=status.st_mtime_ns, directory=_shown(directory))
        settled.append((key, attrs.asdict(made)))
    kept, not_kept = _keep(directory, [one for account in accounts for one in account.set_aside])
    for account, (key, document) in zip(accounts, settled, strict=True):
        if account.encoding is None and (not_kept is None or not account.set_aside):
            storage.transition(key, _storing(document), operation_id=new_operation_id())
    account_of_all = Account(directory, tuple(accounts), kept, not_kept)
    for account in accounts:
        level = logging.INFO if account.clean else logging.WARNING
        for line in account.report():
            _log.log(level, line)
    if kept is not None:
        _log.warning("set aside in %s", kept)
    if not_kept is not None:
        _log.error(not_kept)
    return account_of_all


@contextlib.contextmanager
def _read(path: Path) -> Iterator[BinaryIO]:
    """An old file while it is read. Raises `StorageError` where that fails."""
    try:
        with path.open("rb") as file:
            yield file
    except F1monError:
        raise  # of the store: its timeouts are of the operating system's family too
    except OSError as error:
        raise StorageError(
            f"cannot read {path}: {error.strerror}; let this process read it, or move it away, and adopt again"
        ) from error


READER = 2
"""What of old files can be kept changes with this: directories adopted by an earlier reader are read once more."""


@attrs.frozen
class _Marker:
    """How far a file was adopted: its first `bytes` bytes, whose SHA-256 was this, with `lines` ends of lines.

    `reader` is the `READER` that did; the first one wrote none, and kept one model's prediction under an id.
    """

    bytes: int = 0
    lines: int = 0
    sha256: str = ""
    size: int = -1
    mtime_ns: int = -1
    directory: str = ""
    reader: int = READER

    @classmethod
    def of(cls, document: Document | None) -> _Marker:
        if document is None or document.get("reader") != READER:
            return cls()
        return cls(**cast("dict[str, int]", document))  # type: ignore[arg-type]


def _storing(document: Document) -> Step:
    def step(_: Document | None, __: datetime) -> Change:
        return Change(document)

    return step


def _shown(directory: Path) -> str:
    return str(directory.resolve()).encode(errors="backslashreplace").decode()


# Lines --------------------------------------------------------------------------------------------------------------


@attrs.frozen
class _Item:
    """A fact and the line, or the part of one, that it comes from."""

    line: Line
    fact: Fact


def _adopt_lines(
    translate: Translate, storage: Storage, file: BinaryIO, account: FileAccount, marker: _Marker
) -> _Marker:
    """Adopt a file in which every line is a record of its own, from where it was adopted before."""
    hashed, begin = _resumed(file, marker)
    offset, number = begin.bytes, begin.lines
    pending = old_files.lines(file, number + 1)
    while batch := list(islice(pending, _BATCH)):
        items: list[_Item] = []
        for line in batch:
            left = len(account.set_aside)
            items += _translated(line, account, translate)
            if len(account.set_aside) > left and not line.terminated:
                break  # a torn last line: whoever writes on completes it, and it is read again
            hashed.update(line.whole)
            # A last line without its end counts when the end has come: what follows is still the same line.
            offset, number = offset + len(line.whole), number + line.terminated
        _append(storage, items, account)
    return _Marker(offset, number, hashed.hexdigest())


def _resumed(file: BinaryIO, marker: _Marker) -> tuple[hashlib._Hash, _Marker]:
    """Stand behind what was adopted before, if the file still begins with it; else at its start."""
    hashed, left = hashlib.sha256(), marker.bytes
    while left and (chunk := file.read(min(left, 1 << 20))):
        hashed.update(chunk)
        left -= len(chunk)
    if not left and hashed.hexdigest() == marker.sha256:
        return hashed, marker
    file.seek(0)
    return hashlib.sha256(), _Marker()


def _translated(line: Line, account: FileAccount, translate: Translate) -> list[_Item]:
    """The facts of a line; what is no record in it is set aside."""
    items: list[_Item] = []
    for one in _records(line, account):
        fields = Fields(one)
        try:
            facts = translate(fields, one.line)
        except InvalidRecordError as error:
            account.set_aside.append(SetAside(account.name, line.number, str(error), one.line.raw))
            continue
        account.repaired += [(line.number, what) for what in fields.repairs]
        items += [_Item(one.line, fact) for fact in facts]
    return items


def _records(line: Line, account: FileAccount) -> list[Read]:
    """The records of a line, none of a blank one; what is none is set aside."""
    if not line.raw.strip():
        return []
    account.lines += 1
    try:
        parts = old_files.read(line)
    except Unreadable as error:
        account.set_aside.append(SetAside(account.name, line.number, str(error), line.raw))
        return []
    for part in parts:
        if isinstance(part, Torn):
            account.set_aside.append(SetAside(account.name, line.number, part.reason, part.line.raw))
    return [part for part in parts if isinstance(part, Read)]


def _append(storage: Storage, items: Sequence[_Item], account: FileAccount) -> None:
    """Append what can be; what is refused is set aside alone, found by halving."""
    if not items:
        return
    try:
        appended = storage.append([item.fact for item in items])
    except (ConflictError, PrunedError) as error:
        if len(items) > 1:
            half = len(items) // 2
            _append(storage, items[:half], account)
            _append(storage, items[half:], account)
        elif isinstance(error, PrunedError):
            account.pruned += 1
        elif same(old_files.unrepaired(error.stored), old_files.unrepaired(error.offered)):
            account.repeated += 1
        else:
            line = items[0].line
            account.set_aside.append(SetAside(account.name, line.number, str(error), line.raw))
        return
    account.adopted += appended.new
    account.repeated += appended.repeated


# Alerts -------------------------------------------------------------------------------------------------------------


def _adopt_alerts(storage: Storage, file: BinaryIO, account: FileAccount, _: _Marker) -> _Marker:
    """Adopt alerts.jsonl, always whole: the old system wrote acknowledgements over its lines."""
    hashed = hashlib.sha256()
    found: list[OldAlert] = []
    for line in old_files.lines(file, 1):
        hashed.update(line.whole)
        for record in _records(line, account):
            try:
                found.append(OldAlert.of(record))
            except InvalidRecordError as error:
                account.set_aside.append(SetAside(account.name, line.number, str(error), record.line.raw))
    ids = old_files.derived_ids(found, _holders(storage, found))
    items: list[_Item] = []
    for one in found:
        fields = Fields(one.read)
        new_id = ids[one.alert_id, one.content]
        try:
            facts = old_files.alert(fields, new_id, one.alert_id)
        except InvalidRecordError as error:
            account.set_aside.append(SetAside(account.name, one.read.line.number, str(error), one.read.line.raw))
            continue
        account.repaired += [(one.read.line.number, what) for what in fields.repairs]
        if new_id != one.alert_id:
            account.renamed.append((one.alert_id, new_id))
        items += [_Item(one.read.line, fact) for fact in facts]
    for begin in range(0, len(items), _BATCH):
        _append(storage, items[begin : begin + _BATCH], account)
    return _Marker(sha256=hashed.hexdigest())


def _holders(storage: Storage, found: Sequence[OldAlert]) -> dict[str, str]:
    """Of the old ids that are stored already: the content that has each ("" for one that is not in the file)."""
    ids = sorted({one.alert_id for one in found})
    stored: dict[str, Alert] = {}
    for begin in range(0, len(ids), _BATCH):
        wanted = [one for one in ids[begin : begin + _BATCH] if len(one) <= MAX_ID_CHARACTERS]
        for fact in plans.run(plans.find(Select.of(Alert, where={"alert_id": wanted})), storage):
            stored[fact.key[0]] = fact
    holders = dict.fromkeys(stored, "")
    for one in found:
        if one.alert_id in stored and not holders[one.alert_id]:
            with contextlib.suppress(InvalidRecordError):
                offered = old_files.alert(Fields(one.read), one.alert_id, one.alert_id)[0]
                if same(old_files.unrepaired(stored[one.alert_id]), old_files.unrepaired(offered)):
                    holders[one.alert_id] = one.content
    return holders


# Rules --------------------------------------------------------------------------------------------------------------


def _adopt_rules(storage: Storage, file: BinaryIO, account: FileAccount, _: _Marker) -> _Marker:
    """Adopt alert_rules.json: of a repeated rule the last, which was the edit; a rule that was ever stored stays."""
    raw = file.read()
    try:
        documents = old_files.rule_documents(raw)
    except Unreadable as error:
        account.set_aside.append(SetAside(account.name, None, str(error), raw))
        documents = []
    rules = {}
    for document in documents:
        account.lines += 1
        try:
            rule = core_rule(AlertRule(**document))
        except (TypeError, F1monError) as error:
            account.set_aside.append(SetAside(account.name, None, str(error), json.dumps(document).encode()))
        else:
            rules[rule.rule_id] = rule
    for rule in rules.values():
        operation_id = new_operation_id()
        define = rule_edits.definition(rule.rule_id, rule, operation_id)
        plan = plans.settle(watch.rule_key(rule.rule_id), _unless_defined(define), operation_id=operation_id)
        if plans.run(plan, storage) is None:
            account.repeated += 1
        else:
            account.adopted += 1
    return _Marker(sha256=hashlib.sha256(raw).hexdigest())


def _unless_defined(define: Step) -> Step:
    """The step that defines a rule, unless it was defined (and perhaps edited or removed) before."""

    def step(document: Document | None, now: datetime) -> Change:
        return Change(document) if watch.read(document).revision else define(document, now)

    return step


# What is set aside --------------------------------------------------------------------------------------------------


def _keep(directory: Path, kept: Sequence[SetAside]) -> tuple[Path | None, str | None]:
    """Write what was set aside beside the old files; where, or why it could not be."""
    if not kept:
        return None, None
    text = "".join(one.to_json() + "\n" for one in kept).encode()
    path = directory / f"f1mon-set-aside-{old_files.digest(text)[:8]}.jsonl"
    try:
        _write(path, text)
    except OSError as error:
        lines = "1 line" if len(kept) == 1 else f"{len(kept)} lines"
        return None, (
            f"{lines} could not be set aside in {path}: {error.strerror}; the old files keep them: let this process "
            "write there, or run `f1mon adopt` as someone who may"
        )
    return path, None


def _write(path: Path, text: bytes) -> None:
    """Write a file whose name its content makes, whole or not at all; nothing to do where it is."""
    if path.exists():
        return
    draft = path.parent / f".{path.name}.{secrets.token_hex(8)}"
    try:
        with draft.open("xb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


_Reader = Callable[[Storage, BinaryIO, FileAccount, _Marker], _Marker]


def _by_line(translate: Translate) -> _Reader:
    def reader(storage: Storage, file: BinaryIO, account: FileAccount, marker: _Marker) -> _Marker:
        return _adopt_lines(translate, storage, file, account, marker)

    return reader


_READERS: dict[str, _Reader] = {
    "predictions.jsonl": _by_line(old_files.prediction),
    "health_snapshots.jsonl": _by_line(old_files.health_snapshot),
    "metrics.jsonl": _by_line(old_files.metric),
    "alerts.jsonl": _adopt_alerts,
    "alert_rules.json": _adopt_rules,
}
"""The old files, and how each is read."""

OLD_FILES: Sequence[str] = tuple(_READERS)
"""The names of the files the old system wrote."""

"""What the operating system refuses becomes a typed error, loses nothing, and the store works again afterwards."""

import errno
import os
import resource
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest

from f1mon_core.errors import NotWritten, OutcomeUnknown, StorageError
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, NOON, prediction
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.disk.files import Files

pytestmark = pytest.mark.faults

OPERATIONS = [name for name in vars(Files) if not name.startswith("_") and name not in {"file_system", "is_directory"}]
ERRORS = [errno.ENOSPC, errno.EIO, errno.EMFILE]


class Failing(Files):
    """Fails one operation of a run: the one with this number, counted from 0, before or after half of its work."""

    def __init__(self):
        self.countdown = None
        self.error = None
        self.half = False
        self.failed = None

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if name not in OPERATIONS:
            return found
        return lambda *arguments: self._run(name, found, arguments)

    def _run(self, name, call, arguments):
        if self.countdown is not None:
            self.countdown -= 1
            if self.countdown < 0:
                self.countdown = None
                self.failed = name
                if self.half and name == "pwrite":
                    descriptor, data, offset = arguments
                    os.pwrite(descriptor, data[: len(data) // 2], offset)
                if name == "close":
                    call(*arguments)  # the descriptor is gone, as with the real call
                raise OSError(self.error, os.strerror(self.error))
        return call(*arguments)


def scenario():
    """Calls that together use every operation, and what each adds when it succeeds."""
    return [
        ("a", lambda store: store.append([prediction("a")])),
        ("k", lambda store: store.transition("k", lambda *_: Change({"n": 1}, [prediction("k")]), operation_id="o")),
        ("", lambda store: store.compact()),
        ("b", lambda store: store.append([prediction("b", at=NOON + 2 * HOUR)])),
        ("", lambda store: store.prune(NOON + HOUR)),
    ]


def count_of(store):
    return store.tally(TallyQuery()).count


@pytest.mark.parametrize(
    ("error", "half"),
    [(errno.EIO, False), (errno.EMFILE, False), (errno.ENOSPC, True)],
    ids=["EIO", "EMFILE", "ENOSPC halfway"],
)
def test_an_error_of_any_operation(tmp_path, error, half):
    """Each call fails at each of its operations in turn; then it is repeated, by the same handle or by a new one."""
    failed = set()
    for victim in range(len(scenario())):
        number = 0
        while True:
            directory = tmp_path / f"{victim}-{number}"
            files = Failing()
            files.error, files.half = error, half
            store = JSONLStorage(directory, _files=files)
            torn = directory / "journal.jsonl"
            for _, call in scenario()[:victim]:
                call(store)
            if victim == 1:
                torn.write_bytes(torn.read_bytes() + b'{"torn')  # so that this call repairs, too
            before = count_of(store)
            files.countdown = number
            adds, call = scenario()[victim]
            try:
                call(store)
                answered = True
            except StorageError as refused:
                answered = False
                outcomes = {before} if isinstance(refused, NotWritten) else {before, before + bool(adds)}
                kept = refused
            files.countdown = None
            other = JSONLStorage(directory)
            now = count_of(other)
            assert answered or isinstance(kept, NotWritten | OutcomeUnknown), repr(kept)
            assert now in ({before + bool(adds)} if answered else outcomes)
            call(other)
            for _, later in scenario()[victim + 1 :]:
                later(other)
            assert count_of(other) == 3
            assert other.check().ok
            other.close()
            store.close()
            if files.failed is None:
                break
            failed.add(files.failed)
            number += 1
    assert failed >= {"open", "close", "pread", "pwrite", "fstat", "ftruncate", "fsync", "fsync_directory", "fdatasync"}
    assert failed >= {"rename", "flock"}


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_an_error_of_any_operation_while_a_store_is_made(tmp_path, error):
    number = 0
    while True:
        directory = tmp_path / str(number) / "below"
        files = Failing()
        files.error, files.countdown = error, number
        try:
            JSONLStorage(directory, _files=files).close()
        except StorageError:
            pass
        else:
            if files.failed is None:
                break
        store = JSONLStorage(directory)
        store.append([prediction()])
        assert store.check().ok
        store.close()
        number += 1
    assert number > 10


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_an_error_of_any_operation_while_reading(place, error):
    place.open().append([prediction()])
    number = 0
    while True:
        files = Failing()
        store = place.open(_files=files)
        files.error, files.countdown = error, number
        for call in (store.check, lambda s=store: s.tally(TallyQuery()), lambda s=store: s.find(Select("prediction"))):
            try:
                call()
            except StorageError as refused:
                assert "could not read" in str(refused)  # noqa: PT017 - it need not be raised
        if files.failed is None:
            break
        files.countdown = None
        assert place.ids(store) == ["p"]
        number += 1
    assert number > 10


@contextmanager
def limited(which, limit):
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


def test_a_file_that_may_not_grow(place):
    """RLIMIT_FSIZE: the kernel writes a part of the line and refuses the rest."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = place.open()
    store.append([prediction("a")])
    size = place.journal.stat().st_size
    with limited(resource.RLIMIT_FSIZE, size + 100), pytest.raises(NotWritten):
        store.append([prediction("b", features={"x": "y" * 500})])
    assert place.journal.stat().st_size == size
    with limited(resource.RLIMIT_FSIZE, size // 2), pytest.raises(NotWritten):
        store.compact()
    assert sorted(path.name for path in place.directory.iterdir()) == ["LOCK", "journal.jsonl"]
    store.append([prediction("b", features={"x": "y" * 500})])
    assert place.ids(store) == place.ids() == ["a", "b"]


def test_no_descriptors_left(place):
    store = place.open()
    store.append([prediction("a")])
    used = len(list(Path("/proc/self/fd").iterdir()))
    for spare in range(4):
        with limited(resource.RLIMIT_NOFILE, used + spare - 1):
            try:
                store.append([prediction(f"b{spare}")])
            except NotWritten:
                pass
            except OutcomeUnknown:
                store = place.open()
            try:
                store.tally(TallyQuery())
            except StorageError as refused:
                assert "Too many open files" in str(refused)  # noqa: PT017 - it need not be raised
    store = place.open()
    store.append([prediction("c")])
    assert {"a", "c"} <= set(place.ids(store))
    assert store.check().ok


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB in memory; only root may mount one."""
    target = tmp_path / "disk"
    target.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(target)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield target
    subprocess.run(["umount", str(target)], check=True)


def test_a_full_disk(small_disk):
    store = JSONLStorage(small_disk / "store")
    acknowledged = []

    def fill():
        while True:
            store.append([prediction(str(len(acknowledged)), features={"x": "y" * 1_000})])
            acknowledged.append(str(len(acknowledged)))

    with pytest.raises(NotWritten, match="No space left"):
        fill()
    (small_disk / "hog").write_bytes(b"")
    for call in (store.compact, lambda: store.prune(NOON + HOUR)):
        with pytest.raises(NotWritten, match="No space left"):
            call()
    other = JSONLStorage(small_disk / "store")
    for handle in (store, other):
        assert sorted(one.prediction_id for one in handle.find(Select("prediction"))) == sorted(acknowledged)
        assert handle.check().ok
    store.close()
    other.close()
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    store = JSONLStorage(small_disk / "store")
    store.append([prediction("more")])
    store.compact()
    assert store.tally(TallyQuery()).count == len(acknowledged) + 1
    store.close()


def test_a_directory_nobody_may_write(place):
    """Reading needs no lock, so a copy on a read-only medium can be asked."""
    place.open().append([prediction("a")])

    class ReadOnly(Files):
        def open(self, path, flags, mode=0o666):
            if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            return super().open(path, flags, mode)

    store = place.open(_files=ReadOnly())
    assert place.ids(store) == ["a"]
    assert store.check().ok
    with pytest.raises(NotWritten, match="Read-only"):
        store.append([prediction("b")])

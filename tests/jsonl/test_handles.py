"""Opening, locking, forking and poisoning: what a handle is, apart from what it stores."""

import errno
import fcntl
import os
import pickle
import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from f1mon_core import open_storage
from f1mon_core.errors import (
    ClosedError,
    ConfigurationError,
    LockTimeoutError,
    NotWritten,
    OutcomeUnknown,
    StorageError,
)
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, NOON, outcome, prediction
from f1mon_jsonl import JSONLStorage, open_jsonl
from f1mon_jsonl import format as journal_format
from f1mon_jsonl.disk.files import Files


def test_the_default_directory_is_made_below_the_working_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with closing(open_jsonl()) as store:
        assert store.path == str(tmp_path / "data/monitoring")
        assert store.address == f"jsonl://{tmp_path}/data/monitoring"
    assert sorted(path.name for path in (tmp_path / "data/monitoring").iterdir()) == ["LOCK", "journal.jsonl"]


@pytest.mark.parametrize("form", ["jsonl://{}", "jsonl://relative", "jsonl://with%20blank%25%3F"])
def test_an_address_names_a_directory(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    store = open_storage(form.format(tmp_path / "absolute"))
    store.append([prediction()])
    again = open_storage(store.address)
    assert len(again.find(Select("prediction"))) == 1
    assert Path(store.path).parent == tmp_path
    store.close()
    again.close()


@pytest.mark.parametrize(
    "options",
    [
        {"path": ""},
        {"path": 5},
        {"path": b"bytes"},
        {"path": "nul\0"},
        {"url": "jsonl://"},
        {"url": "sqlite:///x"},
        {"url": "jsonl:///x?durability=os"},
        {"url": "jsonl:///x", "path": "y"},
        {"path": "x", "durability": "maybe"},
        {"path": "x", "lock_timeout": -1},
        {"path": "x", "lock_timeout": float("nan")},
        {"path": "x", "lock_timeout": True},
        {"path": "x", "lock_timeout": "1"},
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_refused(tmp_path, monkeypatch, options):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError):
        open_jsonl(**options)
    assert not list(tmp_path.iterdir())


def test_a_path_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        JSONLStorage(tmp_path / "file")
    with pytest.raises(StorageError):
        JSONLStorage(tmp_path / "file" / "below")


def test_the_directory_may_be_reached_through_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    with closing(JSONLStorage(tmp_path / "data" / "store")) as store:
        store.append([prediction()])
    assert (tmp_path / "disk" / "store" / "journal.jsonl").exists()


def test_a_closed_handle_says_so(place):
    store = place.open()
    store.close()
    store.close()
    for call in (
        lambda: store.append([prediction()]),
        lambda: store.find(Select("prediction")),
        lambda: store.count(Select("prediction")),
        lambda: store.tally(TallyQuery()),
        lambda: store.transition("k", lambda _, __: Change(None), operation_id="o"),
        lambda: store.state(""),
        lambda: store.prune(NOON),
        store.compact,
        store.check,
    ):
        with pytest.raises(ClosedError):
            call()


def descriptors():
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open(place):
    before = descriptors()
    store = place.open()
    store.append([prediction()])
    store.append([prediction()])
    store.transition("k", lambda _, __: Change({}), operation_id="o")
    store.compact()
    store.prune(NOON + HOUR)
    store.check()
    with pytest.raises(ZeroDivisionError):
        store.transition("k", lambda _, __: 1 / 0, operation_id="p")
    assert descriptors() == before


# The lock ------------------------------------------------------------------------------------------------------------


def test_a_writer_waits_no_longer_than_the_timeout(place):
    store = place.open(lock_timeout=0.2)
    with place.child(
        lambda ready: place.open().transition("k", lambda *_: ready() and signal.pause(), operation_id="o")
    ):
        started = time.monotonic()
        with pytest.raises(LockTimeoutError) as refused:
            store.append([prediction()])
        assert 0.2 <= time.monotonic() - started < 5
        assert isinstance(refused.value, TimeoutError | NotWritten)
        assert place.ids(store) == []  # a reader does not wait
    store.append([prediction()])  # the holder was killed, and its lock is nobody's
    assert place.ids(store) == ["p"]


def test_the_lock_file_is_never_replaced(place):
    store = place.open()
    inode = (place.directory / "LOCK").stat().st_ino
    store.append([prediction()])
    store.compact()
    store.prune(NOON + HOUR)
    store.close()
    assert (place.directory / "LOCK").stat().st_ino == inode


def test_a_lock_file_somebody_deleted_is_made_again(place):
    store = place.open(lock_timeout=5)
    with (place.directory / "LOCK").open("rb") as deleted:
        fcntl.flock(deleted, fcntl.LOCK_EX)
        (place.directory / "LOCK").unlink()
        store.append([prediction()])
    assert place.ids(store) == ["p"]


def test_a_writer_that_got_the_lock_of_a_deleted_file_takes_the_new_one(place):
    class Deleting(Files):
        """Somebody deletes the file between our opening and locking it."""

        done = False

        def flock(self, descriptor, operation):
            if not self.done:
                type(self).done = True
                (place.directory / "LOCK").unlink()
            super().flock(descriptor, operation)

    store = place.open()
    other = place.open(_files=Deleting(), lock_timeout=5)
    other.append([prediction()])
    assert Deleting.done
    assert (place.directory / "LOCK").exists()
    assert place.ids(store) == ["p"]


def test_a_step_may_read_the_store_and_a_nested_write_is_refused_at_once(place):
    """It waits for itself, so waiting is no use, and a longer lock_timeout no advice."""
    store = place.open(lock_timeout=60)
    store.append([prediction()])
    started = time.monotonic()

    def step(*_):
        for call in (lambda: store.append([prediction("q")]), store.compact):
            with pytest.raises(NotWritten, match="inside a step"):
                call()
        return Change({"seen": len(store.find(Select("prediction")))})

    store.transition("k", step, operation_id="o")
    assert time.monotonic() - started < 30
    assert store.state("") == {"k": {"seen": 1}}
    store.append([prediction("q")])
    assert place.ids(store) == ["p", "q"]


@pytest.mark.parametrize("timeout", [float("inf"), 1e10, 10**400], ids=["infinity", "1e10", "10**400"])
def test_a_writer_may_wait_without_end(place, timeout):
    store = place.open(lock_timeout=timeout)
    store.append([prediction()])
    assert place.ids(store) == ["p"]


def test_the_clock_is_read_under_the_lock(place):
    """Two clocks read before the lock could stamp a later commit with an earlier instant."""
    held = []

    def clock():
        with (place.directory / "LOCK").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                held.append(False)
            except BlockingIOError:
                held.append(True)
        return NOON

    store = place.open(clock=clock)
    held.clear()
    store.append([prediction(at=None)])
    store.transition("k", lambda _, now: Change({"now": now.isoformat()}), operation_id="o")
    assert held == [True, True]


# Syncing -------------------------------------------------------------------------------------------------------------


class Recording(Files):
    """Notes the syncs, and fails them when told to."""

    def __init__(self):
        self.synced = []
        self.failing = None

    def _sync(self, what, call):
        if self.failing == what:
            raise OSError(errno.EIO, "the disk is broken")
        self.synced.append(what)
        call()

    def fdatasync(self, descriptor):
        self._sync("data", lambda: super(Recording, self).fdatasync(descriptor))

    def fsync_directory(self, path):
        self._sync("directory", lambda: super(Recording, self).fsync_directory(path))


def test_what_a_handle_answers_from_is_synced_even_if_it_wrote_nothing(place):
    """Another writer may have been killed between its write and its sync."""
    writer = place.open(durability="os")
    writer.append([prediction(), outcome()])
    writer.transition("k", lambda *_: Change({"n": 1}, result=7), operation_id="o")
    for call in (
        lambda store: store.append([prediction()]),
        lambda store: store.append([outcome()]),
        lambda store: store.transition("k", lambda *_: None, operation_id="o"),
        lambda store: store.prune(NOON - HOUR),
    ):
        files = Recording()
        store = place.open(_files=files)
        assert files.synced == []
        lines = len(place.lines())
        call(store)
        if len(place.lines()) > lines:  # the line says that what it found is on the disk
            assert files.synced.pop(0) == "data"
        assert set(files.synced[:-1]) == {"directory"}
        assert files.synced[-1] == "data"
        done = len(files.synced)
        call(store)
        assert len(files.synced) <= done + 1  # only a commit of its own costs another


def test_under_the_operating_systems_durability_nothing_is_synced_before_the_end(place):
    files = Recording()
    store = place.open(durability="os", _files=files)
    files.synced.clear()
    store.append([prediction()])
    store.transition("k", lambda *_: Change({}), operation_id="o")
    assert files.synced == []
    store.close()
    assert files.synced[0] == "data"
    assert set(files.synced[1:]) == {"directory"}  # the journal may be new, or new under its name


def test_a_compaction_is_synced_at_the_end_under_the_operating_systems_durability(place):
    files = Recording()
    store = place.open()
    store.append([prediction()])
    store = place.open(durability="os", _files=files)
    store.compact()
    files.synced.clear()
    store.close()
    assert "directory" in files.synced


@pytest.mark.parametrize("what", ["data", "directory"])
def test_a_failed_sync_poisons_the_handle(place, what):
    """A second fdatasync would succeed although the bytes are gone."""
    place.open()
    files = Recording()
    store = place.open(_files=files)
    files.failing = what
    with pytest.raises(OutcomeUnknown):
        store.append([prediction()])
    files.failing = None
    for _ in range(2):
        with pytest.raises(NotWritten, match="open the store again"):
            store.append([prediction("q")])
    assert set(files.synced) == (set() if what == "directory" else {"directory"})
    again = place.open()
    again.append([prediction()])
    assert place.ids(again) == ["p"]


def test_a_failed_sync_of_what_others_wrote_poisons_too_and_nothing_is_written(place):
    place.open().append([prediction("before")])
    lines = place.lines()
    files = Recording()
    store = place.open(_files=files)
    files.failing = "data"
    with pytest.raises(OutcomeUnknown):
        store.append([prediction()])
    files.failing = None
    with pytest.raises(NotWritten, match="open the store again"):
        store.append([prediction()])
    assert files.synced == []
    assert place.lines() == lines


def test_a_handle_that_goes_on_syncs_once_a_commit(place):
    place.open().append([prediction("before")])
    files = Recording()
    store = place.open(_files=files)
    store.append([prediction("first")])
    files.synced.clear()
    other = place.open()
    other.append([prediction("other's first")])
    for number in range(5):
        store.append([prediction(f"{number}")])
        other.append([prediction(f"other's {number}")])
    assert files.synced == ["data"] * 5


def test_a_journal_replaced_by_its_copy_is_synced_anew(place):
    """What this handle knew to be on the disk was another file."""
    files = Recording()
    store = place.open(_files=files)
    store.append([prediction("0")])
    copy = place.journal.read_bytes()
    place.journal.with_name("copy").write_bytes(copy)
    place.journal.with_name("copy").rename(place.journal)
    files.synced.clear()
    store.append([prediction("new")])
    assert files.synced[0] == "data"  # what it found, of which the new line says that it is on the disk
    assert files.synced[-1] == "data"
    assert "directory" in files.synced
    assert len(place.lines()) == 3
    assert journal_format.decode_line(place.lines()[-1][:-1]).synced == len(copy)
    files.synced.clear()
    store.append([prediction("newer")])
    assert files.synced == ["data"]


def test_a_sync_that_was_interrupted_proves_nothing(place):
    class Interrupted(Recording):
        strike = False

        def fdatasync(self, descriptor):
            if self.strike:
                self.strike = False
                raise KeyboardInterrupt
            super().fdatasync(descriptor)

    files = Interrupted()
    store = place.open(_files=files)
    store.append([prediction("before")])
    files.synced.clear()
    files.strike = True
    with pytest.raises(KeyboardInterrupt):
        store.append([prediction()])
    assert store.append([prediction()]).repeated == 1  # acknowledged now, so on the disk
    assert files.synced == ["data"]


def test_who_waits_for_a_sync_that_is_interrupted_syncs_itself(place):
    class Interrupted(Recording):
        going, entered, strike = threading.Event(), threading.Event(), False

        def fdatasync(self, descriptor):
            if self.strike:
                self.strike = False
                self.entered.set()
                self.going.wait()
                raise KeyboardInterrupt
            super().fdatasync(descriptor)

    files = Interrupted()
    store = place.open(_files=files)
    store.append([prediction("before")])
    files.synced.clear()
    files.strike = True

    def interrupted():
        with pytest.raises(KeyboardInterrupt):
            store.append([prediction("a")])

    threads = [threading.Thread(target=interrupted), threading.Thread(target=store.append, args=([prediction("b")],))]
    threads[0].start()
    files.entered.wait()
    threads[1].start()
    while len(place.lines()) < 4:
        time.sleep(0.001)
    time.sleep(0.02)
    files.going.set()
    for thread in threads:
        thread.join()
    assert files.synced == ["data"]


def test_writers_share_a_sync(place):
    """While one thread syncs, the others write; the next sync is for all of them."""
    going, entered = threading.Event(), threading.Event()

    class Slow(Recording):
        def fdatasync(self, descriptor):
            entered.set()
            going.wait()
            super().fdatasync(descriptor)

    files = Slow()
    going.set()
    store = place.open(_files=files)
    store.append([prediction("first")])
    going.clear()
    entered.clear()
    files.synced.clear()
    threads = [threading.Thread(target=store.append, args=([prediction(str(number))],)) for number in range(8)]
    threads[0].start()
    entered.wait()
    for thread in threads[1:]:
        thread.start()
    while len(place.lines()) < 10:
        time.sleep(0.001)
    going.set()
    for thread in threads:
        thread.join()
    assert files.synced == ["data", "data"]
    assert len(place.ids()) == 9


@pytest.mark.parametrize(
    "kind",
    [
        "nfs4",
        "cifs",
        "smb3",
        "fuse.glusterfs",
        "fuse.ceph-fuse",
        "ceph",
        "fuse.sshfs",
        "fuse.juicefs",
        "virtiofs",
        "beegfs",
    ],
)
def test_a_network_file_system_is_a_warning(place, caplog, kind):
    class OnNetwork(Files):
        def file_system(self, _):
            return kind

    store = place.open(_files=OnNetwork())
    assert kind in caplog.text
    assert [(one.severity, kind in one.message) for one in store.check().problems] == [("warning", True)]


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "fuseblk", "tmpfs", "overlay", ""])
def test_a_local_file_system_is_none(place, kind):
    class OnDisk(Files):
        def file_system(self, _):
            return kind

    assert place.open(_files=OnDisk()).check().problems == []


# Forks ---------------------------------------------------------------------------------------------------------------


def test_a_child_goes_on_with_a_handle_of_its_own(place):
    store = place.open()
    store.append([prediction("parent")])

    def work(name):
        assert place.ids(store) == ["parent"] or len(place.ids(store)) > 1
        for number in range(20):
            store.append([prediction(f"{name}-{number}")])

    assert place.forked(*(lambda name=name: work(name) for name in "abc"))
    store.append([prediction("last")])
    assert len(place.ids(store)) == len(place.ids()) == 62
    assert store.check().ok


def test_a_child_forked_while_the_parent_holds_the_lock_does_not_keep_it(place):
    store = place.open(lock_timeout=5)
    pids = []

    def step(*_):
        if (pid := os.fork()) == 0:
            time.sleep(60)
            os._exit(0)
        pids.append(pid)
        return Change({})

    store.transition("k", step, operation_id="o")
    started = time.monotonic()
    store.append([prediction()])
    assert time.monotonic() - started < 5
    os.kill(pids[0], signal.SIGKILL)
    os.waitpid(pids[0], 0)


def test_a_child_forked_inside_a_step_writes_nothing(place):
    store = place.open(lock_timeout=5)
    here = os.getpid()

    def step(*_):
        if (pid := os.fork()) == 0:
            os.open("/dev/null", os.O_RDWR)  # takes the numbers of the descriptors that were inherited
            os.open("/dev/null", os.O_RDWR)
            return Change({"by": "child"})
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0  # refused, and nothing else
        return Change({"by": "parent"})

    try:
        store.transition("k", step, operation_id="o")
    except NotWritten:
        assert os.getpid() != here
        os._exit(0)
    finally:
        if os.getpid() != here:
            os._exit(1)
    assert store.state("") == {"k": {"by": "parent"}}
    assert store.check().ok


def test_a_child_forked_while_another_thread_is_at_work_reads_anew(place):
    store = place.open()
    stop = threading.Event()

    def keep_writing():
        number = 0
        while not stop.is_set():
            store.append([prediction(f"thread-{number}")])
            number += 1

    thread = threading.Thread(target=keep_writing)
    thread.start()
    try:
        for number in range(15):
            assert place.forked(lambda n=number: store.append([prediction(f"child-{n}")]))
    finally:
        stop.set()
        thread.join()
    names = place.ids(store)
    assert len([name for name in names if name.startswith("child")]) == 15
    assert store.tally(TallyQuery()).count == len(names)
    assert store.check().ok


def test_errors_cross_a_process_boundary(place):
    store = place.open(lock_timeout=0)
    with (place.directory / "LOCK").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(LockTimeoutError) as refused:
            store.append([prediction()])
    assert str(pickle.loads(pickle.dumps(refused.value))) == str(refused.value)

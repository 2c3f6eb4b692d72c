"""A handle goes on only with the journal it has read: none that became shorter, and no other, passes for it."""

import asyncio
import multiprocessing
import os
import shutil

import pytest

from f1mon_core import AsyncMonitor
from f1mon_core.errors import CorruptStoreError, OutcomeUnknown
from f1mon_core.storage.change import Change
from f1mon_core.storage.offload import OffloadedStorage
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, NOON, prediction
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.disk.files import Files

CALLS = {
    "append": lambda store: store.append([prediction("late")]),
    "a repeat": lambda store: store.append([prediction("a")]),
    "find": lambda store: store.find(Select("prediction")),
    "count": lambda store: store.count(Select("prediction")),
    "tally": lambda store: store.tally(TallyQuery()),
    "transition": lambda store: store.transition("rule/x", lambda *_: Change({"n": 1}), operation_id="new"),
    "a repeated transition": lambda store: store.transition("rule/r", lambda *_: Change(None), operation_id="first"),
    "state": lambda store: store.state(""),
    "dump": lambda store: store.dump(),
    "prune": lambda store: store.prune(NOON + HOUR),
    "compact": lambda store: store.compact(),
}


def cut(place):
    """What `copytruncate` of logrotate does."""
    os.truncate(place.journal, 0)


def cut_by_a_line(place):
    os.truncate(place.journal, len(place.journal.read_bytes()) - len(place.lines()[-1]))


def cut_and_begun_anew(place):
    cut(place)
    place.open().append([prediction("another's"), *(prediction(str(number)) for number in range(50))])


def moved_and_made(place):
    """What `create` of logrotate does."""
    place.journal.rename(place.journal.with_suffix(".1"))
    place.journal.touch()


def older_copy(place):
    (place.directory.parent / "copy").rename(place.journal)


def older_copy_that_went_its_own_way(place):
    """As many lines as were read, and longer ones."""
    shutil.copy(place.directory.parent / "copy", place.journal)
    other = place.open()
    for number in range(9):
        other.append([prediction(f"other {number}", features={"x": number})])


def deleted(place):
    place.journal.unlink()


def directory_deleted(place):
    shutil.rmtree(place.directory)


def directory_replaced(place):
    place.directory.rename(place.directory.parent / "elsewhere")
    place.open().append([prediction("another's")])


def overwritten(place):
    place.journal.write_bytes(b"log line\n" * 1000)


HARMS = (
    cut,
    cut_by_a_line,
    cut_and_begun_anew,
    moved_and_made,
    older_copy,
    older_copy_that_went_its_own_way,
    deleted,
    directory_deleted,
    directory_replaced,
    overwritten,
)


def filled(place):
    """A store of which a copy was made before the last that was acknowledged."""
    store = place.open()
    store.append([prediction("a")])
    shutil.copy(place.journal, place.directory.parent / "copy")
    store.append([prediction("b")])
    store.transition("rule/r", lambda *_: Change({"cooldown": 1}, result="fired"), operation_id="first")
    return store


@pytest.mark.parametrize("harm", HARMS)
def test_every_verb_refuses_and_check_says_why(place, harm):
    store = filled(place)
    harm(place)
    found = {path: path.read_bytes() for path in place.directory.glob("*")} if place.directory.exists() else {}
    for name, call in CALLS.items():
        with pytest.raises(CorruptStoreError, match=r"not the one this handle has read|is gone"):
            pytest.fail(f"{name} answered {call(store)}")
    if place.directory.exists():
        assert not store.check().ok
        assert {path: path.read_bytes() for path in place.directory.glob("*") if path.name != "LOCK"} == {
            path: data for path, data in found.items() if path.name != "LOCK"
        }


def test_a_journal_that_was_brought_back_is_gone_on_with(place):
    store = filled(place)
    whole = place.journal.read_bytes()
    cut(place)
    with pytest.raises(CorruptStoreError, match="has 0 bytes"):
        store.append([prediction("c")])
    place.journal.write_bytes(whole)
    store.append([prediction("c")])
    assert place.ids(store) == ["a", "b", "c"]
    assert store.check().ok


def test_what_was_read_is_remembered_where_reading_failed_in_between(place):
    """An index that was thrown away is filled anew, and not from less."""

    class Failing(Files):
        failing = False

        def pread(self, descriptor, size, offset):
            if self.failing and size > 4096:
                self.failing = False
                raise OSError(5, "Input/output error")
            return super().pread(descriptor, size, offset)

    files = Failing()
    store = place.open(_files=files)
    store.append([prediction("a")])
    place.open().append([prediction("b")])
    files.failing = True
    with pytest.raises(Exception, match="Input/output"):
        place.ids(store)
    cut_by_a_line(place)
    assert place.ids(store) == ["a"]  # which is all it had read
    os.truncate(place.journal, 0)
    with pytest.raises(CorruptStoreError, match="not the one"):
        place.ids(store)


@pytest.mark.parametrize("harm", [cut, moved_and_made, older_copy])
def test_a_forked_child_and_another_process_refuse_too(place, harm):
    store = filled(place)
    context = multiprocessing.get_context("fork")
    gate, opened = context.Event(), context.Event()

    def refuses(handle):
        handle.find(Select("prediction"))
        opened.set()
        gate.wait()
        with pytest.raises(CorruptStoreError):
            handle.append([prediction("late")])
        with pytest.raises(CorruptStoreError):
            handle.find(Select("prediction"))

    children = [
        context.Process(target=lambda: refuses(store)),
        context.Process(target=lambda: refuses(JSONLStorage(place.directory))),
    ]
    for child in children:
        opened.clear()
        child.start()
        assert opened.wait(30)
    harm(place)
    gate.set()
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0]


def test_the_async_side_refuses_too(place):
    async def run():
        store = await OffloadedStorage.opened(lambda: JSONLStorage(place.directory))
        monitor = AsyncMonitor(store)
        await monitor.record_prediction("a", model_version="v", predicted_outcome=1, confidence=0.5)
        cut(place)
        with pytest.raises(CorruptStoreError):
            await monitor.record_prediction("b", model_version="v", predicted_outcome=1, confidence=0.5)
        with pytest.raises(CorruptStoreError):
            await monitor.performance("v")
        assert not (await monitor.check()).ok
        await monitor.close()

    asyncio.run(run())


class Meanwhile(Files):
    """Does something to the journal before the nth operation of a kind, when it is told to."""

    harm = None
    at = ""

    def strike(self, name):
        if self.harm is not None and self.at == name:
            harm, self.harm = self.harm, None
            harm()

    def flock(self, descriptor, operation):
        super().flock(descriptor, operation)
        self.strike("behind flock")

    def pwrite(self, descriptor, data, offset):
        self.strike("before pwrite")
        written = super().pwrite(descriptor, data, offset)
        self.strike("behind pwrite")
        return written


@pytest.mark.parametrize("at", ["behind flock", "before pwrite", "behind pwrite"])
@pytest.mark.parametrize("harm", [cut, moved_and_made, older_copy, deleted])
def test_nothing_is_acknowledged_that_was_harmed_between_the_lock_and_the_write(place, harm, at):
    filled(place)
    files = Meanwhile()
    store = place.open(_files=files)
    files.at, files.harm = at, lambda: harm(place)
    with pytest.raises((CorruptStoreError, OutcomeUnknown)):
        store.append([prediction("late")])
    with pytest.raises(CorruptStoreError):
        place.ids(store)


def test_a_compaction_does_not_take_the_place_of_another_journal(place):
    files = Meanwhile()
    store = place.open(_files=files)
    store.append([prediction("a")])
    files.at, files.harm = "before pwrite", lambda: moved_and_made(place)
    with pytest.raises(CorruptStoreError, match="cut or replaced"):
        store.compact()
    assert place.journal.read_bytes() == b""


def test_a_line_that_was_written_whole_stays_where_an_interrupt_came_behind_it(place):
    """Readers may have read it; to take it back would make the journal shorter under them."""

    class Interrupted(Files):
        strike = False

        def pwrite(self, descriptor, data, offset):
            written = super().pwrite(descriptor, data, offset)
            if self.strike:
                self.strike = False
                assert place.ids(reader) == ["a", "b"]
                raise KeyboardInterrupt
            return written

    reader = place.open()
    files = Interrupted()
    store = place.open(_files=files)
    store.append([prediction("a")])
    files.strike = True
    with pytest.raises(KeyboardInterrupt):
        store.append([prediction("b")])
    assert place.ids(reader) == place.ids(store) == ["a", "b"]
    assert store.append([prediction("b")]).repeated == 1


def test_compactions_and_a_whole_copy_are_gone_on_with(place):
    reader, writer = place.open(), place.open()
    writer.append([prediction("a")])
    assert place.ids(reader) == ["a"]
    for name in "bcd":
        place.open().compact()
        writer.append([prediction(name)])
        copy = place.directory / "copy"
        shutil.copy(place.journal, copy)
        copy.rename(place.journal)
        assert reader.append([prediction(name)]).repeated == 1
    assert place.ids(reader) == ["a", "b", "c", "d"]
    assert reader.check().ok


def test_a_store_that_begins_in_an_emptied_journal_says_so(place, caplog):
    filled(place)
    cut(place)
    place.open().append([prediction("new")])
    assert "was empty" in caplog.text

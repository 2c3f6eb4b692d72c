"""What lies in the directory, how it is read, and how it is mended."""

import json
import os
import random
import re
import shutil
import zlib
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest

from f1mon_core.errors import CorruptStoreError, InvalidQueryError, PrunedError, SchemaError, StorageError
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing.facts import HOUR, NOON, alert, outcome, prediction
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl import format as journal_format
from f1mon_jsonl.disk.files import Files
from f1mon_jsonl.index import state
from f1mon_jsonl.journal import compaction, reader

from . import golden

pytestmark = pytest.mark.filterwarnings("ignore::f1mon_core.errors.DamagedStoreWarning")


def test_a_person_can_read_the_journal(place):
    store = place.open(clock=lambda: NOON)
    store.append([prediction("é", features={"tempo": 1.5}), prediction("b")])
    store.transition("rule/1", lambda _, __: Change({"n": 1}, result="done"), operation_id="o")
    header, batch, change = (json.loads(line) for line in place.lines())
    assert header["f1mon"] == "journal"
    assert header["generation"] == 1
    assert [fact["prediction_id"] for fact in batch["facts"]] == ["é", "b"]
    assert batch["facts"][0]["features"] == {"tempo": 1.5}
    assert change["state"] == {"rule/1": {"n": 1}}
    assert change["operations"] == [["rule/1", "o", 1777636800000000, "done"]]
    assert [batch["n"], change["n"]] == [1, 2]
    assert all(line.isascii() for line in place.lines())


def test_a_line_ends_in_the_checksum_of_what_is_before_it(place):
    place.open().append([prediction("a")])
    for line in place.lines():
        body, crc = re.fullmatch(rb'(.*),"crc":"([0-9a-f]{8})"}\n', line).groups()
        assert zlib.crc32(body) == int(crc, 16)


@pytest.mark.parametrize("cut", [1, 2, 20, 10_000])
def test_a_torn_tail_is_set_aside_and_the_rest_goes_on(place, cut):
    place.open().append([prediction("a")])
    place.open().append([prediction("b")])
    *whole, last = place.lines()
    torn = last[: -min(cut, len(last) - 1)]
    place.journal.write_bytes(b"".join(whole) + torn)
    store = place.open()
    assert place.ids(store) == ["a"]
    store.append([prediction("c")])
    assert place.ids(store) == place.ids() == ["a", "c"]
    (name,) = place.aside()
    assert (place.directory / name).read_bytes() == torn
    report = store.check()
    assert report.ok
    (problem,) = report.problems
    assert problem.where == name
    assert ("1 whole transactions" in problem.message) == (cut == 1)


def test_a_newline_is_no_repair(place):
    """It would bring back a transaction that was whole but never acknowledged, perhaps after it was repeated."""
    store = place.open()
    store.append([prediction("a")])
    store.append([prediction("b", confidence=0.1)])
    place.journal.write_bytes(place.journal.read_bytes()[:-1])
    store = place.open()
    store.append([prediction("b", confidence=0.2)])
    assert [one.confidence for one in store.find(Select("prediction"))] == [0.75, 0.2]


def test_a_damaged_line_is_reported_where_it_lies_and_the_rest_stays_readable(place):
    store = place.open()
    for name in "abcd":
        store.append([prediction(name)])
    lines = place.lines()
    lines[2] = lines[2].replace(b"0.75", b"0.76")
    place.journal.write_bytes(b"".join(lines))
    store = place.open()
    assert place.ids(store) == ["a", "c", "d"]
    (problem,) = store.check().problems
    assert not store.check().ok
    assert problem.where == f"journal.jsonl, line 3, byte {len(lines[0]) + len(lines[1])}"
    store.append([prediction("e")])
    store.compact()
    assert place.ids(store) == place.ids() == ["a", "c", "d", "e"]
    (name,) = place.aside()
    assert (place.directory / name).read_bytes() == lines[2]
    assert [problem.where for problem in store.check().problems] == [name]


@pytest.mark.parametrize("merged", [False, True], ids=["taken out", "merged with the next"])
def test_missing_lines_are_reported(place, merged):
    store = place.open()
    for name in "abcd":
        store.append([prediction(name)])
    lines = place.lines()
    if merged:
        lines[2] = lines[2][:-1] + b" "
    else:
        del lines[2]
    place.journal.write_bytes(b"".join(lines))
    report = place.open().check()
    assert any("1 lines before it are missing" in problem.message for problem in report.problems)
    assert place.ids() == (["a", "d"] if merged else ["a", "c", "d"])


def test_a_line_that_is_there_twice_counts_once(place):
    store = place.open()
    store.append([prediction("a")])
    store.append([prediction("b")])
    lines = place.lines()
    place.journal.write_bytes(b"".join([*lines, lines[2]]))
    store = place.open()
    assert store.tally(TallyQuery()).count == 2
    assert "repeats number 2" in store.check().problems[0].message


def test_a_damaged_header_is_reported_and_the_store_goes_on(place):
    place.open().append([prediction("a")])
    place.journal.write_bytes(place.journal.read_bytes().replace(b"generation", b"generatioN"))
    store = place.open()
    assert "header" in store.check().problems[0].message
    store.append([prediction("b")])
    assert place.ids(store) == place.ids() == ["a", "b"]
    assert json.loads(place.lines()[0])["generation"] == 1
    (name,) = place.aside()
    assert b"generatioN" in (place.directory / name).read_bytes()
    assert [problem.where for problem in store.check().problems] == [name]


def test_zeros_that_nobody_vouches_for_end_the_journal(place):
    """A power loss can keep later bytes of what was never synced and lose earlier ones; none of it was acknowledged."""
    store = place.open(durability="os")
    for name in "abc":
        store.append([prediction(name)])
    lines = place.lines()
    lines[2] = bytes(len(lines[2]))
    place.journal.write_bytes(b"".join(lines))
    store = place.open()
    assert place.ids(store) == ["a"]
    store.append([prediction("d")])
    assert place.ids(store) == place.ids() == ["a", "d"]
    assert len(place.aside()) == 1


def test_zeros_in_what_was_synced_are_damage(place):
    store = place.open()
    for name in "abcd":
        store.append([prediction(name)])
    lines = place.lines()
    lines[2] = bytes(len(lines[2]))
    place.journal.write_bytes(b"".join(lines))
    store = place.open()
    assert place.ids(store) == ["a", "d"]  # the zeros took the newline too, and with it the next line
    assert not store.check().ok
    store.append([prediction("e")])
    assert place.ids() == ["a", "d", "e"]


def test_a_bit_that_flipped_to_zero_is_damage_even_where_nobody_vouches(place):
    store = place.open(durability="os")
    store.append([prediction("a@b")])
    store.append([prediction("c")])
    place.journal.write_bytes(place.journal.read_bytes().replace(b"a@b", b"a\0b"))
    store = place.open()
    assert place.ids(store) == ["c"]
    assert not store.check().ok


def test_a_line_vouches_also_for_what_writers_of_one_line_each_left(place):
    """Each of them synced its line and went, and no later line of its own says so."""
    for name in "abcdef":
        store = place.open()
        store.append([prediction(name)])
        store.close()
    lines = place.lines()
    lines[2] = lines[2].replace(b"0.75", b"0\0\x005")
    place.journal.write_bytes(b"".join(lines))
    store = place.open()
    assert place.ids(store) == ["a", "c", "d", "e", "f"]
    assert [problem.where for problem in store.check().problems] == [
        f"journal.jsonl, line 3, byte {len(lines[0]) + len(lines[1])}"
    ]
    store.append([prediction("g")])
    assert place.ids() == ["a", "c", "d", "e", "f", "g"]
    assert place.aside() == []


def test_whole_transactions_behind_zeros_are_an_error(place):
    """Nobody can say whether they were acknowledged, so nobody may say that all is well."""
    store = place.open(durability="os")
    for name in "abcd":
        store.append([prediction(name)])
    lines = place.lines()
    lines[2] = bytes(len(lines[2]) - 1) + b"\n"
    place.journal.write_bytes(b"".join(lines))
    where = f"journal.jsonl, byte {len(lines[0]) + len(lines[1])}"
    report = place.open().check()
    assert [(one.severity, one.where, "2 whole transactions" in one.message) for one in report.problems] == [
        ("error", where, True)
    ]
    store = place.open()
    store.append([prediction("e")])
    (problem,) = store.check().problems
    assert problem.severity == "error"
    assert problem.where in place.aside()
    assert "2 whole transactions" in problem.message
    assert "never acknowledged" not in problem.message


def test_a_damaged_region_is_read_in_time_that_grows_with_its_size_only(place, monkeypatch):
    """Every bad line of it may be a hole, and a repair under way: neither is asked of each line alone."""

    class Counting(Files):
        read = 0

        def pread(self, descriptor, size, offset):
            data = super().pread(descriptor, size, offset)
            Counting.read += len(data)
            return data

    store = place.open()
    store.append([prediction("a")])
    store.append([prediction(str(number), features={"x": "y" * 1_000}) for number in range(300)])
    store.append([prediction("c")])
    store.append([prediction("d")])
    text = bytearray(place.journal.read_bytes())
    region = random.Random(1).randbytes(250_000)
    text[1_000 : 1_000 + len(region)] = region
    place.journal.write_bytes(text)
    bad = region.count(b"\n") + 1
    assert bad > 800
    naps = []
    monkeypatch.setattr(reader, "time", SimpleNamespace(sleep=naps.append))
    store = place.open(_files=Counting())
    assert 1 <= len(naps) < 5
    assert Counting.read < 5 * len(text)
    assert place.ids(store) == ["a", "c", "d"]
    assert len(store.check().problems) >= bad
    Counting.read = 0
    other = place.open(_files=Counting())
    other._view.forget()  # so that the writer reads it under the lock
    other.append([prediction("e")])
    assert Counting.read < 10 * len(text)
    assert place.ids() == ["a", "c", "d", "e"]


@pytest.mark.parametrize("content", [b"somebody else's\n", b"somebody else's", b'{"level":"info"}\n{"level":"info"}\n'])
def test_a_file_that_is_no_journal_is_left_alone(place, content):
    place.directory.mkdir()
    place.journal.write_bytes(content)
    store = place.open()
    with pytest.raises(CorruptStoreError, match="not a journal"):
        store.append([prediction("a")])
    assert place.journal.read_bytes() == content


def test_a_header_that_was_cut_off_is_written_again(place):
    place.open()
    header = place.journal.read_bytes()
    for torn in (b"", header[:1], header[:-1], header[:20] + bytes(80), bytes(100)):
        place.journal.write_bytes(torn)
        store = place.open()
        store.append([prediction("a")])
        assert place.ids(store) == ["a"]


def test_a_journal_of_a_newer_format_is_refused(place):
    place.directory.mkdir()
    place.journal.write_bytes(journal_format.sealed(b'{"f1mon":"journal","format":3,"store":"s","generation":1'))
    with pytest.raises(SchemaError, match="update f1mon"):
        place.open()


def test_a_journal_of_format_1_is_rewritten_before_anything_is_written_to_it(place, monkeypatch):
    """An f1mon that knows format 1 alone, with the journal open or not, refuses it and drops nothing unsaid."""
    shutil.copytree(golden.ASSETS / "plain-0001", place.directory)
    was = place.journal.read_bytes()
    older, store = place.open(), place.open()
    found = golden.as_read(store)
    assert store.check().ok
    assert place.journal.read_bytes() == was
    store.append([prediction("race-0", model_version="another", predicted_outcome="1", segments={"track": "Spa"})])
    assert [json.loads(line)["format"] for line in (was.splitlines()[0], place.lines()[0])] == [1, 2]
    assert len(store.find(Select("prediction", where={"prediction_id": "race-0"}))) == 2
    assert golden.as_read(place.open())["state"] == found["state"]
    monkeypatch.setattr(reader, "READABLE", {1})
    for call in (lambda: older.tally(TallyQuery()), lambda: older.append([prediction("b")]), place.open):
        with pytest.raises(SchemaError, match="update f1mon"):
            call()


def test_a_write_that_is_refused_leaves_an_old_journal_whole(place):
    shutil.copytree(golden.ASSETS / "pruned-0001", place.directory)
    store = place.open()
    found = golden.as_read(store)
    with pytest.raises(PrunedError):
        store.append([prediction(golden.PRUNED_IDS[0], model_version="another")])
    assert golden.as_read(store) == golden.as_read(place.open()) == found
    assert not store.check().problems


@pytest.mark.parametrize("operation_id", [5, None, "", "a\0", "\ud800", "é" * 256])
def test_an_operation_id_that_is_none_leaves_nothing_behind(place, operation_id):
    """One that is no text, or no text that JSON can hold, once left a damaged line for ever."""
    store = place.open()
    store.append([prediction("a")])
    was = place.journal.read_bytes()
    with pytest.raises(InvalidQueryError, match="operation_id"):
        store.transition("key", lambda *_: Change({"n": 1}), operation_id=operation_id)
    assert place.journal.read_bytes() == was
    assert not store.check().problems
    assert not place.open().state("")


def test_a_store_without_its_id_is_not_dumped(place):
    place.open().append([prediction("a")])
    place.journal.write_bytes(place.journal.read_bytes().replace(b"generation", b"generatioN"))
    store = place.open()
    with pytest.raises(CorruptStoreError, match="compact"):
        store.dump()
    store.compact()
    assert store.dump().records


def test_a_page_is_restored_as_one_line_and_read_with_the_times_of_each_fact(place, tmp_path):
    now = [NOON]
    store = place.open(clock=lambda: now[0])
    for name in "abc":
        store.append([prediction(name, at=NOON - HOUR)])
        now[0] += HOUR
    store.transition("k", lambda *_: Change({"n": 1}, result="done"), operation_id="o")
    other = JSONLStorage(tmp_path / "other", clock=lambda: now[0])
    assert other.restore(store.dump().records).new == 3
    assert len(Path(other.path, "journal.jsonl").read_bytes().splitlines()) == 2
    for _ in range(2):
        assert [one.recorded_at for one in other.find(Select("prediction"))] == [NOON, NOON + HOUR, NOON + 2 * HOUR]
        assert other.tally(TallyQuery(as_recorded=NOON + HOUR)).count == 2
        assert other.transition("k", None, operation_id="o") == "done"
        other.compact()
    other.close()


@pytest.mark.parametrize("compacted", [False, True])
def test_what_the_source_pruned_goes_in_one_step(place, tmp_path, compacted):
    """A rewritten journal replaces the old one, or nothing changes."""
    store = place.open(clock=lambda: NOON)
    store.append([prediction("a"), prediction("a", model_version="b"), prediction("b")])
    store.append([outcome("a", 1), outcome("b", 1)])
    other = JSONLStorage(tmp_path / "other", clock=lambda: NOON)
    other.restore(store.dump().records)
    store.prune(NOON + HOUR, keep=[])
    if compacted:
        other.compact()
    other.append([prediction("own", at=NOON + 2 * HOUR)])
    page = store.dump()
    assert other.restore(page.records).new > 0
    assert [one.prediction_id for one in other.find(Select("prediction"))] == ["own"]
    assert not other.find(Select("outcome"))
    assert other.check().ok
    size = Path(other.path, "journal.jsonl").stat().st_size
    assert other.restore(page.records).new == 0
    assert Path(other.path, "journal.jsonl").stat().st_size == size
    with pytest.raises(PrunedError):
        other.append([outcome("b", 0)])
    other.close()


def test_a_record_of_an_unknown_kind_is_refused(place):
    store = place.open()
    line = b'{"n":1,"synced":0,"facts":[{"kind":"weather","v":1,"at":0,"recorded_at":0,"confidence":"high"}]'
    with place.journal.open("ab") as journal:
        journal.write(journal_format.sealed(line))
    with pytest.raises(SchemaError, match="weather"):
        store.find(Select("prediction"))


def test_members_of_other_kinds_may_have_any_type(place):
    """The index types the members of predictions; a kind yet to come may use their names otherwise."""
    store = place.open()
    store.append([alert(), prediction("a")])
    *_, line = place.lines()
    body = line[:-19].replace(b'"severity"', b'"confidence":"x","severity"')
    assert journal_format.decode_anyhow(body + b"}").facts[1].prediction_id == "a"


@pytest.mark.parametrize("name", ["journal.jsonl", "LOCK"])
def test_a_symbolic_link_is_not_followed(place, tmp_path, name):
    target = tmp_path / "outside"
    target.write_bytes(b"precious")
    place.directory.mkdir()
    (place.directory / name).symlink_to(target)
    with pytest.raises(StorageError):
        place.open().append([prediction("a")])
    assert target.read_bytes() == b"precious"


def test_what_a_compaction_writes_is_no_link_either(place, tmp_path):
    target = tmp_path / "outside"
    target.write_bytes(b"precious")
    store = place.open()
    store.append([prediction("a")])
    (place.directory / "journal.jsonl.new").symlink_to(target)
    with pytest.raises(StorageError):
        store.compact()
    assert target.read_bytes() == b"precious"
    assert place.ids(store) == ["a"]


def test_a_pipe_is_refused_and_does_not_hang(place):
    place.directory.mkdir()
    os.mkfifo(place.journal)
    with pytest.raises(CorruptStoreError, match="not a regular file"):
        place.open()


def test_a_journal_that_went_away_is_not_replaced_by_an_empty_one(place):
    store = place.open()
    store.append([prediction("a")])
    place.journal.rename(place.directory / "elsewhere")
    with pytest.raises(CorruptStoreError, match="is gone"):
        store.append([prediction("b")])
    assert [problem.severity for problem in store.check().problems] == ["error"]
    (place.directory / "elsewhere").rename(place.journal)
    store.append([prediction("b")])
    assert place.ids(store) == ["a", "b"]


def test_compaction_leaves_out_what_is_superseded(place):
    now = [NOON]
    store = place.open(clock=lambda: now[0])
    store.append([prediction("a")])
    for number in range(50):
        now[0] += HOUR
        store.transition("k", lambda _, __, n=number: Change({"n": n}, result=n), operation_id=str(number))
    before = len(place.lines())
    store.compact()
    lines = [json.loads(line) for line in place.lines()]
    assert len(lines) < before / 10
    assert [len(line["operations"]) for line in lines if "operations" in line] == [25]
    for handle in (store, place.open(clock=lambda: now[0])):
        assert handle.state("") == {"k": {"n": 49}}
        assert handle.transition("k", lambda _, __: Change(None), operation_id="40") == 40
        assert place.ids(handle) == ["a"]


@pytest.mark.parametrize("rotten", [b'"grid":9', b'"grid;:1'], ids=["a value", "the JSON"])
@pytest.mark.parametrize(
    ("rewrite", "kept"),
    [(lambda store: store.compact(), ["old", "b"]), (lambda store: store.prune(NOON), ["b"])],
    ids=["compact", "prune"],
)
def test_a_line_that_rotted_since_it_was_read_is_set_aside_and_not_sealed_anew(place, rotten, rewrite, kept):
    store = place.open(clock=lambda: NOON + HOUR)
    store.append([prediction("old", at=NOON - HOUR)])
    store.append([prediction("a", features={"grid": 1}), prediction("older", at=NOON - 2 * HOUR)])
    store.append([prediction("b")])
    lines = place.lines()
    lines[2] = lines[2].replace(b'"grid":1', rotten)
    place.journal.write_bytes(b"".join(lines))
    rewrite(store)
    assert place.ids(store) == place.ids() == kept
    (name,) = place.aside()
    assert (place.directory / name).read_bytes() == lines[2]
    assert [problem.where for problem in store.check().problems] == [name]
    store.append([prediction("c")])
    assert place.ids() == [*kept, "c"]


def test_a_line_that_stays_rotten_is_an_error_and_the_journal_stays(place, monkeypatch):
    store = place.open()
    store.append([prediction("a")])
    before = place.journal.read_bytes()
    monkeypatch.setattr(compaction, "intact", lambda _: False)
    with pytest.raises(CorruptStoreError, match="run check"):
        store.compact()
    assert place.journal.read_bytes() == before


def test_a_compaction_that_was_cut_off_is_mentioned_and_replaced(place):
    store = place.open()
    store.append([prediction("a")])
    (place.directory / "journal.jsonl.new").write_bytes(b"half")
    assert "cut off" in store.check().problems[0].message
    store.compact()
    assert not store.check().problems
    assert place.ids() == ["a"]


def test_a_compaction_at_work_is_no_problem(place):
    seen = []

    class Checked(Files):
        """Somebody asks just before the new file gets its name."""

        def rename(self, source, target):
            seen.extend(place.open().check().problems)
            super().rename(source, target)

    store = place.open(_files=Checked())
    store.append([prediction("a")])
    store.compact()
    assert seen == []


def test_zeros_in_a_compacted_journal_are_damage(place):
    """All of it was synced before it got its name, and its last line says so."""
    store = place.open(durability="os")
    for name in "abc":
        store.append([prediction(name)])
    store.compact()
    lines = place.lines()
    lines[1] = bytes(len(lines[1]) - 1) + b"\n"
    place.journal.write_bytes(b"".join(lines))
    assert place.ids() == ["b", "c"]


def test_durability_of_the_operating_system_is_a_warning(place):
    store = place.open(durability="os")
    assert [problem.where for problem in store.check().problems] == ["durability"]
    assert store.check().ok


def test_facts_of_a_long_line_are_read_one_by_one_and_checked(place):
    store = place.open()
    store.append([prediction(str(number), features={"é": "]," * 50}) for number in range(200)])
    for number in (7, 7, 199, 0):
        (found,) = store.find(Select("prediction", where={"prediction_id": str(number)}))
        assert found == attrs.evolve(prediction(str(number), features={"é": "]," * 50}), recorded_at=found.recorded_at)
    assert len(store.find(Select("prediction"))) == 200
    text = place.journal.read_bytes()
    at = text.index(b'"prediction_id":"7"')
    place.journal.write_bytes(text[:at] + text[at:].replace(b"podium-1", b"podium-2", 1))
    with pytest.raises(CorruptStoreError, match="run check"):
        store.find(Select("prediction", where={"prediction_id": "7"}))
    with pytest.raises(CorruptStoreError, match="run check"):
        store.find(Select("prediction"))
    assert store.find(Select("prediction", where={"prediction_id": "8"}))


def test_results_of_operations_are_forgotten_after_a_day_and_not_before(place, monkeypatch):
    monkeypatch.setattr(state, "_FEW", 10)
    now = [NOON]
    store = place.open(clock=lambda: now[0], durability="os")
    for number in range(100):
        now[0] += HOUR
        store.transition("k", lambda _, __, n=number: Change({"n": n}, result=n), operation_id=str(number))
        for kept in range(max(0, number - 24), number + 1):
            assert store.transition("k", lambda *_: Change(None), operation_id=str(kept)) == kept
    assert len(store._view.index.state.results) <= 50

"""Old files become facts: once, whole, whatever is wrong with them, and they stay as they are."""

import base64
import errno
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from f1mon_core import open_storage
from f1mon_core.errors import LockTimeoutError, StorageError
from f1mon_core.legacy import adopt
from f1mon_core.legacy.adoption import OLD_FILES, READER
from f1mon_core.monitor import Monitor
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select


@pytest.fixture
def storage():
    opened = open_storage("memory")
    yield opened
    opened.close()


@pytest.fixture
def directory(tmp_path) -> Path:
    made = tmp_path / "old"
    made.mkdir()
    return made


def a_prediction(**changed):
    return {
        "timestamp": 1394971200.25,
        "model_version": "m",
        "prediction_id": "p1",
        "predicted_outcome": 1,
        "confidence": 0.75,
        "features": {"grid": 1.0},
        "metadata": {"driver": "a"},
    } | changed


def an_alert(**changed):
    return {
        "timestamp": 1394982000.0,
        "alert_id": "alert_1394982000000",
        "severity": "warning",
        "title": "T",
        "message": "M",
        "metric_name": "accuracy",
        "metric_value": 0.5,
        "threshold": 0.8,
        "component": "performance",
        "model_version": "m",
        "acknowledged": False,
        "acknowledged_at": None,
        "acknowledged_by": None,
    } | changed


def write(directory: Path, name: str, *lines: object, end: str = "\n") -> None:
    texts = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (directory / name).write_bytes(b"\n".join(texts) + end.encode())


def everything(storage) -> dict[str, list[object]]:
    kinds = ("prediction", "health_snapshot", "metric_snapshot", "alert", "acknowledgement", "rule_revision")
    return {kind: [(f.key, f.at if f.at_given else None, f) for f in storage.find(Select(kind))] for kind in kinds}


def keys(storage, kind: str) -> list[str]:
    """The keys of all facts of a kind; of predictions the ids."""
    return sorted("/".join(fact.key[: 1 if kind == "prediction" else None]) for fact in storage.find(Select(kind)))


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in OLD_FILES if (directory / name).exists()}


def test_a_prediction_comes_over_whole(storage, directory):
    write(directory, "predictions.jsonl", a_prediction())
    account = adopt(storage, directory)
    (made,) = Monitor(storage).predictions()
    assert (made.prediction_id, made.model_version, made.predicted_outcome, made.confidence) == ("p1", "m", 1, 0.75)
    assert (made.features, made.metadata) == ({"grid": 1.0}, {"driver": "a"})
    assert made.at == datetime(2014, 3, 16, 12, 0, 0, 250_000, tzinfo=UTC)
    assert str(account).startswith("predictions.jsonl: 1 read, 1 facts adopted, 0 already stored, 0 repairs")


def test_adopting_twice_reads_nothing_twice_and_a_grown_file_only_from_where_it_grew(storage, directory):
    write(directory, "predictions.jsonl", a_prediction(), a_prediction(prediction_id="p2"))
    adopt(storage, directory)
    assert adopt(storage, directory).files == ()
    with (directory / "predictions.jsonl").open("ab") as file:
        file.write(json.dumps(a_prediction(prediction_id="p3")).encode() + b"\n")
    (account,) = adopt(storage, directory).files
    assert (account.lines, account.adopted, account.repeated) == (1, 1, 0)
    assert keys(storage, "prediction") == ["p1", "p2", "p3"]


def test_a_rewritten_file_is_read_again_and_what_is_stored_is_not_stored_twice(storage, directory):
    write(directory, "predictions.jsonl", a_prediction(), a_prediction(prediction_id="p2"))
    adopt(storage, directory)
    write(directory, "predictions.jsonl", a_prediction(prediction_id="p2"), a_prediction(prediction_id="p0"))
    (account,) = adopt(storage, directory).files
    assert (account.lines, account.adopted, account.repeated) == (2, 1, 1)


def test_of_a_repeated_prediction_id_the_first_stays_and_the_different_one_is_set_aside(storage, directory):
    other = a_prediction(confidence=0.9)
    write(directory, "predictions.jsonl", a_prediction(), a_prediction(), other, a_prediction(prediction_id="p2"))
    account = adopt(storage, directory)
    assert {p.prediction_id: p.confidence for p in Monitor(storage).predictions()} == {"p1": 0.75, "p2": 0.75}
    (kept,) = map(json.loads, account.set_aside_file.read_text().splitlines())
    assert (kept["file"], kept["line"]) == ("predictions.jsonl", 3)
    assert json.loads(kept["text"]) == other
    assert "line 3 set aside: a different prediction is already stored" in str(account)


def test_the_predictions_of_two_models_under_one_id_both_come_in(storage, directory):
    champion, challenger = a_prediction(model_version="m"), a_prediction(model_version="n", predicted_outcome=0)
    contradicted = a_prediction(model_version="n", confidence=0.9)
    write(
        directory, "predictions.jsonl", champion, challenger, champion, contradicted, a_prediction(prediction_id="p2")
    )
    (account,) = adopt(storage, directory).files
    assert (account.adopted, account.repeated) == (3, 1)
    assert [one.line for one in account.set_aside] == [4]
    found = Monitor(storage).predictions()
    assert sorted((p.prediction_id, p.model_version, p.predicted_outcome) for p in found) == [
        ("p1", "m", 1),
        ("p1", "n", 0),
        ("p2", "m", 1),
    ]


def test_what_an_earlier_reader_set_aside_comes_in_when_its_directory_is_read_once_more(storage, directory):
    champion, challenger = a_prediction(model_version="m"), a_prediction(model_version="n")
    write(directory, "predictions.jsonl", champion, challenger)
    adopt(storage, directory)
    ((key, marker),) = storage.state("adopted/").items()
    assert marker["reader"] == READER

    earlier = open_storage("memory")
    first_one = Monitor(storage).prediction("p1", "m")
    earlier.append([first_one])
    unversioned = {name: value for name, value in marker.items() if name != "reader"}
    earlier.transition(key, lambda _, __: Change(unversioned), operation_id="as reader 1 left it")
    (account,) = adopt(earlier, directory).files
    assert (account.adopted, account.repeated, account.set_aside) == (1, 1, [])
    assert [p.model_version for p in Monitor(earlier).predictions()] == ["m", "n"]
    assert earlier.state(key)[key]["reader"] == READER
    assert adopt(earlier, directory).files == ()
    earlier.close()


def test_many_repeats_among_many_are_all_set_aside_and_all_others_stored(storage, directory):
    rows = [a_prediction(prediction_id=f"p{n}") for n in range(300)]
    bad = [a_prediction(prediction_id=f"p{n}", confidence=0.9) for n in range(0, 300, 7)]
    write(directory, "predictions.jsonl", *rows[:150], *bad[:20], *rows[150:], *bad[20:])
    (account,) = adopt(storage, directory).files
    # A copy that came before its original is the first, and the original is what differs from it.
    assert len(account.set_aside) == len(bad)
    assert account.adopted == 300


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"timestamp": 1394971200.0, "model_ver', "not JSON"),
        (b'{"prediction_id": "caf\xe9"}', "not UTF-8 at byte 22"),
        (b"[1, 2]", "not a JSON object but a list"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"9" * 5_000, "not JSON"),
        (json.dumps(a_prediction(confidence=1.5)).encode(), "confidence: must be in [0, 1]"),
        (json.dumps(a_prediction(confidence=float("nan"))).encode(), "confidence: must be finite"),
        (json.dumps(a_prediction(timestamp=1394971200000)).encode(), "timestamp: must be Unix seconds in the years"),
        (json.dumps({"timestamp": 1.0}).encode(), "prediction_id: is missing"),
        (
            json.dumps(a_prediction(predicted_outcome=[1])).encode(),
            "predicted_outcome: must be a class label, an int or a str",
        ),
        (json.dumps(a_prediction(predicted_outcome=0.5)).encode(), "predicted_outcome: must be a whole number"),
        (json.dumps(a_prediction(features=[1])).encode(), "features: must be an object"),
    ],
)
def test_a_line_without_a_record_is_set_aside_word_for_word_and_the_others_are_adopted(storage, directory, raw, reason):
    write(directory, "predictions.jsonl", raw, a_prediction())
    account = adopt(storage, directory)
    assert keys(storage, "prediction") == ["p1"]
    (kept,) = map(json.loads, account.set_aside_file.read_text().splitlines())
    assert reason in kept["reason"]
    assert (kept["text"].encode() if "text" in kept else base64.b64decode(kept["base64"])) == raw


def test_what_can_be_repaired_is_and_says_so(storage, directory):
    features = {"a": float("nan"), "b": [1.0, float("-inf")]}
    line = json.dumps(a_prediction(features=features, colour="red", predicted_outcome=True)).encode()
    write(directory, "predictions.jsonl", b"\xef\xbb\xbf" + line + b"\r", b"", b"  ")
    account = adopt(storage, directory)
    (made,) = Monitor(storage).predictions()
    assert made.features == {"a": None, "b": [1.0, None]}
    assert made.predicted_outcome == 1
    assert made.metadata == {
        "driver": "a",
        "f1mon_adoption": {
            "repaired": ["a byte order mark was skipped"],
            "unknown": {"colour": "red"},
            "nulled": ["features.a", "features.b[1]"],
        },
    }
    assert "line 1: NaN or infinity in features.a became null" in str(account)
    assert account.set_aside_file is None


def test_a_record_glued_to_a_torn_one_is_read_and_a_torn_end_is_read_again_when_it_is_complete(storage, directory):
    whole = json.dumps(a_prediction()).encode()
    torn = json.dumps(a_prediction(prediction_id="p2")).encode()
    write(directory, "predictions.jsonl", torn[:40] + whole, torn[:60], end="")
    (account,) = adopt(storage, directory).files
    assert keys(storage, "prediction") == ["p1"]
    assert [(one.line, one.raw) for one in account.set_aside] == [(1, torn[:40]), (2, torn[:60])]
    assert "not a whole record" in account.set_aside[0].reason
    with (directory / "predictions.jsonl").open("ab") as file:
        file.write(torn[60:])
    (account,) = adopt(storage, directory).files
    assert (account.lines, account.adopted) == (1, 1)
    assert keys(storage, "prediction") == ["p1", "p2"]


def test_lines_keep_their_numbers_when_the_end_of_the_last_one_comes_later(storage, directory):
    write(directory, "predictions.jsonl", a_prediction(), a_prediction(prediction_id="p2"), end="")
    adopt(storage, directory)
    with (directory / "predictions.jsonl").open("ab") as file:
        file.write(b"\n{\n")
    (account,) = adopt(storage, directory).files
    assert [one.line for one in account.set_aside] == [3]


def the(name):
    return json.dumps(a_prediction(prediction_id=name)).encode()


@pytest.mark.parametrize(
    ("line", "adopted", "aside"),
    [
        (the("p1") + the("p2"), ["p1", "p2"], []),
        (the("p1") + b"\r" + the("p2") + b" " + the("p3") + b"\r", ["p1", "p2", "p3"], []),
        (the("p1")[:50] + the("p2") + the("p3"), ["p2", "p3"], [the("p1")[:50]]),
        (the("p1") + the("p2")[:50] + the("p3"), ["p1", "p3"], [the("p2")[:50]]),
        (the("p1") + the("p2")[:-4], ["p1"], [the("p2")[:-4]]),
        (the("p1")[:-4] + the("p2")[:9] + the("p3"), ["p3"], [the("p1")[:-4] + the("p2")[:9]]),
        (the("p1") + b"\xff\xfe" + the("p2"), ["p1", "p2"], [b"\xff\xfe"]),
        (the("p1").replace(b"m", b"\xff", 1) + the("p2"), ["p2"], [the("p1").replace(b"m", b"\xff", 1)]),
        (
            json.dumps(a_prediction(confidence=2.0)).encode() + the("p2"),
            ["p2"],
            [json.dumps(a_prediction(confidence=2.0)).encode()],
        ),
    ],
    ids=["two", "CR", "torn first", "torn between", "torn last", "torn twice", "bytes between", "no UTF-8", "invalid"],
)
def test_of_a_line_that_holds_several_records_each_whole_one_is_adopted_and_the_rest_kept(
    storage, directory, line, adopted, aside
):
    write(directory, "predictions.jsonl", line, the("last"))
    (account,) = adopt(storage, directory).files
    assert keys(storage, "prediction") == ["last", *adopted]
    assert [one.raw for one in account.set_aside] == aside
    assert account.lines == 2


def test_alerts_and_snapshots_that_were_glued_are_adopted_too(storage, directory):
    one, other = json.dumps(an_alert()).encode(), json.dumps(an_alert(alert_id="b")).encode()
    write(directory, "alerts.jsonl", one[:30] + one + other)
    health = b"".join(json.dumps({"timestamp": at, "model_version": "m"}).encode() for at in (5.0, 6.0))
    write(directory, "health_snapshots.jsonl", health)
    account = adopt(storage, directory)
    assert len(keys(storage, "alert")) == len(keys(storage, "health_snapshot")) == 2
    assert [kept.raw for file in account.files for kept in file.set_aside] == [one[:30]]


def test_a_record_glued_to_one_that_is_still_being_written_waits_with_it(storage, directory):
    write(directory, "predictions.jsonl", the("p1") + the("p2")[:50], end="")
    adopt(storage, directory)
    assert keys(storage, "prediction") == ["p1"]
    with (directory / "predictions.jsonl").open("ab") as file:
        file.write(the("p2")[50:] + b"\n")
    (account,) = adopt(storage, directory).files
    assert (account.adopted, account.repeated, account.set_aside) == (1, 1, [])
    assert keys(storage, "prediction") == ["p1", "p2"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"\xef\xbb\xbf" + the("p1"), the("p1")),
        (a_prediction(features={"x": float("nan")}), a_prediction(features={"x": None})),
        (a_prediction(features={"x": None}), a_prediction(features={"x": float("inf")})),
        (a_prediction(features={"x": 1, "y": 2}), a_prediction(features={"y": 2, "x": 1})),
        (the("p1")[:40] + the("p1"), the("p1")),
        (b"\xef\xbb\xbf" + json.dumps(a_prediction(colour="red")).encode(), a_prediction(colour="red")),
        (
            b"\xef\xbb\xbf" + json.dumps(a_prediction(metadata={"f1mon_adoption": "mine"})).encode(),
            a_prediction(metadata={"f1mon_adoption": "mine"}),
        ),
    ],
    ids=["byte order mark", "NaN, null", "null, infinity", "order", "glued", "unknown", "own key"],
)
def test_a_record_that_was_repaired_repeats_the_one_that_needed_none(storage, directory, one, other):
    write(directory, "predictions.jsonl", one, other, a_prediction(prediction_id="p2"))
    (account,) = adopt(storage, directory).files
    assert (account.adopted, account.repeated) == (2, 1)
    assert [kept.raw for kept in account.set_aside if kept.raw != the("p1")[:40]] == []


@pytest.mark.parametrize(
    "other",
    [
        a_prediction(colour="blue"),
        a_prediction(features={"x": 0.0}),
        a_prediction(metadata={"f1mon_adoption": "yours"}),
    ],
    ids=["unknown", "value", "own key"],
)
def test_a_record_that_says_something_else_is_none_that_was_repaired(storage, directory, other):
    first = a_prediction(colour="red", features={"x": float("nan")}, metadata={"f1mon_adoption": "mine"})
    write(directory, "predictions.jsonl", first, first | other)
    (account,) = adopt(storage, directory).files
    assert (account.adopted, account.repeated, len(account.set_aside)) == (1, 0, 1)


def test_the_same_alert_with_nan_and_with_null_is_one(storage, directory):
    write(directory, "alerts.jsonl", an_alert(metric_value=float("nan")), an_alert(metric_value=None))
    (account,) = adopt(storage, directory).files
    assert len(keys(storage, "alert")) == 1
    assert (account.adopted, account.repeated, account.renamed, account.set_aside) == (1, 1, [], [])


def test_metadata_of_its_own_under_the_key_of_the_adoption_stays(storage, directory):
    own = a_prediction(metadata={"f1mon_adoption": {"mine": 1}}, features={"x": float("nan")})
    write(directory, "predictions.jsonl", own)
    adopt(storage, directory)
    (made,) = Monitor(storage).predictions()
    assert made.metadata == {"f1mon_adoption": {"nulled": ["features.x"], "own": {"mine": 1}}}


def test_different_alerts_under_one_id_are_all_there_and_the_first_keeps_it(storage, directory):
    write(directory, "alerts.jsonl", an_alert(), an_alert(model_version="n"), an_alert(), an_alert(title="U"))
    (account,) = adopt(storage, directory).files
    made = {alert.alert_id: alert for alert in Monitor(storage).alerts()}
    assert made["alert_1394982000000"].model_version == "m"
    derived = sorted(set(made) - {"alert_1394982000000"})
    assert len(derived) == 2
    assert [made[one].metadata["f1mon_adoption"]["alert_id"] for one in derived] == ["alert_1394982000000"] * 2
    assert sorted(new for _, new in account.renamed) == derived


def test_derived_ids_stay_when_the_old_system_sorts_and_acknowledges_its_lines_anew(storage, directory):
    first, second = an_alert(), an_alert(model_version="n")
    write(directory, "alerts.jsonl", first, second)
    adopt(storage, directory)
    before = {alert.alert_id: alert.model_version for alert in Monitor(storage).alerts()}
    second |= {"acknowledged": True, "acknowledged_at": 1394989000.5, "acknowledged_by": "who"}
    write(directory, "alerts.jsonl", second, first)
    (account,) = adopt(storage, directory).files
    assert {alert.alert_id: alert.model_version for alert in Monitor(storage).alerts()} == before
    assert not account.set_aside
    (made,) = storage.find(Select("acknowledgement"))
    assert (before[made.alert_id], made.by) == ("n", "who")
    assert made.at == datetime.fromtimestamp(1394989000.5, UTC)


def test_old_snapshots_are_not_trusted_and_old_metrics_have_no_model(storage, directory):
    health = {"timestamp": 5.0, "model_version": "m", "accuracy": 0.9, "roc_auc": float("nan"), "num_predictions": 3}
    write(directory, "health_snapshots.jsonl", health, health, health | {"accuracy": 0.8})
    write(directory, "metrics.jsonl", {"timestamp": 5.0, "metric_name": "ece", "value": 0.1, "window_size": 7})
    adopt(storage, directory)
    snapshots = storage.find(Select("health_snapshot"))
    assert sorted(one.metrics["accuracy"] for one in snapshots) == [0.8, 0.9]
    assert {one.trusted for one in snapshots} == {False}
    assert {one.metrics["roc_auc"] for one in snapshots} == {None}
    (metric,) = storage.find(Select("metric_snapshot"))
    assert (metric.metric_name, metric.value, metric.model_version) == ("ece", 0.1, "unspecified")
    assert metric.metadata["window_size"] == 7


def test_rules_come_over_and_never_undo_an_edit_made_since(storage, directory):
    rule = {
        "rule_id": "r",
        "metric_name": "accuracy",
        "metric_type": "threshold",
        "threshold": 0.8,
        "comparison": "<",
        "severity": "warning",
        "component": "performance",
    }
    bad = rule | {"rule_id": "b", "comparison": "≈"}
    (directory / "alert_rules.json").write_text(json.dumps([rule, bad, rule | {"threshold": 0.7}]))
    account = adopt(storage, directory)
    monitor = Monitor(storage)
    (stored,) = monitor.rules()
    assert stored.threshold == 0.7
    assert "comparison" in account.files[0].set_aside[0].reason
    monitor.remove_rule("r")
    (directory / "alert_rules.json").write_text(json.dumps([rule]))
    adopt(storage, directory)
    assert monitor.rules() == []


def test_the_old_files_stay_byte_for_byte_and_an_empty_directory_is_no_news(storage, directory):
    assert adopt(storage, directory).files == ()
    write(directory, "predictions.jsonl", a_prediction(), b"{", a_prediction(confidence=0.1), end="")
    write(directory, "alerts.jsonl", an_alert(), an_alert(title="U"))
    before = bytes_of(directory)
    account = adopt(storage, directory)
    assert bytes_of(directory) == before
    assert sorted(path.name for path in directory.iterdir()) == sorted([*before, account.set_aside_file.name])


def test_what_is_set_aside_twice_is_kept_once(storage, directory):
    write(directory, "predictions.jsonl", b"{")
    one = adopt(storage, directory)
    other = open_storage("memory")
    assert adopt(other, directory).set_aside_file == one.set_aside_file
    other.close()
    assert len(list(directory.glob("f1mon-set-aside-*"))) == 1


def unwritable(monkeypatch):
    """No file can be made beside the old ones, also where the tests run as root."""
    monkeypatch.setattr("secrets.token_hex", lambda _: "no/such/directory")


def test_what_cannot_be_set_aside_is_told_and_read_again_until_it_can(storage, directory, monkeypatch, caplog):
    write(directory, "predictions.jsonl", b"{", a_prediction())
    write(directory, "metrics.jsonl", {"timestamp": 5.0, "metric_name": "ece", "value": 0.1})
    with monkeypatch.context() as broken:
        unwritable(broken)
        account = adopt(storage, directory)
    assert account.set_aside_file is None
    assert account.not_kept.startswith(f"1 line could not be set aside in {directory}/f1mon-set-aside-")
    assert account.not_kept in str(account)
    assert [record.levelname for record in caplog.records if record.getMessage() == account.not_kept] == ["ERROR"]
    assert keys(storage, "prediction") == ["p1"]
    (account,) = (again := adopt(storage, directory)).files
    assert (account.name, account.lines, account.repeated) == ("predictions.jsonl", 2, 1)
    assert again.set_aside_file.exists()
    assert adopt(storage, directory).files == ()


def test_an_old_file_that_cannot_be_read_is_an_error_that_names_it(storage, directory, monkeypatch):
    write(directory, "predictions.jsonl", a_prediction())
    write(directory, "alert_rules.json", b"[]")

    def opened(path, *arguments, _original=Path.open):
        if path.name == "alert_rules.json":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return _original(path, *arguments)

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(StorageError, match=r"cannot read .*/old/alert_rules\.json: Permission denied"):
        adopt(storage, directory)


def test_a_store_that_is_locked_is_not_taken_for_a_file_that_cannot_be_read(storage, directory, monkeypatch):
    def locked(_):
        raise LockTimeoutError("another writer")

    write(directory, "predictions.jsonl", a_prediction())
    monkeypatch.setattr(storage, "append", locked)
    with pytest.raises(LockTimeoutError):
        adopt(storage, directory)

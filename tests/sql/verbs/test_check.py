"""A damaged SQLite file: what is reported, and that it is reported."""

import random
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from f1mon_core.cli import f1mon
from f1mon_core.errors import CorruptStoreError
from f1mon_core.records.kinds import Acknowledgement, Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_sql import SQLStorage

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PAGE = 4096
DAMAGED = 4


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A database file with some hundred pages."""
    path = tmp_path_factory.mktemp("sound") / "f1mon.db"
    store = SQLStorage(f"sqlite:///{path}")
    names = [f"p{number:04d}" for number in range(2000)]
    store.append(
        Prediction(
            prediction_id=name, model_version="m", predicted_outcome=1, confidence=0.5, features={"x": 1.5}, at=NOON
        )
        for name in names
    )
    store.append(Outcome(prediction_id=name, actual_outcome=1, at=NOON + timedelta(hours=1)) for name in names)
    store.append(Acknowledgement(alert_id=name, by="kim") for name in names)
    for number in range(100):
        store.transition(f"k{number}", lambda state, now: Change({"text": "x" * 100}), operation_id="1")
    store.close()
    return path


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_reported_whatever_is_damaged(sound, tmp_path, seed):
    path = tmp_path / "f1mon.db"
    shutil.copy(sound, path)
    content, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(3):
        # Behind the pages of the schema: what lies there is needed to open the store.
        start = rng.randrange(20 * PAGE, len(content) - PAGE)
        content[start : start + 2000] = rng.randbytes(2000)
    path.write_bytes(content)
    store = SQLStorage(f"sqlite:///{path}")
    report = store.check()
    store.close()
    assert not report.ok
    result = CliRunner().invoke(f1mon, ["--url", f"sqlite:///{path}", "check"])
    assert result.exit_code == DAMAGED, result.output
    assert "damaged" in result.stderr


def test_a_file_whose_schema_is_gone_is_a_typed_error(sound, tmp_path):
    path = tmp_path / "f1mon.db"
    shutil.copy(sound, path)
    content = bytearray(path.read_bytes())
    content[100:PAGE] = b"\xff" * (PAGE - 100)
    path.write_bytes(content)
    with pytest.raises(CorruptStoreError):
        SQLStorage(f"sqlite:///{path}")


def test_a_document_of_another_type_is_reported(sound, tmp_path):
    path = tmp_path / "f1mon.db"
    shutil.copy(sound, path)
    raw = sqlite3.connect(path)
    raw.execute("UPDATE f1mon_state SET document = x'ff' WHERE state_key = 'k7'")
    raw.execute("UPDATE f1mon_facts SET content = CAST(x'ff' AS TEXT) WHERE key_1 = 'p0007'")
    raw.commit()
    raw.close()
    store = SQLStorage(f"sqlite:///{path}")
    wrong = [problem.where for problem in store.check().problems if problem.severity == "error"]
    assert "f1mon_state, key 'k7'" in wrong
    assert any(where.startswith("f1mon_facts, kind acknowledgement") for where in wrong)
    store.close()


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("damage", "where"),
    [
        ("UPDATE f1mon_predictions SET recorded_at = NULL WHERE prediction_id = 'p0007'", "f1mon_predictions"),
        ("UPDATE f1mon_predictions SET model_version = x'ff' WHERE prediction_id = 'p0007'", "f1mon_predictions"),
        ("UPDATE f1mon_predictions SET confidence = 'high' WHERE prediction_id = 'p0007'", "f1mon_predictions"),
        ("UPDATE f1mon_features SET features = '{\"x\":NaN}' WHERE prediction_id = 'p0007'", "f1mon_predictions"),
        (f"UPDATE f1mon_features SET features = '{DEEP}' WHERE prediction_id = 'p0007'", "f1mon_predictions"),
        ('UPDATE f1mon_facts SET content = \'{"alert_id":"p0007","at":7}\' WHERE key_1 = \'p0007\'', "f1mon_facts"),
        ("UPDATE f1mon_facts SET content = '[]' WHERE key_1 = 'p0007'", "f1mon_facts"),
    ],
)
def test_what_cannot_be_read_is_a_typed_error_and_check_finds_it(sound, tmp_path, damage, where):
    path = tmp_path / "f1mon.db"
    shutil.copy(sound, path)
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute(damage).rowcount == 1
        raw.commit()
    with closing(SQLStorage(f"sqlite:///{path}")) as store:
        with pytest.raises(CorruptStoreError):
            store.find(Select("acknowledgement" if where == "f1mon_facts" else "prediction"))
        problems = store.check().problems
    assert any(one.severity == "error" and one.where.startswith(where) for one in problems), problems


@pytest.mark.parametrize("document", [DEEP, '{"n": NaN}', "7"])
def test_a_state_document_that_cannot_be_read_is_a_typed_error_and_check_finds_it(sound, tmp_path, document):
    path = tmp_path / "f1mon.db"
    shutil.copy(sound, path)
    with closing(sqlite3.connect(path)) as raw:
        raw.execute("UPDATE f1mon_state SET document = ? WHERE state_key = 'k7'", (document,))
        raw.commit()
    with closing(SQLStorage(f"sqlite:///{path}")) as store:
        with pytest.raises(CorruptStoreError):
            store.state("k7")
        with pytest.raises(CorruptStoreError):
            store.transition("k7", lambda state, now: Change(state), operation_id="2")
        assert [one.where for one in store.check().problems if one.severity == "error"] == ["f1mon_state, key 'k7'"]

"""Statements sent past SQLAlchemy: seen where somebody looks, told in its errors, and never half read."""

import logging
import sqlite3
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from f1mon_core.records import Outcome, Prediction
from f1mon_core.storage import Change
from f1mon_sql import SQLStorage
from f1mon_sql._driver import Driver

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WRITTEN = ("f1mon_predictions", "f1mon_outcomes", "f1mon_state", "f1mon_operations")


def write_everything(storage):
    storage.append([Prediction(prediction_id="a", model_version="m", predicted_outcome=1, confidence=0.5, at=NOW)])
    storage.append([Outcome(prediction_id="a", actual_outcome=1, at=NOW)])
    storage.transition("rule", lambda _document, _now: Change({"n": 1}), operation_id="1")


def test_an_applications_engine_shows_every_statement_to_its_events(sqlite_url):
    engine = sa.create_engine(sqlite_url)
    seen = []
    sa.event.listen(engine, "before_cursor_execute", lambda *given: seen.append(given[2]))
    storage = SQLStorage(engine)
    seen.clear()
    write_everything(storage)
    assert all(any(f"INTO {table}" in text for text in seen) for table in WRITTEN)
    assert seen.count("BEGIN IMMEDIATE") == 3
    storage.close()
    engine.dispose()


@pytest.mark.parametrize("ask", ["echo", "logger"])
def test_whoever_asks_for_a_log_of_statements_gets_all_of_them(sqlite_url, caplog, ask):
    if ask == "logger":
        caplog.set_level(logging.INFO, logger="sqlalchemy.engine")
    storage = SQLStorage(sqlite_url, echo=ask == "echo")
    caplog.clear()
    write_everything(storage)
    said = [record.getMessage() for record in caplog.records]
    assert all(any(f"INTO {table}" in text for text in said) for table in WRITTEN)
    storage.close()


@pytest.fixture
def connection():
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(":memory:", factory=_Interrupted))
    with engine.connect() as opened:
        opened.begin()
        yield opened
    engine.dispose()


class _Interrupted(sqlite3.Connection):
    """Ctrl-C comes in the middle of any statement that says so."""

    def cursor(self):
        return super().cursor(_InterruptedCursor)


class _InterruptedCursor(sqlite3.Cursor):
    def execute(self, text, values=()):
        if "interrupt" in text:
            raise KeyboardInterrupt
        return super().execute(text, values)


def test_a_drivers_error_is_told_as_sqlalchemy_tells_it(connection):
    driver = Driver()
    driver.rows(connection, "CREATE TABLE t (a INTEGER PRIMARY KEY)")
    assert driver.changed(connection, "INSERT INTO t VALUES (?)", [(1,), (2,)]) == 2
    with pytest.raises(IntegrityError) as caught:
        driver.changed(connection, "INSERT INTO t VALUES (?)", [(1,)])
    assert isinstance(caught.value.orig, sqlite3.IntegrityError)
    assert "(1,)" not in str(caught.value)
    assert driver.rows(connection, "SELECT a FROM t ORDER BY a") == [(1,), (2,)]


def test_a_connection_that_was_interrupted_is_not_used_again(connection):
    with pytest.raises(KeyboardInterrupt):
        Driver().rows(connection, "SELECT 'interrupt'")
    assert connection.invalidated


def test_a_wrong_call_is_no_error_of_the_database(connection):
    with pytest.raises(TypeError):
        Driver().rows(connection, None)
    assert not connection.invalidated

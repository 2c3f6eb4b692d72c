"""The schema from nothing to now, back again, and in company."""

import importlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from f1mon_core import PrunedError, SchemaError
from f1mon_core.cli import f1mon
from f1mon_core.monitor import Monitor
from f1mon_core.records.kinds import (
    KINDS,
    Acknowledgement,
    Alert,
    HealthSnapshot,
    Outcome,
    Prediction,
    RuleRevision,
)
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_sql import SQLStorage, commands
from f1mon_sql.connect.target import target_of
from f1mon_sql.schema import upgrading, versions
from f1mon_sql.tables import definitions

from ...factories import outcome, prediction

ASSETS = Path(__file__).parents[2] / "assets" / "sql"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def execute(url, *statements):
    """Run statements in a transaction of their own; the rows of the last one."""
    engine = sa.create_engine(target_of(url).url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.exec_driver_sql(statement)
            rows = result.all() if result.returns_rows else []
    engine.dispose()
    return rows


def tables(url):
    """The names of tables and views."""
    engine = sa.create_engine(target_of(url).url, poolclass=sa.NullPool)
    inspector = sa.inspect(engine)
    names = {*inspector.get_table_names(), *inspector.get_view_names()}
    engine.dispose()
    return names


@pytest.mark.races
def test_four_processes_open_an_empty_database_at_once(url):
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        opened = list(pool.map(SQLStorage, [url] * 4))  # pickled by address on the way back
    for store in opened:
        assert store.append([prediction()])
        store.close()
    assert upgrading.current(url) == versions.HEAD


@pytest.mark.races
def test_four_processes_upgrade_at_once(url):
    upgrading.upgrade(url, "0001")
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(upgrading.upgrade, [url] * 4))
    assert sorted(one.before for one in done) == ["0001", *[versions.HEAD] * 3]
    assert {one.after for one in done} == {versions.HEAD}


def test_the_next_upgrade_begins_when_the_one_before_it_is_committed(url):
    upgrading.upgrade(url, "0001")
    with _slow_commits(), ThreadPoolExecutor(2) as pool:
        done = list(pool.map(upgrading.upgrade, [url] * 2))
    assert sorted(one.before for one in done) == ["0001", versions.HEAD]


@contextmanager
def _slow_commits():
    def slow(_connection):
        time.sleep(0.2)

    sa.event.listen(sa.Engine, "commit", slow)
    yield
    sa.event.remove(sa.Engine, "commit", slow)


def test_whoever_meets_half_a_creation_waits_for_the_rest(url, monkeypatch):
    half, run = threading.Event(), versions.run_migrations

    def dawdling(connection, work):
        run(connection, lambda config, command: command.upgrade(config, versions.REVISIONS[0]))
        half.set()
        time.sleep(0.3)
        return run(connection, work)

    monkeypatch.setattr(versions, "run_migrations", dawdling)
    with ThreadPoolExecutor(1) as pool:
        creating = pool.submit(SQLStorage, url)
        assert half.wait(60)
        SQLStorage(url).close()
        creating.result().close()


def test_the_code_knows_every_revision():
    assert [one.revision for one in upgrading.history()] == list(versions.REVISIONS)


def test_an_older_schema_is_refused_with_the_exact_command_which_then_works(url):
    upgrading.upgrade(url, "0001")
    with pytest.raises(SchemaError, match="f1mon db upgrade --url") as refused:
        SQLStorage(url)
    command = re.search(r"`f1mon (db upgrade .*)`", str(refused.value))[1]
    assert CliRunner().invoke(commands.db, shlex.split(command)[1:]).exit_code == 0
    SQLStorage(url).close()


def test_a_newer_schema_is_refused(url):
    SQLStorage(url).close()
    execute(url, f"UPDATE {definitions.VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(SchemaError, match="update f1mon"):
        SQLStorage(url)
    with pytest.raises(SchemaError, match="update f1mon"):
        upgrading.upgrade(url)


def test_every_revision_goes_up_and_down(url):
    names = [tables(url) - {definitions.VERSION_TABLE}]
    for revision in versions.REVISIONS:
        upgrading.upgrade(url, revision)
        names.append(tables(url) - {definitions.VERSION_TABLE})
    for revision, expected in zip((*versions.REVISIONS[-2::-1], "base"), names[-2::-1], strict=True):
        upgrading.upgrade(url, revision)
        assert tables(url) - {definitions.VERSION_TABLE} == expected
    SQLStorage(url).close()


def test_the_migrations_make_what_the_tables_say(url):
    SQLStorage(url).close()
    assert upgrading.drift(url) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE f1mon_outcomes ADD COLUMN stray BIGINT",
        "DROP TABLE f1mon_operations",
        "CREATE INDEX stray ON f1mon_state (due, state_key)",
        "DROP VIEW f1mon_alerts_v",
        "DROP VIEW f1mon_daily_accuracy_v; CREATE VIEW f1mon_daily_accuracy_v AS SELECT at AS day FROM f1mon_alerts",
    ],
)
def test_drift_is_seen(url, statement):
    SQLStorage(url).close()
    execute(url, *statement.split(";"))
    assert upgrading.drift(url)


@pytest.mark.servers
def test_identifiers_compare_by_code_point_whatever_the_databases_collation(postgresql_url):
    SQLStorage(postgresql_url).close()
    found = execute(
        postgresql_url,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND collation_name = 'C'",
    )
    identifiers = {
        (table.name, column.name)
        for table in definitions.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, definitions.Ident)
    }
    assert {one for one in map(tuple, found) if one[0] in definitions.metadata.tables} == identifiers


def test_what_is_stored_is_integer_microseconds_and_ascii_json(url):
    at = datetime(2026, 5, 1, 12, 0, 0, 123457, tzinfo=UTC)
    made = prediction(features={"Ünï": "☃"}, at=at)
    store = SQLStorage(url, clock=partial(datetime, 2026, 5, 1, 13, 0, 0, 7, tzinfo=UTC))
    store.append([made, outcome(), Acknowledgement(alert_id="a", by="Jürgen")])
    store.transition("k", lambda state, now: Change({"who": "Jürgen"}, result="Jürgen"), operation_id="1")
    store.close()
    micros = [1777636800123457, 1777640400000007, 1777640400000007, 1777640400000007]
    assert execute(url, "SELECT predicted_at, recorded_at, known_at, first_known_at FROM f1mon_predictions") == [
        tuple(micros)
    ]
    assert execute(url, "SELECT known_at, recorded_at FROM f1mon_outcomes") == [tuple(micros[1:3])]
    documents = [
        execute(url, f"SELECT {column} FROM {table}")[0][0]
        for column, table in (
            ("features", "f1mon_features"),
            ("content", "f1mon_facts"),
            ("document", "f1mon_state"),
            ("result", "f1mon_operations"),
        )
    ]
    assert all(text.isascii() and "\\u" in text for text in documents)


@pytest.mark.parametrize("family", ["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)], indirect=True)
def test_a_view_with_another_condition_is_drift(url):
    SQLStorage(url).close()
    script = "f1mon_sql.migrations.versions.0003_contract_2"
    query = importlib.import_module(script).queries(url.partition(":")[0])["f1mon_predictions_v"]
    execute(url, "DROP VIEW f1mon_predictions_v", f"CREATE VIEW f1mon_predictions_v AS {query} AND pruned = 0")
    assert upgrading.drift(url) == ["view f1mon_predictions_v is not the one f1mon made"]


def test_a_shared_database_keeps_its_own_tables_and_alembic_version(url):
    execute(
        url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('theirs')",
        "CREATE TABLE orders (id INTEGER PRIMARY KEY)",
        "INSERT INTO orders VALUES (7)",
    )
    SQLStorage(url).close()
    assert upgrading.drift(url) == []
    upgrading.upgrade(url, "base")
    upgrading.upgrade(url)
    assert execute(url, "SELECT version_num FROM alembic_version") == [("theirs",)]
    assert execute(url, "SELECT id FROM orders") == [(7,)]


KILLED = """
import os, sys
from alembic import op
from f1mon_sql.schema import upgrading
left = int(sys.argv[2])
def counted(call):
    def wrapped(*arguments, **options):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), 9)
        return call(*arguments, **options)
    return wrapped
for name in ("create_table", "create_index", "execute"):
    setattr(op, name, counted(getattr(op, name)))
upgrading.upgrade(sys.argv[1])
"""


@pytest.mark.faults
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 9, 17, 19, 21, 23, 27, 29, 32])
def test_an_upgrade_killed_at_any_step_runs_again(url, steps):
    killed = subprocess.run([sys.executable, "-c", KILLED, url, str(steps)], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    with Monitor.open("sql", url=url) if upgrading.current(url) is None else _upgraded(url) as monitor:
        monitor.record_prediction("a", "m", 1, 0.5)
    assert upgrading.drift(url) == []
    assert {"f1mon_predictions_v", "f1mon_alerts_v", "f1mon_daily_accuracy_v"} <= tables(url)


def _upgraded(url):
    upgrading.upgrade(url)
    return Monitor.open("sql", url=url)


def restore(family, url):
    """Put the oldest asset of a family at an address."""
    if family == "sqlite":
        shutil.copy(ASSETS / "sqlite-0001.db", target_of(url).database_file)
        return
    text = (ASSETS / f"{family}-0001.sql").read_text()
    # psycopg and PyMySQL take one statement at a time.
    statements = [one for one in re.split(r";\n", text) if one.strip()]
    engine = sa.create_engine(target_of(url).url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for statement in statements:
            connection.connection.cursor().execute(statement)
    engine.dispose()


STAMPED = {"at": NOON, "at_given": False, "recorded_at": NOON}
ALERT = {"component": "model", "model_version": "podium-1", "metric_name": "accuracy", **STAMPED}
KEPT = [
    Prediction(
        prediction_id="race-1/Ünï",
        model_version="podium-1",
        predicted_outcome=1,
        confidence=0.75,
        features={"grid": 3, "wet": None, "weight": 0.1},
        metadata={"note": "\0 nul"},
        at=NOON - timedelta(days=1),
        recorded_at=NOON,
    ),
    Prediction(
        prediction_id="race-2",
        model_version="podium-1",
        predicted_outcome=0,
        confidence=0.29,
        at=NOON - timedelta(hours=25),
        recorded_at=NOON,
    ),
    Prediction(prediction_id="race-3", model_version="podium-2", predicted_outcome=1, confidence=1.0, **STAMPED),
    Outcome(prediction_id="early", actual_outcome=1, **STAMPED),
    Outcome(prediction_id="race-1/Ünï", actual_outcome=1, at=NOON - timedelta(hours=3), recorded_at=NOON),
    Outcome(prediction_id="race-1/Ünï", actual_outcome=0, at=NOON - timedelta(hours=2), recorded_at=NOON),
    Outcome(prediction_id="race-2", actual_outcome=0, **STAMPED),
    Alert(
        alert_id="a1",
        severity="critical",
        title="Low accuracy",
        message="0.5 < 0.7",
        metric_value=0.5,
        threshold=0.7,
        rule_id="r",
        **ALERT,
    ),
    Alert(alert_id="a2", severity="info", title="Two", message="b", **ALERT),
    Acknowledgement(alert_id="a2", by="kim", **STAMPED),
    HealthSnapshot(snapshot_id="h1", model_version="podium-1", metrics={"accuracy": 0.5}, **STAMPED),
    RuleRevision(rule_id="r", revision=1, definition={"a": 1}, **STAMPED),
]
"""Every fact of the oldest assets."""


def test_an_old_database_upgrades_with_every_fact(family, url):
    restore(family, url)
    with pytest.raises(SchemaError):
        SQLStorage(url)
    assert upgrading.upgrade(url) == upgrading.Upgrade("0001", versions.HEAD)
    store = SQLStorage(url)
    found = [fact for kind in KINDS for fact in store.find(Select(kind))]
    assert sorted(found, key=repr) == sorted(KEPT, key=repr)
    assert store.check().ok
    assert dict(store.check().facts) == Counter(fact.kind for fact in KEPT)
    assert store.append(KEPT).new == 0
    assert store.count(Select("acknowledgement", where={"by": "kim"})) == {(): 1}
    assert store.count(Select("health_snapshot", where={"trusted": True, "degradation_detected": False})) == {(): 1}
    assert [one.alert_id for one in store.find(Select("alert", lacking="acknowledgement"))] == ["a1"]
    assert store.state("") == {"delivery/a1": {"due": 7}, "incident/r": {"n": 1, "due": 5, "holds": ["a1"]}}
    assert list(store.state("", due_before=datetime(1970, 1, 1, 0, 0, 0, 6, tzinfo=UTC))) == ["incident/r"]
    assert store.transition("incident/r", None, operation_id="op-1") == [1]
    cells = store.tally(TallyQuery(model_version="podium-1", bins=100)).cells
    assert {(key.predicted, key.actual, key.bin) for key in cells} == {(1, 0, 75), (0, 0, 29)}
    # The outcome that came early is that of the prediction it waited for.
    store.append([Prediction(prediction_id="early", model_version="podium-3", predicted_outcome=1, confidence=0.5)])
    assert [key.actual for key in store.tally(TallyQuery(model_version="podium-3")).cells] == [1]
    store.close()
    assert upgrading.drift(url) == []


HOUR = 3_600_000_000
LAST = 1_777_636_800_000_000
_PREDICTIONS = (
    "prediction_id, predicted_at, at_given, recorded_at, model_version, predicted_outcome, confidence,"
    " actual_outcome, known_at, first_known_at, pruned"
)


def fill_0002(url):
    """Put a prediction with its outcomes, an early outcome, and what a prune of contract 1 left, into revision 0002."""
    upgrading.upgrade(url, "0002")
    mark = "%s" if "://" in url and not url.startswith("sqlite") else "?"
    tables = {
        "f1mon_predictions": (
            _PREDICTIONS,
            [
                ("a/Ünï", LAST, 1, LAST, "m", 1, 0.75, 0, LAST + 2 * HOUR, LAST + HOUR, 0),
                ("open", LAST + 1, 0, LAST, "n", 0, 0.29, None, None, None, 0),
                ("early", None, 0, None, None, None, None, 1, LAST, LAST, 0),
                ("gone", None, 0, None, None, None, None, None, None, None, 1),
            ],
        ),
        "f1mon_features": ("prediction_id, features, metadata", [("a/Ünï", '{"x":1.5}', "{}")]),
        "f1mon_outcomes": (
            "prediction_id, known_at, at_given, recorded_at, actual_outcome",
            [
                ("a/Ünï", LAST + HOUR, 1, LAST, 1),
                ("a/Ünï", LAST + 2 * HOUR, 1, LAST, 0),
                ("early", LAST, 0, LAST, 1),
            ],
        ),
        "f1mon_facts": (
            "kind, key_1, key_2, at, at_given, recorded_at, v, content",
            [
                (
                    *("kept_tally", "m", f"{LAST - 24 * HOUR:020d}", LAST - 24 * HOUR, 1, LAST, 1),
                    '{"model_version":"m","cells":[[1,1,7,1,0.75,0.75,0.0,0.0]]}',
                )
            ],
        ),
        "f1mon_horizons": (
            "kind, pruned_before, outcomes_until",
            [("prediction", LAST - 23 * HOUR, LAST - 22 * HOUR)],
        ),
    }
    engine = sa.create_engine(target_of(url).url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table, (columns, rows) in tables.items():
            marks = ", ".join([mark] * len(rows[0]))
            for row in rows:
                values = tuple(
                    value.encode() if url.startswith("mysql") and isinstance(value, str) else value for value in row
                )
                connection.exec_driver_sql(f"INSERT INTO {table} ({columns}) VALUES ({marks})", values)
    engine.dispose()


def test_contract_1_becomes_contract_2_with_every_answer(url):
    fill_0002(url)
    told = []
    assert upgrading.upgrade(url, announce=told.append) == upgrading.Upgrade("0002", "0003")
    assert re.search(r"touched, 8 rows: it takes about \d+ s .* MiB more on disk", told[0])
    store = SQLStorage(url, clock=partial(datetime, 2026, 5, 2, tzinfo=UTC))
    assert store.check().ok, store.check().problems
    made = [
        (one.prediction_id, one.model_version, one.at_given, one.features) for one in store.find(Select("prediction"))
    ]
    assert made == [("a/Ünï", "m", True, {"x": 1.5}), ("open", "n", False, {})]
    day = datetime(2026, 4, 30, tzinfo=UTC)
    cells = store.tally(TallyQuery()).cells
    assert sorted((key.model_version, key.actual is None, cell.n) for key, cell in cells.items()) == [
        ("m", False, 1),
        ("m", False, 1),
        ("n", True, 1),
    ]
    with pytest.raises(PrunedError):  # contract 1 kept nothing by outcome
        store.tally(TallyQuery(basis="outcome", since=day))
    for fact in (_made("gone", "other"), Outcome(prediction_id="gone", actual_outcome=1)):
        with pytest.raises(PrunedError):
            store.append([fact])
    assert store.append([_made("early", "m"), _made("a/Ünï", "challenger"), _made("open", "m")]).new == 3
    assert store.append([Outcome(prediction_id="open", actual_outcome="text")]).unmatched == 0
    labels = {(key.model_version, key.actual) for key in store.tally(TallyQuery(since=NOON)).cells}
    assert labels == {("m", 1), ("challenger", 0), ("m", "text"), ("n", "text"), ("m", 0)}
    assert store.check().ok, store.check().problems
    store.close()
    with pytest.raises(SchemaError, match="no place for"):
        upgrading.upgrade(url, "0002")


def _made(item, model):
    return Prediction(prediction_id=item, model_version=model, predicted_outcome=1, confidence=0.5)


def test_contract_2_goes_back_where_nothing_needs_it(url):
    fill_0002(url)
    before = execute(url, "SELECT * FROM f1mon_predictions ORDER BY prediction_id")
    upgrading.upgrade(url)
    upgrading.upgrade(url, "0002")
    assert execute(url, "SELECT * FROM f1mon_predictions ORDER BY prediction_id") == before
    upgrading.upgrade(url)
    store = SQLStorage(url)
    assert store.check().ok
    store.close()


def test_the_commands_say_what_is_there(url):
    run = CliRunner().invoke
    assert (run(commands.db, ["current", "--url", url]).exit_code, run(commands.db, ["history"]).exit_code) == (1, 0)
    assert run(commands.db, ["upgrade", "--url", url]).output.endswith(f"none -> {versions.HEAD}\n")
    assert run(commands.db, ["current", "--url", url]).output == f"{versions.HEAD} (current)\n"
    assert run(commands.db, ["check", "--url", url]).exit_code == 0
    execute(url, "DROP TABLE f1mon_operations")
    assert run(commands.db, ["check", "--url", url]).exit_code == 1


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE f1mon_state (id INTEGER)", "CREATE VIEW f1mon_alerts_v AS SELECT 1 AS one"],
)
def test_names_of_f1mon_that_its_migrations_did_not_make_are_refused(url, statement):
    execute(url, statement)
    with pytest.raises(SchemaError, match="did not make"):
        SQLStorage(url)
    with pytest.raises(SchemaError, match="did not make"):
        upgrading.upgrade(url)
    assert tables(url) == {statement.split()[2]}


@pytest.mark.parametrize("command", ["current", "check"])
def test_looking_at_a_database_that_is_not_there_makes_none(tmp_path, command):
    url = f"sqlite:///{tmp_path}/mistyped/f1mon.db"
    result = CliRunner().invoke(f1mon, ["db", command, "--url", url])
    assert result.exit_code == 1
    assert f"no store at {url}" in result.stderr
    assert list(tmp_path.iterdir()) == []

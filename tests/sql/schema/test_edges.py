"""Schemas that are not what a migration leaves, and databases that are shared."""

import asyncio
import logging
import warnings
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner

from f1mon_core import SchemaError
from f1mon_core.cli import f1mon
from f1mon_core.storage.change import Change
from f1mon_sql import AsyncSQLStorage, SQLStorage, include_name
from f1mon_sql.connect.target import target_of
from f1mon_sql.schema import upgrading, versions
from f1mon_sql.verbs import calls, transition


def execute(url, *statements):
    engine = sa.create_engine(target_of(url).url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def said(url, command):
    result = CliRunner().invoke(f1mon, ["db", command, "--url", url])
    assert result.exit_code == 1, result.output
    assert len(result.stderr.strip().splitlines()) == 1
    return result.stderr


@pytest.mark.parametrize("second", ["0002", "9999"])
def test_a_version_table_of_two_rows_is_refused_by_name(url, second):
    SQLStorage(url).close()
    execute(url, f"INSERT INTO f1mon_alembic_version VALUES ('{second}')")
    for command in ("upgrade", "check", "current"):
        assert "f1mon_alembic_version has 2 rows" in said(url, command)
    with pytest.raises(SchemaError, match="has 2 rows"):
        SQLStorage(url)


@pytest.mark.parametrize(("revision", "table"), [("head", "f1mon_meta"), ("0002", "f1mon_state")])
def test_no_upgrade_passes_over_a_missing_table(url, revision, table):
    upgrading.upgrade(url, revision)
    execute(url, f"DROP TABLE {table}")
    for command in ("upgrade", "check"):
        told = said(url, command)
        assert f"{table} is gone" in told
        assert "f1mon db upgrade" not in told


STATEMENTS = ["CREATE TABLE f1mon_state (id INTEGER)", "CREATE VIEW f1mon_alerts_v AS SELECT 1 AS a"]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_check_does_not_recommend_an_upgrade_that_is_refused(url, statement):
    execute(url, statement)
    for command in ("upgrade", "check"):
        told = said(url, command)
        assert "did not make" in told
        assert "f1mon db upgrade" not in told


def test_an_applications_autogenerate_leaves_f1mon_alone(url):
    SQLStorage(url).close()
    execute(url, "CREATE TABLE theirs (id INTEGER PRIMARY KEY)", "CREATE INDEX ix_theirs ON theirs (id)")
    engine = sa.create_engine(target_of(url).url)
    with engine.connect() as connection:
        without = compare_metadata(MigrationContext.configure(connection), sa.MetaData())
        context = MigrationContext.configure(connection, opts={"include_name": include_name})
        found = [one for one in compare_metadata(context, sa.MetaData()) if one[0] == "remove_table"]
    engine.dispose()
    assert {one[1].name for one in without if one[0] == "remove_table"} > {"theirs", "f1mon_predictions"}
    assert [one[1].name for one in found] == ["theirs"]


def test_a_first_open_has_no_warnings(url, caplog):
    async def awaited():
        store = await AsyncSQLStorage.open(target_of(url, asynchronous=True).url)
        await store.close()

    caplog.set_level(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(awaited())
        upgrading.upgrade(url, "base")
        SQLStorage(url).close()
    assert [record.getMessage() for record in caplog.records if not record.name.startswith("asyncio")] == []


def test_a_clock_that_stood_in_the_future_makes_no_operation_run_again(url, monkeypatch):
    monkeypatch.setattr(calls, "FORGET_EVERY", 2)
    ahead = timedelta(days=400)
    now, ran = [datetime(2026, 5, 1, tzinfo=UTC)], []

    def step(document, instant):
        ran.append(instant)
        return Change({"n": 1}, result=len(ran))

    with closing(SQLStorage(url, clock=lambda: now[0])) as store:
        assert store.transition("k", step, operation_id="first") == 1
        now[0] += ahead
        for number in range(4):
            store.transition("k", step, operation_id=f"{number}")
        store.prune(datetime(2026, 1, 1, tzinfo=UTC))
        now[0] -= ahead - timedelta(minutes=1)
        assert store.transition("k", step, operation_id="first") == 1
    assert len(ran) == 5


def test_and_what_is_old_goes_where_there_are_more_than_a_few(sqlite_url, monkeypatch):
    monkeypatch.setattr(transition, "_FEW", 3)
    monkeypatch.setattr(calls, "FORGET_EVERY", 1)
    now = [datetime(2026, 5, 1, tzinfo=UTC)]
    with closing(SQLStorage(sqlite_url, clock=lambda: now[0])) as store:
        for number in range(10):
            now[0] += timedelta(hours=10)
            store.transition("k", lambda state, now: Change({}), operation_id=f"{number}")
    engine = sa.create_engine(target_of(sqlite_url).url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM f1mon_operations").scalar() == 4
    engine.dispose()
    assert versions.HEAD == "0003"

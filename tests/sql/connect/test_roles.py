"""Roles that find the one store by different search paths, and tables that somebody distributed."""

import secrets
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from f1mon_core.cli import f1mon
from f1mon_core.errors import ConfigurationError, LockTimeoutError
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.select import Select
from f1mon_sql import SQLStorage
from f1mon_sql.schema import upgrading

from ...servers import admin, postgresql_server

pytestmark = [pytest.mark.servers]

AT = datetime(2026, 5, 1, tzinfo=UTC)
OLD = Prediction(prediction_id="old", model_version="m", predicted_outcome=1, confidence=0.5, at=AT)


@contextmanager
def owning_a_schema(postgresql_url):
    """The store's address for a role whose search path begins with a schema of its own."""
    url = sa.make_url(postgresql_url)
    shared, role = url.query["options"].partition("search_path=")[2], f"f1mon_role_{secrets.token_hex(6)}"
    server, _ = postgresql_server()
    admin(server, f"CREATE ROLE {role} LOGIN SUPERUSER", f"CREATE SCHEMA {role} AUTHORIZATION {role}")
    path = url.set(username=role).update_query_dict({"options": f'-csearch_path="$user",{shared}'})
    try:
        yield path.render_as_string(hide_password=False)
    finally:
        admin(server, f"REASSIGN OWNED BY {role} TO CURRENT_USER", f"DROP SCHEMA {role} CASCADE", f"DROP ROLE {role}")


@pytest.mark.parametrize("pruner", ["the owner", "the other role"])
def test_a_prune_waits_for_the_outcome_of_a_role_with_a_schema_of_its_own(postgresql_url, pruner):
    """The issue's example: the outcome was acknowledged while its prediction was pruned."""
    tried = []

    def clock():  # asked by an append under its lock
        if armed:
            with pytest.raises(LockTimeoutError):
                pruning.prune(AT + timedelta(days=1))
            tried.append(True)
        return AT + timedelta(days=2)

    armed = []
    with owning_a_schema(postgresql_url) as other_url, closing(SQLStorage(postgresql_url)) as owner:
        owner.append([OLD])
        places = [other_url, postgresql_url] if pruner == "the owner" else [postgresql_url, other_url]
        writing = SQLStorage(places[0], clock=clock)
        pruning = SQLStorage(places[1], lock_timeout=0.2)
        armed.append(True)
        assert writing.append([Outcome(prediction_id="old", actual_outcome=1, at=AT)]).unmatched == 0
        armed.clear()
        assert tried
        assert pruning.prune(AT + timedelta(days=1)).removed == {"prediction": 1, "outcome": 1}
        assert owner.check().problems == []
        for store in (writing, pruning):
            store.close()


def test_upgrades_by_roles_with_other_paths_wait_for_each_other_and_stay_in_the_stores_schema(postgresql_url):
    with owning_a_schema(postgresql_url) as other_url:
        upgrading.upgrade(postgresql_url, "0001")
        engine = sa.create_engine(sa.make_url(postgresql_url).set(drivername="postgresql+psycopg"))
        with engine.begin() as connection:
            oid = sa.text("SELECT pg_advisory_xact_lock(1714515312, 'f1mon_alembic_version'::regclass::oid::int)")
            connection.execute(oid)
            with pytest.raises(LockTimeoutError):
                upgrading.upgrade(other_url, lock_timeout=0.2)
        upgrading.upgrade(other_url)
        with engine.begin() as connection:
            found = connection.exec_driver_sql(
                "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace"
                f" WHERE nspname = '{sa.make_url(other_url).username}' AND relname LIKE 'f1mon%%'"
            ).scalar()
        assert found == 0
        assert upgrading.drift(other_url) == []
        engine.dispose()
        with closing(SQLStorage(other_url)) as store:
            assert store.append([OLD]).new == 1
        with closing(SQLStorage(postgresql_url)) as store:
            assert [one.prediction_id for one in store.find(Select("prediction"))] == ["old"]


def make_citus(url, *tables):
    """What Citus lists: `pg_dist_partition` as it has it."""
    engine = sa.create_engine(sa.make_url(url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE pg_dist_partition (logicalrel regclass, partmethod char, partkey text, colocationid int)"
        )
        for table in tables:
            connection.exec_driver_sql(f"INSERT INTO pg_dist_partition VALUES ('{table}', 'h', 'prediction_id', 1)")
    return engine


@pytest.mark.parametrize("table", ["f1mon_predictions", "f1mon_horizons", "f1mon_state"])
def test_tables_that_citus_distributed_are_refused(postgresql_url, table):
    store = SQLStorage(postgresql_url)
    engine = make_citus(postgresql_url, table)
    with pytest.raises(ConfigurationError, match=f"{table}.*undistribute_table"):
        SQLStorage(postgresql_url)
    level = engine.execution_options(isolation_level="READ COMMITTED")
    with pytest.raises(ConfigurationError, match="Citus"):
        SQLStorage(level)
    assert [problem.where for problem in store.check().problems if problem.severity == "error"] == ["Citus"]
    store.close()
    engine.dispose()


def test_a_server_with_citus_that_distributes_other_tables_is_taken(postgresql_url):
    engine = make_citus(postgresql_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE f1monitor (a int)")
        connection.exec_driver_sql("INSERT INTO pg_dist_partition VALUES ('f1monitor', 'h', 'a', 1)")
    with closing(SQLStorage(postgresql_url)) as store:
        assert store.append([OLD]).new == 1
        assert CliRunner().invoke(f1mon, ["db", "check", "--url", postgresql_url]).exit_code == 0
    engine.dispose()

"""Engines whose rows, texts or parameters have a form of their own: the same answers, or a refusal."""

import asyncio
import gc
import sqlite3

import psycopg
import psycopg.rows
import pymysql
import pytest
import sqlalchemy as sa
from asyncmy.cursors import DictCursor
from sqlalchemy.ext.asyncio import create_async_engine

from f1mon_core import ConfigurationError, Monitor
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.target import target_of

READ_COMMITTED = {"isolation_level": "READ COMMITTED"}


def set_on_connect(engine, name, value):
    sa.event.listen(engine, "connect", lambda raw, _record: setattr(raw, name, value))


REFUSED = {
    "sqlite Row": ("sqlite", {}, ("row_factory", sqlite3.Row)),
    "sqlite dict": ("sqlite", {}, ("row_factory", lambda cursor, row: dict(zip("abcdefghijkl", row, strict=False)))),
    "sqlite bytes": ("sqlite", {}, ("text_factory", bytes)),
    "psycopg dict_row": ("postgresql", {"connect_args": {"row_factory": psycopg.rows.dict_row}}, None),
    "psycopg namedtuple_row": ("postgresql", {}, ("row_factory", psycopg.rows.dict_row)),
    "pymysql DictCursor": ("mysql", {"connect_args": {"cursorclass": pymysql.cursors.DictCursor}}, None),
    "pymysql DictCursor set": ("mysql", {}, ("cursorclass", pymysql.cursors.DictCursor)),
}


# SQLAlchemy does not close a connection whose server it could not ask who it is.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("case", REFUSED)
def test_rows_of_another_form_are_refused(case, request):
    family, options, setting = REFUSED[case]
    url = target_of(request.getfixturevalue(f"{family}_url")).url
    engine = sa.create_engine(url, **options, **({} if family == "sqlite" else READ_COMMITTED))
    if setting is not None:
        set_on_connect(engine, *setting)
    with pytest.raises(ConfigurationError, match=r"row_factory|text_factory|cursorclass"):
        SQLStorage(engine)
    engine.dispose()
    gc.collect()


def test_rows_of_another_form_are_refused_on_asyncmy(mysql_url):
    async def opened():
        url = target_of(mysql_url, asynchronous=True).url
        engine = create_async_engine(url, connect_args={"cursor_cls": DictCursor}, **READ_COMMITTED)
        try:
            with pytest.raises(ConfigurationError, match="cursorclass"):
                await AsyncSQLStorage.open(engine)
        finally:
            await engine.dispose()

    asyncio.run(opened())


TAKEN = {
    "sqlite paramstyle": ("sqlite", {"paramstyle": "named", "future": True}),
    "sqlite detect_types": ("sqlite", {"connect_args": {"detect_types": sqlite3.PARSE_DECLTYPES}}),
    "psycopg paramstyle": ("postgresql", {"paramstyle": "pyformat", **READ_COMMITTED}),
    "pymysql paramstyle": ("mysql", {"paramstyle": "pyformat", "future": True, **READ_COMMITTED}),
}


@pytest.mark.parametrize("case", [*TAKEN, "creator"])
def test_other_forms_of_an_engine_change_no_answer(case, request, tmp_path):
    if case == "creator":
        engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(tmp_path / "made.db"))
    else:
        family, options = TAKEN[case]
        engine = sa.create_engine(target_of(request.getfixturevalue(f"{family}_url")).url, **options)
    with Monitor(SQLStorage(engine)) as monitor:
        for number in range(3):
            monitor.record_prediction(f"{number}", "m", 1, 0.5)
        monitor.record_outcomes([(f"{n}", n % 2) for n in range(3)])
        assert monitor.performance("m", metrics=["accuracy"]).accuracy.value == 1 / 3
        assert [one.prediction_id for one in monitor.predictions()] == ["0", "1", "2"]
        assert monitor.check().facts["outcome"] == 3
    engine.dispose()

"""A password in an address is seen nowhere."""

import logging
import secrets
import traceback
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from f1mon_core.cli import f1mon
from f1mon_core.cli.place import Place
from f1mon_core.errors import ConfigurationError, UnknownBackendError
from f1mon_core.records.kinds import Prediction
from f1mon_core.storage.address import masked
from f1mon_core.storage.registry import open_storage
from f1mon_sql import AsyncSQLStorage, SQLStorage
from f1mon_sql.connect.engine import make_engine
from f1mon_sql.connect.settings import Settings
from f1mon_sql.connect.target import target_of
from f1mon_sql.schema import upgrading

from ...factories import prediction
from ...servers import admin

CANARY = "c4nary-p@ss"
QUOTED = "c4nary-p%40ss"
WRONG = [
    f"postgresql://postgres:{QUOTED}@127.0.0.1:1/test",
    f"postgresql://postgres@127.0.0.1:1/test?password={QUOTED}",
    f"postgresql://127.0.0.1:1/test?user=u&sslpassword={QUOTED}&sslmode=allow",
    f"mysql://root:{QUOTED}@127.0.0.1:1/test",
    f"mysql://root@127.0.0.1:1/test?password={QUOTED}",
    f"postgresql://postgres:{QUOTED}@127.0.0.1:port/test",
    f"nonsense://u:{QUOTED}@h/d",
    f"postgresql+asyncpg://u:{QUOTED}@h/d",
    "postgresql://u@h:port/d?password=ab;c4nary",
    "postgresql://u@h:port/d?password=ab c4nary",
    "postgresql://u@h:port/d?password=ab\nc4nary",
    "postgresql://u:a\nc4nary@h:port/d",
    "postgresql://a b:c4nary@h:port/d",
    "mysql://u@127.0.0.1:1/d?ssl_key_password=c4nary",
    "postgresql://u@127.0.0.1:1/d?oauth_client_secret=c4nary",
]


def clean(text):
    return "c4nary" not in text


@pytest.mark.parametrize("address", WRONG)
def test_no_error_and_no_log_shows_it(address, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(Exception) as failed:  # noqa: PT011 - whatever it is, it must not tell
        open_storage("sql", url=address)
    shown = "".join(traceback.format_exception(failed.value, chain=True))
    said = [line for line in shown.splitlines() if not clean(line)]
    assert not said
    assert clean(caplog.text)


MISTYPED = [
    "postgresql:/u:c4nary@db",
    "postgresql//u:c4nary@db/d",
    "postgresql:u:c4nary@db",
    "mysql:\\\\u:c4nary@h",
    "u:c4nary@db",
    "//u:c4nary@h/d",
    "host=h password = c4nary",
    "postgresql:///u:c4nary@db/x",
    "postgresql://u/c4nary@h/d",
    "postgresql://u:p@c4nary@127.0.0.1:1/d",
    "mysql://u:p@c4nary/w@127.0.0.1:1/d",
    "jdbc:u:c4nary@h://h/d",
]
"""What people type for an address; libraries, servers and our own messages may repeat any part of it."""


@pytest.fixture(params=["argument", "option", "url", "backend", "F1MON_URL", "F1MON_BACKEND", "type"])
def mistyped(request, monkeypatch):
    """Each door an address comes in by."""
    door = request.param

    def opened(address):
        if door == "argument":
            return open_storage(address)
        if door == "option":
            return open_storage("sql", url=address)
        if door.startswith("F1MON"):
            monkeypatch.setenv(door, address)
            return open_storage()
        if door == "type":
            monkeypatch.setenv("MONITORING_DB_ENABLED", "true")
            monkeypatch.setenv("MONITORING_DB_TYPE", address)
            return open_storage()
        return open_storage(url=address) if door == "url" else SQLStorage(address)

    return opened


@pytest.mark.parametrize("address", MISTYPED)
def test_what_cannot_be_read_is_masked_whole(mistyped, address, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises((ConfigurationError, UnknownBackendError)) as failed:
        mistyped(address)
    assert clean("".join(traceback.format_exception(failed.value)).partition("Error: ")[2])
    assert clean(str(failed.value) + repr(failed.value) + caplog.text)


@pytest.mark.parametrize("address", MISTYPED)
@pytest.mark.parametrize(
    "arguments",
    [
        ("--url", "{}", "status"),
        ("--backend", "{}", "status"),
        ("--path", "{}", "status"),
        ("db", "current", "--url", "{}"),
        ("db", "current", "{}"),
        ("status", "{}"),
        ("{}", "status"),
        ("{}",),
    ],
)
def test_the_command_line_masks_it_too(arguments, address):
    said = CliRunner().invoke(f1mon, [one.format(address) for one in arguments])
    assert said.exit_code == 2 or (said.exit_code == 1 and "--path" in arguments)
    assert clean(said.output)
    assert clean(repr(Place(backend=address, url=address, path=address)))


@pytest.mark.parametrize("path", ["data/monitoring", "data@home", "C:/f1mon"])
def test_what_is_no_secret_is_shown(path):
    assert masked(path) == path
    assert masked(f"sqlite:///{path}") == f"sqlite:///{path}"


@pytest.mark.parametrize("address", [*WRONG[:5], *WRONG[-2:]])
def test_no_repr_shows_it(address):
    place = target_of(address)
    engine = make_engine(place, Settings())
    assert clean(place.address + repr(place) + repr(engine) + str(engine.url))
    assert clean(repr(AsyncSQLStorage(address)))
    engine.dispose()


@contextmanager
def with_password(url):
    """An address of the same place for somebody whose password is the canary."""
    if url.get_backend_name() == "postgresql":
        yield url.set(password=CANARY)  # its server trusts whoever comes from here
        return
    name = f"f1mon_test_{secrets.token_hex(4)}"
    admin(url, f"CREATE USER {name}@'%%' IDENTIFIED BY '{CANARY}'", f"GRANT ALL ON {url.database}.* TO {name}@'%%'")
    try:
        yield url.set(username=name, password=CANARY)
    finally:
        admin(url, f"DROP USER {name}@'%%'")


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"], indirect=True)
def test_nothing_that_works_shows_it_either(url, caplog):
    with with_password(sa.make_url(url)) as address:
        caplog.set_level(logging.DEBUG)
        for one in (address, address.set(password=None).update_query_dict({"password": CANARY})):
            _work(one.render_as_string(hide_password=False))
    assert clean(caplog.text)


def _work(text):
    store = SQLStorage(text, echo=True)
    made = prediction(prediction_id=CANARY[:2])
    store.append([made])
    assert clean(repr(store) + store.address)
    with store._engine.connect() as connection:
        for table in sa.inspect(connection).get_table_names():
            assert clean(repr(connection.exec_driver_sql(f"SELECT * FROM {table}").all()))
    store.close()
    upgrading.upgrade(text, "0001")
    with pytest.raises(Exception, match="db upgrade") as refused:
        SQLStorage(text)
    assert clean(str(refused.value))
    upgrading.upgrade(text)


def test_rows_stay_out_of_logs_and_errors(sqlite_url, caplog):
    caplog.set_level(logging.DEBUG)
    store = SQLStorage(sqlite_url, echo=True)
    secret = Prediction(
        prediction_id="a", model_version="m", predicted_outcome=1, confidence=0.5, features={"iban": CANARY}
    )
    store.append([secret])
    store.close()
    assert clean(caplog.text)

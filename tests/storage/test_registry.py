"""Backends are found by name, address or environment; each way to fail has its own message, and none spoils another."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from sqlalchemy import make_url

import f1mon_core
from f1mon_core import (
    ConfigurationError,
    DuplicateBackendError,
    F1monError,
    MissingExtraError,
    UnknownBackendError,
    open_async_storage,
    open_storage,
)
from f1mon_core.errors import BrokenBackendError, OutdatedBackendError
from f1mon_core.storage.address import masked
from f1mon_core.storage.environment import from_environment
from f1mon_core.storage.registry import backend_names, resolve, upgrade_storage


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("F1MON_BACKEND", "F1MON_URL", "MONITORING_DB_"))]:
        monkeypatch.delenv(name)


A_BACKEND = """
    from f1mon_core.backends import Backend
    from f1mon_core.memory import open_memory
    backend = Backend(name="third", open=open_memory, contract=2)
"""


def test_a_third_party_backend_opens_by_its_name_and_by_its_address(install_distribution):
    group = {"f1mon.backends": "third = third_store:backend", "f1mon.schemes": "third = third_store:backend"}
    install_distribution("third-store", A_BACKEND, group=group)
    assert backend_names()["third"] == ["third-store"]
    open_storage("third").close()
    opened = open_storage("third://somewhere")
    assert opened.address == "third://somewhere"
    opened.close()


@pytest.mark.parametrize(("contract", "todo"), [("", "update third-store"), (", contract=3", "update f1mon")])
def test_a_backend_of_another_contract_is_refused_by_name_and_says_what_to_do(contract, todo, install_distribution):
    group = {"f1mon.backends": "third = third_store:backend", "f1mon.schemes": "third = third_store:backend"}
    install_distribution("third-store", A_BACKEND.replace(", contract=2", contract), group=group)
    for name in ("third", "third://somewhere"):
        with pytest.raises(OutdatedBackendError) as refused:
            open_storage(name)
        written = contract[-1:] or "1"
        assert f"backend 'third' of third-store is written for contract {written}, this f1mon" in str(refused.value)
        assert f"asks for contract 2: {todo}" in str(refused.value)
        assert "docs/write-a-backend.md" in str(refused.value)


def test_an_unknown_name_lists_what_is_there_and_suggests_the_closest():
    with pytest.raises(UnknownBackendError) as raised:
        open_storage("jsnol")
    assert str(raised.value) == (
        "no backend 'jsnol' is installed; did you mean 'jsonl'? Installed: " + ", ".join(backend_names())
    )
    assert isinstance(raised.value, LookupError)
    with pytest.raises(UnknownBackendError, match="no address scheme 'sqlit' is installed; did you mean 'sqlite'"):
        open_storage("sqlit:///x.db")
    with pytest.raises(UnknownBackendError, match=r"no backend 'zzz' is installed\. Installed"):
        open_storage("zzz")


def test_a_missing_extra_says_what_to_install_and_carries_the_import_error(install_distribution):
    install_distribution(
        "needy",
        "import nonexistent_driver.dialects",
        group={"f1mon.backends": "needy = needy:backend"},
        requires=("nonexistent-driver[fast]>=2; extra == 'needy'",),
    )
    with pytest.raises(MissingExtraError) as raised:
        open_storage("needy")
    assert "pip install 'needy[needy]'" in str(raised.value)
    assert isinstance(raised.value, ImportError)
    assert isinstance(raised.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize(("backend", "library"), [("sql", "sqlalchemy")])
def test_f1mons_own_missing_extra_names_the_extra(backend, library):
    code = f"""
        import sys; sys.modules[{library!r}] = None  # as if it were not installed
        from f1mon_core import MissingExtraError, open_storage
        try:
            open_storage({backend!r})
        except MissingExtraError as error:
            print(error.__cause__.name, error)
    """
    ran = subprocess.run([sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith(library)
    assert f"pip install 'f1mon[{backend}]'" in ran.stdout


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nonexistent_driver", ModuleNotFoundError),  # not a library of its extra
        ("from f1mon_core.errors import Nothing", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("other = 1", AttributeError),
    ],
)
def test_a_backend_whose_own_code_is_broken_is_not_a_missing_extra(install_distribution, source, cause):
    group = {"f1mon.backends": "broken = broken_one:backend"}
    install_distribution("broken-one", source, group=group, requires=("something-else; extra == 'broken'",))
    with pytest.raises(BrokenBackendError, match="'broken' of broken-one does not load") as raised:
        open_storage("broken")
    assert isinstance(raised.value.__cause__, cause)
    assert not isinstance(raised.value, MissingExtraError)


def test_an_entry_point_that_is_no_backend_says_so(install_distribution):
    install_distribution("odd", "backend = 7", group={"f1mon.backends": "odd = odd:backend"})
    with pytest.raises(BrokenBackendError, match="not a Backend but int"):
        open_storage("odd")


def test_two_distributions_with_one_name_are_both_named(install_distribution):
    install_distribution("one-store", A_BACKEND, group={"f1mon.backends": "third = one_store:backend"})
    install_distribution("two-store", A_BACKEND, group={"f1mon.backends": "third = two_store:backend"})
    with pytest.raises(DuplicateBackendError) as raised:
        open_storage("third")
    message = str(raised.value)
    assert "one-store (one_store:backend) and two-store (two_store:backend)" in message
    assert backend_names()["third"] == ["one-store", "two-store"]


def test_a_distribution_may_not_take_over_a_built_in_name(install_distribution):
    install_distribution("usurper", A_BACKEND, group={"f1mon.backends": "jsonl = usurper:backend"})
    with pytest.raises(DuplicateBackendError, match=r"f1mon \(.*usurper"):
        open_storage("jsonl")


def test_one_broken_plugin_breaks_no_other_backend(install_distribution):
    install_distribution("broken-one", "1 / 0", group={"f1mon.backends": "broken = broken_one:backend"})
    install_distribution("one-store", A_BACKEND, group={"f1mon.backends": "third = one_store:backend"})
    install_distribution("two-store", A_BACKEND, group={"f1mon.backends": "third = two_store:backend"})
    assert {"broken", "third", "memory"} <= set(backend_names())
    open_storage("memory").close()
    assert "broken_one" not in sys.modules


def test_an_option_the_backend_does_not_take_is_refused_before_anything_is_opened():
    with pytest.raises(ConfigurationError, match="'memory' has no option colour; it takes clock, url"):
        open_storage("memory", colour="red")


@pytest.mark.parametrize(
    ("backend", "options", "message"),
    [
        ("memory://", {"url": "memory://"}, "give the address once"),
        (None, {"url": "f1mon.db"}, "url must be an address"),
        (None, {"url": 7}, "url must be an address"),
    ],
)
def test_an_address_is_given_once_and_whole(backend, options, message):
    with pytest.raises(ConfigurationError, match=message):
        resolve(backend, options)


def test_upgrading_a_store_without_a_schema_does_nothing():
    upgrade_storage("memory")


# Environment --------------------------------------------------------------------------------------------------------

POSTGRESQL = {"MONITORING_DB_ENABLED": "true", "MONITORING_DB_TYPE": "postgresql"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ("jsonl", {"path": "data/monitoring"})),
        ({"F1MON_BACKEND": "jsonl"}, ("jsonl", {"path": "data/monitoring"})),
        ({"F1MON_BACKEND": "memory"}, ("memory", {})),
        ({"F1MON_URL": "sqlite:///a.db"}, (None, {"url": "sqlite:///a.db"})),
        ({"F1MON_BACKEND": "sql", "F1MON_URL": "sqlite:///a.db"}, ("sql", {"url": "sqlite:///a.db"})),
        ({"F1MON_BACKEND": "", "F1MON_URL": ""}, ("jsonl", {"path": "data/monitoring"})),
        ({"MONITORING_DB_ENABLED": "false"}, ("jsonl", {"path": "data/monitoring"})),
        ({"MONITORING_DB_PATH": "x.db"}, ("jsonl", {"path": "data/monitoring"})),
        ({"MONITORING_DB_ENABLED": "True"}, ("sql", {"url": "sqlite:///data/monitoring/monitoring.db"})),
        (
            {"MONITORING_DB_ENABLED": "1", "MONITORING_DB_TYPE": "SQLite", "MONITORING_DB_PATH": "/x/y.db"},
            ("sql", {"url": "sqlite:////x/y.db"}),
        ),
        (POSTGRESQL, ("sql", {"url": "postgresql://postgres@localhost:5432/f1_predict_monitoring"})),
        (
            POSTGRESQL
            | {
                "MONITORING_DB_HOST": "::1",
                "MONITORING_DB_PORT": "5433",
                "MONITORING_DB_USER": "u@x",
                "MONITORING_DB_PASSWORD": "p/w:@",
                "MONITORING_DB_NAME": "n",
                "MONITORING_DB_POOL_SIZE": "3",
                "MONITORING_DB_MAX_OVERFLOW": "0",
                "MONITORING_DB_ECHO": "on",
            },
            (
                "sql",
                {
                    "url": "postgresql://u%40x:p%2Fw%3A%40@[::1]:5433/n",
                    "pool_size": 3,
                    "max_overflow": 0,
                    "echo": True,
                },
            ),
        ),
    ],
)
def test_the_environment_names_the_store(environ, expected):
    assert from_environment(environ) == expected


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"MONITORING_DB_ENABLED": "maybe"}, "MONITORING_DB_ENABLED must be true or false, got 'maybe'"),
        ({"MONITORING_DB_ENABLED": "true", "MONITORING_DB_TYPE": "oracle"}, "must be sqlite or postgresql"),
        (POSTGRESQL | {"MONITORING_DB_PORT": "five"}, "MONITORING_DB_PORT must be a whole number"),
        (POSTGRESQL | {"MONITORING_DB_POOL_SIZE": "many"}, "MONITORING_DB_POOL_SIZE must be a whole number"),
    ],
)
def test_a_wrong_variable_is_named(environ, named):
    with pytest.raises(ConfigurationError, match=named):
        from_environment(environ)


def test_f1mons_own_variables_win_and_a_difference_is_logged(caplog):
    both = {"F1MON_URL": "memory://", "MONITORING_DB_ENABLED": "true"}
    with caplog.at_level(logging.WARNING, "f1mon"):
        assert from_environment(both) == (None, {"url": "memory://"})
    assert "name different stores; F1MON_* wins" in caplog.text


def test_the_environment_only_speaks_where_the_call_does_not(monkeypatch):
    monkeypatch.setenv("F1MON_URL", "nowhere://")
    open_storage("memory").close()
    open_storage(url="memory://").close()
    with pytest.raises(UnknownBackendError, match="'nowhere'"):
        open_storage()


DATABASE = {"MONITORING_DB_ENABLED": "true", "MONITORING_DB_PATH": "x.db"}


@pytest.mark.parametrize("own", [{"F1MON_BACKEND": "sql"}, {}])
def test_a_named_database_backend_is_the_database_of_the_old_variables(own, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name, value in {**own, **DATABASE, "MONITORING_DB_POOL_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    backend, settled = resolve(None if own else "sql", {"pool_size": 3})
    assert (backend.name, settled) == ("sql", {"url": "sqlite:///x.db", "pool_size": 3})


def test_a_named_backend_takes_the_address_of_the_environment_that_belongs_to_it(monkeypatch, caplog):
    monkeypatch.setenv("F1MON_URL", "sqlite:///x.db")
    assert resolve("sql", {"pool_size": 3})[1] == {"url": "sqlite:///x.db", "pool_size": 3}
    monkeypatch.setenv("F1MON_URL", "jsonl:///srv")
    assert resolve("jsonl", {})[1] == {"url": "jsonl:///srv"}
    assert resolve("jsonl", {"path": "here"})[1] == {"path": "here"}
    assert resolve("jsonl", {"url": "jsonl://here"})[1] == {"url": "jsonl://here"}
    assert caplog.text == ""


def test_an_address_of_the_environment_that_belongs_to_another_backend_loses_and_that_is_logged(monkeypatch, caplog):
    monkeypatch.setenv("F1MON_URL", "sqlite:///x.db")
    assert resolve("jsonl", {})[1] == {}
    assert "F1MON_URL names a store of another backend; the argument 'jsonl' wins" in caplog.text
    caplog.clear()
    monkeypatch.setenv("F1MON_URL", "nowhere://canary")
    assert resolve("memory", {})[1] == {}
    assert "F1MON_URL names a store of another backend" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("open_it", [open_storage, upgrade_storage, lambda name: asyncio.run(open_async_storage(name))])
def test_a_backend_that_lacks_what_it_needs_says_what_to_give(open_it, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as raised:
        open_it("sql")
    assert str(raised.value) == (
        "backend 'sql' needs url: give an address that begins with mariadb://, mysql://, postgres://, postgresql:// or "
        "sqlite://, or set F1MON_URL"
    )
    assert not list(tmp_path.iterdir())


def test_a_missing_option_that_is_no_address_is_named(install_distribution):
    source = A_BACKEND.replace("open=open_memory", "open=lambda *, bucket, clock=None: None")
    install_distribution("third-store", source, group={"f1mon.backends": "third = third_store:backend"})
    with pytest.raises(ConfigurationError, match=r"^backend 'third' needs bucket$"):
        open_storage("third")


@pytest.mark.parametrize("name", ["x?cache=shared.db", "50%25.db", "a#b.db", "a b+c.db", "ö/ü.db"])
def test_the_path_of_a_database_is_a_path_whatever_is_in_it(name, monkeypatch, tmp_path):
    monkeypatch.setenv("MONITORING_DB_ENABLED", "true")
    monkeypatch.setenv("MONITORING_DB_PATH", str(tmp_path / name))
    open_storage().close()
    assert (tmp_path / name).is_file()


def test_a_database_in_memory_is_one_still():
    environ = {"MONITORING_DB_ENABLED": "true", "MONITORING_DB_PATH": ":memory:"}
    assert from_environment(environ) == ("sql", {"url": "sqlite:///:memory:"})


def test_account_and_name_of_a_database_are_what_they_are():
    odd = "a/b?c#d%e@f:g+h i"
    variables = {f"MONITORING_DB_{name}": odd for name in ("USER", "PASSWORD", "NAME")}
    url = make_url(from_environment(POSTGRESQL | variables)[1]["url"])
    assert (url.username, url.password, url.database, url.host) == (odd, odd, odd, "localhost")


@pytest.mark.parametrize("host", ["u:canary@h", "h/d", "h?x=1", "h#x", "/run/postgresql", "a%62"])
def test_a_host_that_is_more_than_a_host_is_refused(host):
    with pytest.raises(ConfigurationError, match="MONITORING_DB_HOST must be a host's name or address") as raised:
        from_environment(POSTGRESQL | {"MONITORING_DB_HOST": host})
    assert "canary" not in str(raised.value)


SERVER = POSTGRESQL | {"MONITORING_DB_USER": "u", "MONITORING_DB_PASSWORD": "p@", "MONITORING_DB_NAME": "f1"}


@pytest.mark.parametrize(
    ("own", "old", "differ"),
    [
        ({"F1MON_URL": "sqlite:///x.db"}, DATABASE, False),
        ({"F1MON_URL": "sqlite+pysqlite:///./x.db?timeout=9"}, DATABASE, False),
        ({"F1MON_URL": f"sqlite:///{Path.cwd()}/x.db"}, DATABASE, False),
        ({"F1MON_URL": "sqlite:///a%20b.db"}, DATABASE | {"MONITORING_DB_PATH": "a b.db"}, False),
        ({"F1MON_BACKEND": "sql", "F1MON_URL": "sqlite:///x.db"}, DATABASE, False),
        ({"F1MON_BACKEND": "sql"}, DATABASE | {"MONITORING_DB_POOL_SIZE": "3"}, False),
        ({"F1MON_URL": "jsonl://data/monitoring"}, {"MONITORING_DB_ENABLED": "false"}, False),
        ({"F1MON_URL": "postgres://someone:else@LOCALHOST/f1"}, SERVER, False),
        ({"F1MON_URL": "sqlite:///y.db"}, DATABASE, True),
        ({"F1MON_URL": "jsonl:///data/monitoring"}, {"MONITORING_DB_ENABLED": "false"}, True),
        ({"F1MON_URL": "postgresql://u@localhost:5433/f1"}, SERVER, True),
        ({"F1MON_URL": "postgresql://u@localhost/f2"}, SERVER, True),
        ({"F1MON_URL": "postgresql://u@[::1/f1"}, SERVER, True),
        ({"F1MON_BACKEND": "jsonl"}, DATABASE, True),
    ],
)
def test_a_difference_is_one_between_places_not_between_spellings(own, old, differ, caplog):
    from_environment({**own, **old})
    assert ("name different stores" in caplog.text) is differ


def test_the_directory_says_where_the_file_backend_lives_and_never_chooses_it():
    assert from_environment({}, "here") == ("jsonl", {"path": "here"})
    assert from_environment({"F1MON_BACKEND": "jsonl"}, "here") == ("jsonl", {"path": "here"})
    assert from_environment({"MONITORING_DB_ENABLED": "0"}, "here") == ("jsonl", {"path": "here"})
    assert from_environment({"F1MON_BACKEND": "memory"}, "here") == ("memory", {})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:secret@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:se@cr:et@h/d", "postgresql://u:***@h/d"),
        ("postgresql://h/d?user=u&password=secret&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("postgresql://h/d?password=se;cr et\n!&x=1", "postgresql://h/d?password=***&x=1"),
        ("postgresql://a b:se\ncret@h/d", "postgresql://a b:***@h/d"),
        ("sqlite:///a.db", "sqlite:///a.db"),
    ],
)
def test_a_printed_address_holds_no_password(url, shown):
    assert masked(url) == shown


# Imports ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["f1mon_core", "f1mon_core.monitor", "f1mon_core.cli", "f1mon_core.legacy"])
def test_importing_core_loads_no_backend_and_none_of_the_heavy_libraries(module):
    heavy = ("sqlalchemy", "alembic", "numpy", "pandas", "apprise", "narwhals", "f1mon_jsonl", "f1mon_sql")
    code = f"import sys, {module}; print([one for one in {heavy} if one in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_core_names_no_backend_package_in_its_source():
    sources = Path(f1mon_core.__file__).parent.rglob("*.py")
    naming = [
        path.name for path in sources if "import f1mon_jsonl" in (text := path.read_text()) or "f1mon_sql." in text
    ]
    assert naming == []


def test_every_error_of_discovery_is_one_family():
    for error in (UnknownBackendError, MissingExtraError, DuplicateBackendError, BrokenBackendError):
        assert issubclass(error, F1monError)

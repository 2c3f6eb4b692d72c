"""`python -m f1mon_core.testing`: what a person sees who wants to know before they trust."""

import json
import re
import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import attrs
import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from f1mon_core.storage.contract import Appended
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.registry import Backend
from f1mon_core.storage.tally import TallyQuery
from f1mon_core.testing import LAWS, Location, StorageContract, Verdict, __main__, run_law
from f1mon_core.testing.__main__ import report
from f1mon_core.testing.asserts import Unkept
from f1mon_core.testing.facts import prediction
from f1mon_core.testing.laws.tally import agree
from f1mon_core.testing.report import Report

from ..servers import FRESH


class Forgetful(MemoryStorage):
    """Says it stored a batch, and did not."""

    def append(self, facts):
        return Appended(len(list(facts)), 0)


forgetful = Backend(name="forgetful", open=partial(Forgetful), durable=False, shared=False, contract=2)


@contextmanager
def forgetful_place():
    yield Location(forgetful)


@pytest.fixture
def told():
    return lambda *arguments: CliRunner().invoke(report, [*arguments])


def test_every_law_is_listed_with_its_verdict_and_the_exit_code_is_0(told, tmp_path):
    done = told("jsonl", "--path", f"{tmp_path}/history", "--quick", "--law", "count")
    assert done.exit_code == 0, done.output
    assert list(tmp_path.iterdir()) == []
    assert "pass        count groups by the values of attributes\n" in done.stdout
    assert "laws hold, 0 fail, 0 not claimed" in done.stdout


def test_what_is_not_claimed_is_listed_and_said_in_words(told):
    done = told("memory", "--law", "reopening")
    assert done.exit_code == 0
    assert "not claimed everything is there after reopening (durable)\n" in done.stdout
    assert "not claimed: shared: several handles and processes work on one place at once\n" in done.stdout


def test_sql_is_asked_by_its_address_which_is_left_alone(told, tmp_path):
    done = told("sql", "--url", f"sqlite:///{tmp_path}/history.db", "--quick", "--law", "count")
    assert done.exit_code == 0, done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.servers
def test_a_run_leaves_nothing_on_postgresql(told):
    with FRESH["postgresql"]() as url:
        engine = sa.create_engine(url.replace("://", "+psycopg://", 1) if "+" not in url else url)

        def there():
            with engine.connect() as open_:
                schemas = open_.execute(sa.text("SELECT nspname FROM pg_namespace")).scalars().all()
                databases = open_.execute(sa.text("SELECT datname FROM pg_database")).scalars().all()
            return {*schemas, *databases}

        before = there()
        done = told("sql", "--url", url, "--law", "horizon")
        assert done.exit_code == 0, done.output
        # Others may work on the server meanwhile: what counts is named as the kit names its places.
        assert {name for name in there() - before if name.startswith("f1mon_fresh")} == set()
        engine.dispose()


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"])
def test_on_a_server_each_law_has_a_schema_or_database_of_its_own(told, family):
    with FRESH[family]() as url:
        done = told("sql", "--url", url, "--quick", "--law", "count")
    assert done.exit_code == 0, done.output
    assert "laws hold, 0 fail, 0 not claimed" in done.stdout


class Lasting(Forgetful):
    """Claims to last, and says of no place where."""


lasting = Backend(name="lasting", open=partial(Lasting), contract=2)


def test_laws_that_would_share_one_place_are_refused(told, monkeypatch):
    monkeypatch.setattr(__main__, "load_backend", lambda _: lasting)
    done = told("lasting", "--path", "history")
    assert done.exit_code == 2
    assert "{fresh}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no backend 'nothing' is installed"),
        (["memory", "--url"], "--url wants a value"),
        (["memory", "url"], "'url' is no option"),
        (["memory", "--law", "no such law"], "no law has 'no such law' in its name"),
        (["memory", "--bogus", "1"], "has no option bogus; it takes"),
        (["memory", "--colour", "async"], "no native async store"),
        (["memory", "--colour", "red"], "'red'"),
        (["jsonl", "--path", "x", "--durability", "wrong"], "durability must be"),
        (["sql"], "backend 'sql' needs url"),
        (["sql", "--url", "nonsense"], "not parse"),
        (["sql", "--url", "sqlite:///no-such-folder/a.db"], "no-such-folder"),
        (["sql", "--url", "sqlite:///a.db", "--bogus", "1"], "backend 'sql' has no option bogus"),
        (["sql", "--url", "sqlite:///a.db", "--colour", "async"], "offloaded"),
        (["sql", "--url", "postgresql://me:secret@127.0.0.1:1/x"], "refused"),
    ],
)
def test_a_wrong_question_is_exit_code_2_and_says_why(told, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = told(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "secret" not in done.stderr
    assert done.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_options_that_are_numbers_or_flags_arrive_as_such(told, tmp_path):
    url = f"sqlite:///{tmp_path}/history.db"
    options = ("--pool-size", "3", "--lock-timeout", "2.5", "--take-turns", "false")
    done = told("sql", "--url", url, *options, "--law", "count has")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("path", ["{fresh}.db", "kit-{fresh}/{fresh}.db", "{fresh}"])
def test_a_fresh_path_leaves_nothing_behind(told, tmp_path, install_distribution, path):
    source = """
        from f1mon_core.backends import Backend
        from f1mon_jsonl import open_jsonl

        backend = Backend(name="plain", open=open_jsonl, contract=2)
    """
    install_distribution("f1mon-plain", source, group={"f1mon.backends": "plain = f1mon_plain:backend"})
    done = told("plain", "--path", f"{tmp_path}/{path}", "--law", "count has")
    assert done.exit_code == 0, done.output
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(("f1mon_fresh", "kit"))]


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "f1mon_core.testing", "memory", "--law", "count has"], capture_output=True, check=True
    )
    assert done.stdout.decode().startswith("pass        count has no empty groups\n")


BROKEN = {
    "append_answers_how_many_were_new_and_how_many_repeated": ("Appended(1, 1)", "Appended(new=2"),
    "a_conflict_writes_nothing_of_its_batch": ("pytest.raises(ConflictError)", "no error"),
    "a_fact_without_a_time_gets_the_stores_clock": ("prediction(", "Error"),
}


@pytest.mark.parametrize("law", [*BROKEN])
def test_a_law_that_is_broken_says_what_was_done_expected_and_seen(law):
    if law.startswith("a_fact"):

        class Refusing(MemoryStorage):
            def append(self, facts):  # noqa: ARG002 - none is stored
                raise LookupError("postgresql://ada:swordfish@host/x is away")

        backend = attrs.evolve(forgetful, open=Refusing)
    else:
        backend = forgetful

    @contextmanager
    def place():
        yield Location(backend)

    failure = run_law(place, law).failure
    expected, seen = BROKEN[law]
    assert failure.done
    assert expected in f"{failure.done} {failure.expected}"
    assert seen in failure.seen
    assert "swordfish" not in str(failure)
    assert re.fullmatch(r".*laws.append\.py:\d+", failure.where)


def test_every_assert_of_the_kit_says_what_was_expected():
    with pytest.raises(Unkept) as told:
        agree(MemoryStorage(), [prediction()], TallyQuery())
    assert told.value.expected.startswith("disagreement(store.tally(query), model.tally(query)) is None")
    assert "cells" in told.value.seen


def test_asserts_of_laws_hold_where_python_takes_asserts_away():
    asked = (
        "from contextlib import contextmanager\n"
        "from f1mon_core.testing import Location, run_law\n"
        "from f1mon_core.storage.memory import MemoryStorage\n"
        "from f1mon_core.storage.contract import Appended\n"
        "from f1mon_core.storage.registry import Backend\n"
        "class Forgetful(MemoryStorage):\n"
        "    def append(self, facts): return Appended(len(list(facts)), 0)\n"
        "@contextmanager\n"
        "def place(): yield Location(Backend(name='x', open=Forgetful, contract=2))\n"
        "print(run_law(place, 'append_takes_any_iterable').status, run_law(place, 'facts_come_back_whole').status)\n"
    )
    done = subprocess.run([sys.executable, "-O", "-c", asked], capture_output=True, check=True, text=True)
    assert done.stdout == "pass fail\n"


def test_the_report_as_json_and_as_a_page(told, monkeypatch):
    monkeypatch.setattr(__main__, "load_backend", lambda _: forgetful)
    monkeypatch.setattr(__main__, "fresh_places", lambda *_: forgetful_place)
    done = told("forgetful", "--law", "a_conflict", "--format", "json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["counts"]["fail"] == sum(one["status"] == "fail" for one in found["laws"])
    assert found["badge"] is None
    assert {"done", "expected", "seen", "names", "where"} == set(found["laws"][0]["failure"])
    page = told("forgetful", "--law", "a_conflict", "--format", "html").stdout
    assert "expected" in page
    assert not re.search(r"(src|href)=|<Location|<f1mon", page)


def test_a_badge_is_for_who_was_asked_every_law_and_kept_it():
    kept = [Verdict(law, "pass") for law in LAWS]
    full = Report(attrs.evolve(forgetful, durable=True), "sync", kept, 1.0)
    assert full.badge == f"f1mon contract 2, {len(LAWS)} laws, claims: durable"
    assert full.summary().endswith(full.badge)
    assert attrs.evolve(full, verdicts=kept[1:]).badge is None
    assert "no badge" in attrs.evolve(full, verdicts=kept[1:]).summary()
    assert attrs.evolve(full, verdicts=[Verdict(kept[0].law, "skipped"), *kept[1:]]).badge is None


def test_places_that_nobody_takes_away_are_told(told, monkeypatch):
    monkeypatch.setattr(__main__, "load_backend", lambda _: forgetful)
    monkeypatch.setattr(__main__, "check_options", lambda *_: None)
    monkeypatch.setattr(__main__, "fresh_places", lambda *_: forgetful_place)
    done = told("forgetful", "--name", "kit-{fresh}", "--law", "takes_any")
    assert "left behind: what the laws stored under fresh names of name" in done.stdout


WITHOUT = "import sys, runpy; sys.modules[{missing!r}] = None; sys.orig_argv = {argv!r}; {then}"


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_without_the_extra_it_says_what_to_install(missing):
    argv = ["python", "-m", "f1mon_core.testing", "memory"]
    asked = WITHOUT.format(missing=missing, argv=argv, then="runpy.run_module('f1mon_core.testing')")
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=False, text=True)
    said = f"f1mon_core.testing needs {missing!r}, which is not installed: pip install 'f1mon[testing]'\n"
    assert (done.returncode, done.stderr, done.stdout) == (2, said, "")


def test_without_the_extra_an_import_says_what_to_install():
    imported = WITHOUT.format(missing="pytest", argv=["python", "-c"], then="import f1mon_core.testing")
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, check=False, text=True)
    assert done.returncode == 1
    assert "MissingExtraError: f1mon_core.testing needs 'pytest'" in done.stderr


def test_a_law_that_fails_is_a_verdict_with_its_trace():
    verdict = run_law(forgetful_place, "facts_come_back_whole")
    assert verdict.status == "fail"
    assert "test_facts_come_back_whole" in verdict.trace


def test_laws_about_claims_say_which():
    verdict = run_law(forgetful_place, "everything_is_there_after_reopening")
    assert (verdict.status, verdict.claims) == ("not claimed", ("durable",))


@contextmanager
def no_place():
    pytest.skip("the server is away")
    yield


def test_a_place_that_is_not_there_is_no_missing_claim():
    verdict = run_law(no_place, "everything_is_there_after_reopening")
    assert (verdict.status, verdict.reason) == ("skipped", "the server is away")


def test_the_report_shows_what_was_skipped_and_why(told, monkeypatch):
    monkeypatch.setattr(__main__, "fresh_places", lambda *_: no_place)
    monkeypatch.setattr(__main__, "try_out", lambda *_: None)
    done = told("memory", "--law", "half open in")
    assert done.exit_code == 1
    assert "skipped     a window is half open in the time of its basis\n" in done.stdout
    assert "the server is away" in done.stderr
    assert "0 fail, 0 not claimed, 1 skipped, in " in done.stdout


def test_an_unknown_law_is_an_error():
    with pytest.raises(LookupError, match="no_such_law"):
        run_law(forgetful_place, "no_such_law")


def test_the_laws_are_what_pytest_collects():
    collected = {name for name in dir(StorageContract) if name.startswith("test_")}
    assert {f"test_{name}" for name in LAWS} == collected
    assert len(LAWS) >= 150

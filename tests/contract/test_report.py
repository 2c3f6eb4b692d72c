"""`python -m f1mon_core.testing`: what a person sees who wants to know before they trust."""

import subprocess
import sys
from contextlib import contextmanager
from functools import partial

import pytest
from click.testing import CliRunner

from f1mon_core.backends import Backend
from f1mon_core.memory import MemoryStorage
from f1mon_core.storage import Appended
from f1mon_core.testing import LAWS, Location, StorageContract, run_law
from f1mon_core.testing import __main__ as asking
from f1mon_core.testing.__main__ import report

from ..servers import FRESH  # noqa: TID252 - tests are no installed package


class Forgetful(MemoryStorage):
    """Says it stored a batch, and did not."""

    def append(self, facts):
        return Appended(len(list(facts)), 0)


forgetful = Backend(name="forgetful", open=partial(Forgetful), durable=False, shared=False)


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
@pytest.mark.parametrize("family", ["postgresql", "mysql"])
def test_on_a_server_each_law_has_a_schema_or_database_of_its_own(told, family):
    with FRESH[family]() as url:
        done = told("sql", "--url", url, "--quick", "--law", "count")
    assert done.exit_code == 0, done.output
    assert "laws hold, 0 fail, 0 not claimed" in done.stdout


class Lasting(Forgetful):
    """Claims to last, and says of no place where."""


lasting = Backend(name="lasting", open=partial(Lasting))


def test_laws_that_would_share_one_place_are_refused(told, monkeypatch):
    monkeypatch.setattr(asking, "load_backend", lambda _: lasting)
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
    ],
)
def test_a_wrong_question_is_exit_code_2_and_says_why(told, arguments, said):
    done = told(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr


def test_the_module_runs():
    done = subprocess.run(
        [sys.executable, "-m", "f1mon_core.testing", "memory", "--law", "count has"], capture_output=True, check=True
    )
    assert done.stdout.decode().startswith("pass        count has no empty groups\n")


def test_a_law_that_fails_is_a_verdict_with_its_trace():
    verdict = run_law(forgetful_place, "facts_come_back_whole")
    assert verdict.status == "fail"
    assert "test_facts_come_back_whole" in verdict.trace


def test_laws_about_claims_say_which():
    verdict = run_law(forgetful_place, "everything_is_there_after_reopening")
    assert (verdict.status, verdict.claims) == ("not claimed", ("durable",))


def test_an_unknown_law_is_an_error():
    with pytest.raises(LookupError, match="no_such_law"):
        run_law(forgetful_place, "no_such_law")


def test_the_laws_are_what_pytest_collects():
    collected = {name for name in dir(StorageContract) if name.startswith("test_")}
    assert {f"test_{name}" for name in LAWS} == collected
    assert len(LAWS) >= 150

"""What docs/operating.md says to run is run: backups while eight writers work, roles, file modes."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import traceback
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from f1mon_core import Monitor, Prediction
from f1mon_core.cli import f1mon
from f1mon_core.errors import F1monError

from ..servers import admin, fresh_mysql, fresh_postgresql, mysql_server, postgresql_server

pytestmark = [pytest.mark.faults]

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
WRITERS = 8
F1MON = f'{sys.executable} -c "from f1mon_core.cli import main; main()"'


def told(what):
    """The commands below a mark of the page."""
    (found,) = re.findall(rf"<!-- {what} -->\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return found


def run(text, *, code=0, **named):
    """Run commands of the page with places of the test's own in place of those that it names."""
    for name, value in named.items():
        text = text.replace(name, value)
    done = subprocess.run(["bash", "-ec", text], capture_output=True, text=True, check=False)
    assert done.returncode == code, (text, done)
    return done


@contextmanager
def eight_at_work(address):
    """Writers with handles of their own; yields what was acknowledged so far, and each fact they made is in threes."""
    acknowledged, failures, end = [], [], threading.Event()

    def write(writer):
        try:
            with Monitor.open(address) as monitor:
                for number in count():
                    if end.is_set():
                        return
                    name = f"{writer}-{number}"
                    monitor.record_predictions(
                        Prediction(prediction_id=f"{name}/{n}", model_version="m", predicted_outcome=1, confidence=0.5)
                        for n in range(3)
                    )
                    acknowledged.append(name)
        except BaseException as error:  # noqa: BLE001 - told to the test's own thread
            failures.append(error)

    Monitor.open(address).close()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for one in threads:
        one.start()
    try:
        while len(acknowledged) < 3 * WRITERS and not failures:
            threading.Event().wait(0.01)
        yield acknowledged
    finally:
        end.set()
        for one in threads:
            one.join()
    assert failures == []


def assert_restored(address, before):
    """A restored store is sound, holds what was acknowledged before its backup began, and nothing in part."""
    said = run(told("check"), **{"sqlite:////backup/f1mon.db": f"'{address}'", "f1mon ": f"{F1MON} "})
    assert "error" not in said.stdout
    with Monitor.open(address) as monitor:
        names = [one.prediction_id.rpartition("/")[0] for one in monitor.predictions()]
        assert {name: names.count(name) for name in set(names)} == dict.fromkeys(set(names), 3)
        assert set(before) <= set(names)
        assert monitor.record_prediction("after", "m", 1, 0.5).new == 1


def test_jsonl_is_copied_while_eight_write(tmp_path):
    with eight_at_work(f"jsonl://{tmp_path}/srv") as acknowledged:
        before = list(acknowledged)
        run(told("backup jsonl"), **{"/srv/f1mon": f"{tmp_path}/srv", "/backup/f1mon": f"{tmp_path}/copy"})
    assert_restored(f"jsonl://{tmp_path}/copy", before)


def test_a_copy_of_jsonl_without_the_lock_is_sound_but_for_its_end(tmp_path):
    for number in range(4):
        with eight_at_work(f"jsonl://{tmp_path}/srv{number}") as acknowledged:
            before = list(acknowledged)
            run(f"cp --archive {tmp_path}/srv{number} {tmp_path}/copy{number}")
        with Monitor.open("jsonl", path=tmp_path / f"copy{number}") as monitor:
            monitor.record_prediction("first", "m", 1, 0.5)
            names = [one.prediction_id.rpartition("/")[0] for one in monitor.predictions()]
            assert set(before) <= set(names)
            assert monitor.check().ok


@pytest.mark.parametrize("how", ["backup sqlite", "backup sqlite vacuum"])
def test_sqlite_is_backed_up_while_eight_write(how, tmp_path):
    with eight_at_work(f"sqlite:///{tmp_path}/srv.db") as acknowledged:
        before = list(acknowledged)
        run(told(how), **{"/srv/f1mon.db": f"{tmp_path}/srv.db", "/backup/f1mon.db": f"{tmp_path}/copy.db"})
    assert_restored(f"sqlite:///{tmp_path}/copy.db", before)


@contextmanager
def dropped(server, name):
    """A database that the page's commands make, and that is gone afterwards."""
    try:
        yield name
    finally:
        admin(server, f"DROP DATABASE IF EXISTS {name}")


@pytest.mark.servers
def test_postgresql_is_dumped_while_eight_write(tmp_path):
    with fresh_postgresql() as url:
        server, parts = postgresql_server()[0], urlsplit(url)
        schema = parse_qs(parts.query)["options"][0].rpartition("=")[2]
        at = f"postgresql://{parts.netloc}"
        with dropped(server, f"{schema}_restored") as restored:
            with eight_at_work(url) as acknowledged:
                before = list(acknowledged)
                places = {"postgresql://postgres@db/ledger": f"{at}{parts.path}", "postgresql://postgres@db": at}
                places |= {"monitoring": schema, "/restored": f"/{restored}", " restored": f" {restored}"}
                run(told("backup postgresql"), **places, **{"/backup/": f"{tmp_path}/"})
            assert_restored(f"{at}/{restored}?{parts.query}", before)


@pytest.mark.servers
def test_mariadb_is_dumped_while_eight_write(tmp_path):
    with fresh_mysql() as url:
        server, parts = mysql_server()[0], urlsplit(url)
        name = parts.path[1:]
        with dropped(server, f"{name}_restored") as restored:
            with eight_at_work(url) as acknowledged:
                before = list(acknowledged)
                places = {"--host=db": f"--host={parts.hostname} --port={parts.port}"}
                places["--user=root"] = f"--user={parts.username}"
                places |= {" ledger": f" {name}", "restored": restored, "/backup/": f"{tmp_path}/"}
                run(told("backup mysql"), **places)
            assert_restored(url.replace(f"/{name}", f"/{restored}"), before)


# Roles --------------------------------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.parametrize("family", ["postgresql", "mysql"])
def test_a_writer_writes_and_a_reader_reads(family):
    with (fresh_postgresql if family == "postgresql" else fresh_mysql)() as url:
        Monitor.open(url).close()
        parts = urlsplit(url)
        server = (postgresql_server if family == "postgresql" else mysql_server)()[0]
        if family == "postgresql":
            own = parse_qs(parts.query)["options"][0].rpartition("=")[2]
            text = told("roles postgresql").replace("monitoring", own)
            gone = [f"DROP OWNED BY {own}_writer, {own}_reader", f"DROP ROLE {own}_writer, {own}_reader"]
        else:
            own = parts.path[1:]
            text = told("roles mysql").replace("ledger", own).replace("%", "%%")
            gone = [f"DROP USER {own}_{who}@'%%'" for who in ("writer", "reader")]
        statements = text.replace("f1mon_writer", f"{own}_writer").replace("f1mon_reader", f"{own}_reader")
        admin(server, *filter(None, map(str.strip, statements.split(";"))))
        try:
            writer, reader = (
                url.replace(f"{parts.username}@", f"{own}_{who}{secret}@", 1)
                for who, secret in (("writer", ":change-me"), ("reader", ":change-me-too"))
            )
            with Monitor.open(writer) as monitor:
                assert monitor.record_prediction("a", "m", 1, 0.5).new == 1
                monitor.prune(monitor.now())
            with Monitor.open(reader) as monitor:
                with pytest.raises(F1monError, match=r"(?i)permission|denied|read"):
                    monitor.record_prediction("b", "m", 1, 0.5)
                assert [one.prediction_id for one in monitor.predictions()] == ["a"]
            for command in ("status", "alerts", "incidents", "rules list", "check"):
                said = CliRunner().invoke(f1mon, ["--url", reader, *command.split()])
                assert said.exit_code == 0, said.output
        finally:
            admin(server, *gone)


# File modes ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")
def test_two_accounts_of_one_group_share_a_directory(tmp_path):
    group, accounts = 45_678, (45_679, 45_680)
    stack = ExitStack()
    public = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="f1mon-shared-")))
    public.chmod(0o755)
    place = public / "srv"
    text = told("modes").replace("--group=f1mon", f"--group={group}").replace("/srv/f1mon", str(place))
    run(text.replace("f1mon --url", f"{F1MON} --url"))
    mask = int(re.findall(r"umask (\d+)", text)[0], 8)

    def records(name, directory):
        for address in (f"jsonl://{directory}/files", f"sqlite:///{directory}/f1mon.db"):
            with Monitor.open(address) as monitor:
                monitor.record_prediction(name, "m", 1, 0.5)

    records("here", tmp_path)  # what is imported on the way, the others could not read
    for who in accounts:
        if (child := os.fork()) == 0:
            code = 1
            try:
                os.setgroups([])
                os.setgid(group)
                os.setuid(who)
                os.umask(mask)
                records(str(who), place)
                code = 0
            except BaseException:  # noqa: BLE001 - said here, as nobody else hears it
                traceback.print_exc()
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
    for address in (f"jsonl://{place}/files", f"sqlite:///{place}/f1mon.db"):
        with closing(Monitor.open(address)) as monitor:
            assert {one.prediction_id for one in monitor.predictions()} == set(map(str, accounts))
    stack.close()

"""Who may only read a store asks it all, is told so in one line, and makes nothing; what would write is refused."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from f1mon_core import AsyncMonitor, Monitor, StorageError
from f1mon_core.cli.commands import f1mon
from f1mon_core.errors import AccessDeniedError, CorruptStoreError, ReadOnlyError

from .readers import bound_by_permissions, unwritable
from .servers import fresh_mysql, fresh_postgresql

READING = (
    ["status"],
    ["alerts"],
    ["rules", "list"],
    ["incidents"],
    ["models", "list"],
    ["deliveries", "list"],
    ["evaluate"],
    ["check"],
)
WRITES = (
    lambda monitor: monitor.record_prediction("new", model_version="v", predicted_outcome=1, confidence=0.5),
    lambda monitor: monitor.record_outcome("0", 1),
    lambda monitor: monitor.prune(monitor.now()),
)


REFUSED = (ReadOnlyError, AccessDeniedError)
"""A write where the store takes none, or where the account may not."""


def record(address, *, first=0, many=3):
    with Monitor.open(url=address) as monitor:
        for number in range(first, first + many):
            monitor.record_prediction(str(number), model_version="v", predicted_outcome=1, confidence=0.5)


def reads_and_writes_nothing(address, why, *, predictions=3):
    """All that a reader does: commands, monitors of both colours, and writes that are refused."""
    for command in READING:
        done = CliRunner().invoke(f1mon, ["--url", address, *command])
        assert done.exit_code == 0, (command, done.stderr, done.exception)
        (line,) = [one for one in done.stderr.splitlines() if "may only be read" in one]
        assert why in line
    with Monitor.open(url=address) as monitor:
        assert why in monitor.read_only
        assert monitor.performance("v").total == predictions
        assert monitor.storage.check().facts["prediction"] == predictions
        for write in WRITES:
            with pytest.raises(REFUSED):
                write(monitor)

    async def asked():
        async with await AsyncMonitor.open(url=address) as asynchronous:
            assert why in asynchronous.read_only
            assert (await asynchronous.performance("v")).total == predictions
            with pytest.raises(REFUSED):
                await asynchronous.record_outcome("0", 1)

    asyncio.run(asked())


def listed(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


ADDRESSES = {
    "jsonl": "jsonl://{}/store",
    "sqlite": "sqlite:///{}/f1mon.db",
    "aiosqlite": "sqlite+aiosqlite:///{}/f1mon.db",
}


@pytest.fixture(params=ADDRESSES)
def files(request, tmp_path):
    """A store of files in a directory of its own: the directory, and how to open it."""
    directory = tmp_path / "here"
    directory.mkdir()
    address = ADDRESSES[request.param].format(directory)
    record(address.replace("+aiosqlite", ""))
    return directory, address


def sync(address):
    return address.replace("+aiosqlite", "")


def of_both(address, why, **options):
    """A reader of an address, whose sync side is by the same file."""
    if "+aiosqlite" not in address:
        return reads_and_writes_nothing(address, why, **options)

    async def asked():
        async with await AsyncMonitor.open(url=address) as monitor:
            assert why in monitor.read_only
            assert (await monitor.performance("v")).total == options.get("predictions", 3)
            with pytest.raises(REFUSED):
                await monitor.record_outcome("0", 1)

    return asyncio.run(asked())


def test_files_and_directory_that_may_not_be_written(files):
    directory, address = files
    was = listed(directory)
    with unwritable(directory):
        bound_by_permissions(lambda: of_both(address, "may not be written"))
    assert listed(directory) == was
    record(sync(address), first=3, many=1)  # who may write goes on


def test_a_file_that_may_not_be_written_in_a_directory_that_may(files):
    directory, address = files
    was = listed(directory)
    for path in was:
        path.chmod(0o444)
    bound_by_permissions(lambda: of_both(address, "may not be written"))
    assert listed(directory) == was


def test_a_medium_that_is_read_only(files, tmp_path):
    directory, address = files
    target = tmp_path / "medium"
    target.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(target)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"nothing can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(directory, target / "here")
        subprocess.run(["mount", "-o", "remount,ro", str(target)], check=True)
        of_both(address.replace(str(directory), str(target / "here")), "may not be written")
    finally:
        subprocess.run(["umount", str(target)], check=True)


# SQLite's files beside the database ---------------------------------------------------------------------------------


@contextmanager
def with_a_log(directory):
    """A database of whose newest rows are in the `-wal`, as a writer that was killed leaves it: a copy in use."""
    address = f"sqlite:///{directory}/f1mon.db"
    record(address)
    with closing(sqlite3.connect(directory / "f1mon.db")) as held:
        held.execute("BEGIN")
        held.execute("SELECT count(*) FROM f1mon_predictions").fetchall()  # a snapshot, so that nothing is checkpointed
        record(address, first=3, many=4)
        copy = directory.with_name("copy")
        shutil.copytree(directory, copy)
    yield copy


@pytest.fixture
def killed(tmp_path):
    directory = tmp_path / "here"
    directory.mkdir()
    with with_a_log(directory) as copy:
        yield copy


@pytest.mark.parametrize("shm", [True, False], ids=["with -shm", "without -shm"])
def test_what_lies_in_the_log_is_read_too(killed, shm):
    if not shm:
        (killed / "f1mon.db-shm").unlink()
    assert (killed / "f1mon.db-wal").stat().st_size
    was = listed(killed)
    with unwritable(killed):
        bound_by_permissions(
            lambda: reads_and_writes_nothing(f"sqlite:///{killed}/f1mon.db", "may not be written", predictions=7)
        )
    assert listed(killed) == was


def test_a_reader_sees_what_is_written_while_it_is_open(tmp_path):
    """Also where it saw no `-shm` at first, so that it takes no part in the locks of a writer that comes later."""
    address = f"sqlite:///{tmp_path}/f1mon.db"
    record(address)
    (tmp_path / "f1mon.db").chmod(0o444)
    seen, written = os.pipe(), os.pipe()

    def reads():
        with Monitor.open(url=address) as monitor:
            assert monitor.performance("v").total == 3
            os.write(seen[1], b"!")
            for total in (5, 7):
                os.read(written[0], 1)
                assert monitor.performance("v").total == total
                os.write(seen[1], b"!")

    def writes():
        for first in (3, 5):
            os.read(seen[0], 1)
            record(address, first=first, many=2)  # root may; each opens and closes, which checkpoints
            os.write(written[1], b"!")

    writer = threading.Thread(target=writes)
    writer.start()
    bound_by_permissions(reads)
    writer.join()


def test_a_damaged_file_is_told_to_a_reader_too(tmp_path):
    file = tmp_path / "f1mon.db"
    record(f"sqlite:///{file}", many=500)
    size = file.stat().st_size
    with file.open("r+b") as opened:
        opened.seek(8192)
        opened.write(b"\xa5" * (size - 8192))
    with unwritable(tmp_path):

        def asks():
            with pytest.raises(CorruptStoreError, match="f1mon check"):
                Monitor.open(url=f"sqlite:///{file}").performance("v")

        bound_by_permissions(asks)


def test_a_reader_makes_no_store_where_there_is_none(tmp_path):
    for address in (f"sqlite:///{tmp_path}/none.db", f"jsonl://{tmp_path}/none"):
        assert CliRunner().invoke(f1mon, ["--url", address, "status"]).exit_code == 1

        def opens(address=address):
            with pytest.raises(StorageError):
                Monitor.open(url=address)

        with unwritable(tmp_path):
            bound_by_permissions(opens)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", ["-f1mon-turn", "-f1mon-next"])
def test_the_files_of_turns_are_not_made_through_a_link(tmp_path, ending):
    target = tmp_path / "target"
    Path(f"{tmp_path}/f1mon.db{ending}").symlink_to(target)
    with pytest.raises(StorageError, match="symbolic link"):
        Monitor.open(url=f"sqlite:///{tmp_path}/f1mon.db")
    assert not target.exists()


# Servers ------------------------------------------------------------------------------------------------------------


@contextmanager
def role_of_postgresql(url):
    place = sa.make_url(url)
    name = f"reader_{os.getpid()}"
    engine = sa.create_engine(place.set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar_one()
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN")
        connection.exec_driver_sql(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
        connection.exec_driver_sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {name}")
    try:
        yield place.set(username=name).render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {name}")
            connection.exec_driver_sql(f"DROP ROLE {name}")
        engine.dispose()


@contextmanager
def account_of_mysql(url):
    place = sa.make_url(url)
    name = f"reader_{os.getpid()}"
    engine = sa.create_engine(place.set(drivername="mysql+pymysql"))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"CREATE USER {name}@'%%'")
        connection.exec_driver_sql(f"GRANT SELECT ON `{place.database}`.* TO {name}@'%%'")
    try:
        yield place.set(username=name).render_as_string(hide_password=False)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP USER {name}@'%%'")
        engine.dispose()


@pytest.mark.servers
@pytest.mark.parametrize(
    ("fresh", "reader"), [(fresh_postgresql, role_of_postgresql), (fresh_mysql, account_of_mysql)], ids=["pg", "mysql"]
)
def test_a_role_that_may_only_select(fresh, reader):
    with fresh() as url:
        record(url)
        with reader(url) as address:
            reads_and_writes_nothing(address, "no INSERT")


@pytest.mark.servers
def test_a_session_that_is_read_only_by_its_settings(postgresql_url):
    record(postgresql_url)
    place = sa.make_url(postgresql_url)
    options = f"{place.query['options']} -cdefault_transaction_read_only=on"
    address = place.update_query_dict({"options": options}).render_as_string(hide_password=False)
    reads_and_writes_nothing(address, "default_transaction_read_only is on")

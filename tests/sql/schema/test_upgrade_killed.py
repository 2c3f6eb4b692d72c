"""A store full of what contract 1 wrote, upgraded, and killed five times on the way: every fact and answer is there."""

import hashlib
import itertools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, nullcontext
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from alembic import op

from f1mon_core.records.times import to_micros
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_sql import SQLStorage
from f1mon_sql.connect.target import target_of
from f1mon_sql.schema import upgrading

from ...servers import FRESH

KILLS = 5
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3_600_000_000
COLUMNS = {
    "predictions": (
        *("prediction_id", "predicted_at", "at_given", "recorded_at", "model_version", "predicted_outcome"),
        *("confidence", "actual_outcome", "known_at", "first_known_at", "pruned"),
    ),
    "features": ("prediction_id", "features", "metadata"),
    "outcomes": ("prediction_id", "known_at", "at_given", "recorded_at", "actual_outcome"),
}
"""What revision 0002 holds of predictions."""


def rows_of(number):
    """The rows of one prediction, by table: four in five have an outcome, and one in fifty a correction."""
    item, at = f"req-{number:07d}", to_micros(BEGAN) + number * 7_000_000
    known = [(at + 5 * HOUR, number % 3 % 2)] if number % 10 < 8 else []
    known += [(at + 9 * HOUR, 1)] if number % 50 == 0 else []
    newest, actual = known[-1] if known else (None, None)
    first = known[0][0] if known else None
    made = (item, at, 1, at, f"m-{number % 3}", number % 2, number % 1000 / 999, actual, newest, first, 0)
    features = (item, f'{{"grid":{number % 20},"speed":{number / 7!r},"wet":null}}', '{"note":"\\u00fc"}')
    return {
        "predictions": [made],
        "features": [features],
        "outcomes": [(item, one, 1, at, label) for one, label in known],
    }


def fill(url, size):
    """Write so many predictions into the tables of revision 0002."""
    upgrading.upgrade(url, "0002")
    mark, encoded = ("?", False) if url.startswith("sqlite") else ("%s", url.startswith("mysql"))
    engine = sa.create_engine(target_of(url).url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for start in range(0, size, 10_000):
            batch = {table: [] for table in COLUMNS}
            for number in range(start, min(size, start + 10_000)):
                for table, rows in rows_of(number).items():
                    batch[table] += rows
            for table, rows in batch.items():
                texts = [
                    tuple(one.encode() if encoded and isinstance(one, str) else one for one in row) for row in rows
                ]
                marks = ", ".join([mark] * len(COLUMNS[table]))
                statement = f"INSERT INTO f1mon_{table} ({', '.join(COLUMNS[table])}) VALUES ({marks})"
                cursor = connection.connection.cursor()
                cursor.executemany(statement, texts)
    engine.dispose()


def bytes_of(value):
    return value.encode() if isinstance(value, str) else value


def digests(url):
    """What stands in the columns of revision 0002, table by table."""
    found = {}
    engine = sa.create_engine(target_of(url).url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        for table, columns in COLUMNS.items():
            seen = hashlib.sha256()
            query = f"SELECT {', '.join(columns)} FROM f1mon_{table} ORDER BY {columns[0]}, {columns[1]}"
            for row in connection.execution_options(stream_results=True).exec_driver_sql(query):
                seen.update(repr(tuple(row)).encode())
            found[table] = seen.hexdigest()
    engine.dispose()
    return found


def assert_intact(url, size):
    """Check facts and answers against what was written."""
    with closing(SQLStorage(url)) as store:
        report = store.check()
        assert report.ok, report.problems
        outcomes = sum(len(rows_of(number)["outcomes"]) for number in range(50)) * size // 50
        assert dict(report.facts) == {"prediction": size, "outcome": outcomes}
        wanted = Counter()
        for number in range(size):
            (made,) = rows_of(number)["predictions"]
            wanted[made[4], made[5], made[7]] += 1
        found = Counter()
        for key, cell in store.tally(TallyQuery()).cells.items():
            found[key.model_version, key.predicted, key.actual] += cell.n
        assert found == wanted
        late = BEGAN + timedelta(seconds=7 * (size - 3))
        made = store.find(Select("prediction", since=late))
        wanted_features = [{"grid": number % 20, "speed": number / 7, "wet": None} for number in range(size - 3, size)]
        assert [one.features for one in made] == wanted_features
        again = [*made, *store.find(Select("outcome", where={"prediction_id": "req-0000050"}))]
        assert store.append(again).repeated == len(made) + 2
    assert upgrading.drift(url) == []


STEPS = (1, 3, 5, 7, 9)


def killed_at(url, step):
    """Upgrade in a forked process that is killed before so many steps; how it ended."""

    def counted(call):
        def wrapped(*arguments, **options):
            if next(calls) >= step:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **options)

        return wrapped

    calls = itertools.count()
    child = os.fork()
    if not child:
        try:
            for name in ("create_table", "create_index", "execute"):
                setattr(op, name, counted(getattr(op, name)))
            upgrading.upgrade(url)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


ANNOUNCED = """
import sys
from f1mon_sql.schema import upgrading
upgrading.upgrade(sys.argv[1], announce=lambda text: print(text, flush=True), lock_timeout=600)
"""


@pytest.mark.faults
def test_an_upgrade_killed_at_five_steps_loses_nothing(url):
    fill(url, 300)
    before = digests(url)
    for step in STEPS:
        assert killed_at(url, step) == -signal.SIGKILL
    upgrading.upgrade(url)
    assert digests(url) == before
    assert_intact(url, 300)


def upgraded(url, after=None):
    """Upgrade in a process of its own, which is killed so many seconds after it began; how long it took, or None."""
    with subprocess.Popen([sys.executable, "-c", ANNOUNCED, url], stdout=subprocess.PIPE, text=True) as child:
        said = child.stdout.readline()
        assert not said or " rows: it takes about " in said, said
        began = time.monotonic()
        if after is not None and said:  # else the one before was killed when all was done
            time.sleep(after)
            child.kill()
        status = child.wait()
    assert status in {0, -signal.SIGKILL}
    return (said, time.monotonic() - began) if status == 0 else None


@pytest.mark.soak
@pytest.mark.parametrize(
    ("family", "size"),
    [
        ("sqlite", 1_000_000),
        pytest.param("postgresql", 100_000, marks=pytest.mark.servers),
        pytest.param("mysql", 100_000, marks=pytest.mark.servers),
    ],
)
def test_a_million_predictions_are_upgraded_through_five_kills(family, size, tmp_path):
    in_files = nullcontext(f"sqlite:///{tmp_path}/first.db"), nullcontext(f"sqlite:///{tmp_path}/second.db")
    one, other = in_files if family == "sqlite" else (FRESH[family](), FRESH[family]())
    with one as first, other as url:
        fill(first, size)
        if family == "sqlite":
            shutil.copy(target_of(first).database_file, target_of(url).database_file)
        else:
            fill(url, size)
        before = digests(url)
        said, seconds = upgraded(first)
        rng, kills = random.Random(family), []
        while len(kills) < KILLS:
            moment = rng.uniform(0.02, 0.7) * seconds
            if upgraded(url, moment) is not None:
                break  # it was done before its time: the machine is quicker than it was
            kills.append(moment)
        upgrading.upgrade(url, lock_timeout=600)
        assert digests(url) == digests(first) == before
        assert_intact(url, size)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        print(f"{said}{seconds:.1f} s; peak {peak} MiB; killed after {kills} s")  # noqa: T201 - shown by -rP
        # MariaDB and MySQL keep each table that is done, and so may be done with all of them before the fifth.
        assert len(kills) == KILLS or (family == "mysql" and kills)

"""Every backend in every colour, under the same laws."""

from contextlib import contextmanager
from tempfile import TemporaryDirectory

import pytest

from f1mon_core.testing import Location, StorageContract
from f1mon_core.testing.laws.durability import DurabilityLaws
from f1mon_core.testing.laws.kills import KillLaws

from ..servers import FRESH, ready


class Memory(StorageContract):
    @contextmanager
    def location(self):
        yield Location("memory")


class TestMemory(Memory):
    pass


class TestMemoryOffloaded(Memory):
    colour = "offloaded"


class JSONL(StorageContract):
    items = 60

    @contextmanager
    def location(self):
        with TemporaryDirectory(prefix="f1mon-jsonl-") as directory:
            yield Location("jsonl", path=f"{directory}/store")


class TestJSONL(JSONL):
    windows = 1000
    kills = 500


class TestJSONLOffloaded(JSONL):
    colour = "offloaded"


OF_OPENING = {
    *vars(DurabilityLaws),
    *vars(KillLaws),
    "test_a_store_is_empty_and_sound_when_it_is_fresh",
    "test_asking_whether_a_store_is_there_makes_none",
    "test_colours_read_what_the_other_wrote",
}
"""The laws for which a store makes its own tables: in a place that those who were killed may still be busy in, too."""


# Every colour of every database runs where the servers do: once, on the oldest Python.
@pytest.mark.servers
class SQL(StorageContract):
    family = "sqlite"
    driver = ""
    anew = True
    items = 60

    @pytest.fixture(autouse=True)
    def place_for_the_law(self, request):
        self.anew = request.node.originalname in OF_OPENING

    @contextmanager
    def location(self):
        with FRESH[self.family]() if self.anew else ready(self.family) as url:
            yield Location("sql", url=url.replace("://", f"{self.driver}://", 1))


class TestSQLite(SQL):
    windows = 1000
    fresh_rules = 200


class TestSQLiteOffloaded(SQL):
    colour = "offloaded"


class TestAiosqlite(SQL):
    colour = "async"
    driver = "+aiosqlite"


class Offloaded:
    """The sync store on threads; its races against itself are run at full size above."""

    colour = "offloaded"
    meetings = 200
    items = 60
    windows = 20
    fresh_rules = 10
    kills = 20
    writer_kills = 20


class PostgreSQL(SQL):
    family = "postgresql"


class TestPostgreSQL(PostgreSQL):
    windows = 1000
    fresh_rules = 200


class TestPostgreSQLOffloaded(Offloaded, PostgreSQL):
    pass


class TestPostgreSQLAsync(PostgreSQL):
    colour = "async"


class MariaDB(SQL):
    family = "mysql"


class TestMariaDB(MariaDB):
    windows = 1000
    fresh_rules = 200


class TestMariaDBOffloaded(Offloaded, MariaDB):
    pass


class TestMariaDBAsync(MariaDB):
    colour = "async"

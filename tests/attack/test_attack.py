"""Kills, interrupts and cut connections at random moments: nothing acknowledged is lost, half there, or left behind.

Nothing here is shared with the stores or the contract kit: workers use the public doors, and note what they were told.
"""

import os
import sys
import time
from contextlib import ExitStack
from functools import partial
from urllib.parse import urlsplit

import pytest

from ..servers import fresh_mysql, fresh_postgresql, mysql_server, postgresql_server
from .attack import attacked, side_by_side
from .stores import Place

pytestmark = [pytest.mark.faults]

CI = {"kills": 8, "interrupts": 145, "cuts": 13}
SOAK = {"kills": 75, "interrupts": 1_450, "cuts": 130}
"""For each store, of which there are seven, four of them on servers."""


def places(directory, stack):
    """Every store that can be had here, empty."""
    found = [
        Place("jsonl", f"jsonl://{directory}/jsonl"),
        Place("sqlite", f"sqlite:///{directory}/sync.db"),
        Place("aiosqlite", f"sqlite+aiosqlite:///{directory}/async.db", "async"),
    ]
    for driver, colour in (("", "sync"), ("+psycopg", "async")):
        if postgresql_server()[0] is not None:
            url = stack.enter_context(fresh_postgresql()).replace("postgresql://", f"postgresql{driver}://", 1)
            name = f"psycopg-{colour}"
            found.append(Place(name, f"{url}&application_name=attacked-{name}", colour, _server(url)))
    for driver, colour in (("pymysql", "sync"), ("asyncmy", "async")):
        if mysql_server()[0] is not None:
            url = stack.enter_context(fresh_mysql()).replace("mysql://", f"mysql+{driver}://", 1)
            found.append(Place(driver, url, colour, _server(url)))
    return found


def _server(url):
    parts = urlsplit(url)
    return parts.hostname, parts.port


ONLY = os.environ.get("F1MON_ATTACKED")
"""The one store that is attacked, by its name; all if it is not set."""


@pytest.mark.parametrize("sizes", [CI, pytest.param(SOAK, marks=pytest.mark.soak)], ids=["short", "long"])
def test_what_was_acknowledged_survives_every_attack(sizes, tmp_path, record_testsuite_property):
    began = time.monotonic()
    with ExitStack() as stack:
        accounts = side_by_side(
            {
                one.name: partial(attacked, one, tmp_path, **sizes, seed=len(one.name))
                for one in places(tmp_path, stack)
                if ONLY in (None, one.name)
            }
        )
    for name, one in accounts.items():
        told = f"{one.kills} kills, {one.interrupts} interrupts, {one.cuts} cuts, {one.acknowledged} acknowledged"
        sys.stdout.write(f"{name}: {told}, {one.refused} refused, faults {one.faults}\n")
        record_testsuite_property(name, told)
    sys.stdout.write(f"{time.monotonic() - began:.0f} s\n")
    assert {name: one.faults for name, one in accounts.items() if one.faults} == {}
    for name, one in accounts.items():
        on_server = name not in ("jsonl", "sqlite", "aiosqlite")
        assert (one.kills, one.cuts) == (sizes["kills"], sizes["cuts"] * on_server), name
        assert one.interrupts >= sizes["interrupts"], name


@pytest.mark.parametrize(
    ("fault", "kind", "sizes"),
    [
        ("early", "lost", {"kills": 6, "interrupts": 0}),
        ("half", "half", {"kills": 12, "interrupts": 60}),
        ("twice", "half", {"kills": 0, "interrupts": 5}),
        ("leaky", "left", {"kills": 0, "interrupts": 1}),
        ("holding", "left", {"kills": 0, "interrupts": 10}),
    ],
)
def test_a_store_that_breaks_its_word_is_found(fault, kind, sizes, tmp_path):
    account = attacked(Place("planted", f"sqlite:///{tmp_path}/f1mon.db"), tmp_path, cuts=0, fault=fault, **sizes)
    assert kind in account.faults, account

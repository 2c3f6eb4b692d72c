"""What carrying a store costs in memory: pages, and never the store."""

import json
import subprocess
import sys
import tracemalloc
from contextlib import ExitStack, closing

import pytest

from f1mon_core.storage.registry import open_storage
from f1mon_core.storage.select import Select
from f1mon_core.testing.facts import NOON, SECOND, outcome, prediction

from ..servers import FRESH

LIMIT = 300
"""MiB of a whole process that carries a million predictions."""
INDEX = 330
"""MiB a million predictions that the file backend's index takes by itself, whoever reads it."""


def fill(store, size):
    """Write so many predictions, each with features and an outcome."""
    for start in range(0, size, 5_000):
        numbers = range(start, min(size, start + 5_000))
        made = [
            prediction(
                f"req-{number:07d}", at=NOON + number * SECOND, features={"grid": number % 20, "speed": number / 7}
            )
            for number in numbers
        ]
        store.append([*made, *(outcome(f"req-{number:07d}", number % 2, NOON + number * SECOND) for number in numbers)])


def test_a_page_takes_no_more_memory_than_the_one_before(tmp_path):
    with ExitStack() as stack:
        source, target = (
            stack.enter_context(closing(open_storage("sql", url=f"sqlite:///{tmp_path}/{name}.db")))
            for name in ("source", "target")
        )
        fill(source, 2_500)
        target.restore(source.dump().records)  # what a first call costs is paid before
        after, peaks = None, []
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        while True:
            tracemalloc.reset_peak()
            page = source.dump(after)
            target.restore(page.records)
            peaks.append(tracemalloc.get_traced_memory()[1])
            after = page.after
            if after is None:
                break
        assert len(peaks) == 3
        # The second holds predictions and outcomes, the third outcomes alone.
        assert max(peaks[1:]) < 1.3 * peaks[0], peaks


CARRIES = """
import json, resource, sys, time
from f1mon_core.storage.registry import open_storage
source, target = (open_storage(name, **options) for name, options in json.loads(sys.argv[1]))
began, after = time.monotonic(), None
while True:
    page = source.dump(after)
    target.restore(page.records)
    after = page.after
    if after is None:
        break
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, time.monotonic() - began]))
"""


@pytest.mark.soak
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("sqlite", "sqlite"),
        ("sqlite", "jsonl"),
        ("jsonl", "sqlite"),
        pytest.param("sqlite", "postgresql", marks=pytest.mark.servers),
        pytest.param("sqlite", "mysql", marks=pytest.mark.servers),
        pytest.param("postgresql", "sqlite", marks=pytest.mark.servers),
    ],
)
def test_a_million_predictions_are_carried_within_300_mib(source, target, tmp_path):
    size = 1_000_000
    with ExitStack() as stack:

        def place(store, name):
            if store == "jsonl":
                return "jsonl", {"path": f"{tmp_path}/{name}"}
            if store == "sqlite":
                return "sql", {"url": f"sqlite:///{tmp_path}/{name}.db"}
            return "sql", {"url": stack.enter_context(FRESH[store]())}

        places = place(source, "source"), place(target, "target")
        name, options = places[0]
        with closing(open_storage(name, **options)) as store:
            fill(store, size)
        command = [sys.executable, "-c", CARRIES, json.dumps(places)]
        mib, seconds = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"{source} into {target}: {mib} MiB, {seconds:.0f} s")  # noqa: T201 - shown by -rP
        assert mib < LIMIT + INDEX * [source, target].count("jsonl")
        name, options = places[1]
        with closing(open_storage(name, **options)) as store:
            assert store.count(Select("prediction")) == store.count(Select("outcome")) == {(): size}

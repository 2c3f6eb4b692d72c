"""What the tests of the file backend share."""

import os
import signal
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest

from f1mon_core.storage.select import Select
from f1mon_jsonl import JSONLStorage


class Store:
    """One directory, and handles on it that are closed in the end."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.journal = self.directory / "journal.jsonl"
        self.handles = []

    def open(self, **options):
        self.handles.append(JSONLStorage(self.directory, **options))
        return self.handles[-1]

    def close(self):
        for handle in self.handles:
            handle.close()

    def lines(self):
        return self.journal.read_bytes().splitlines(keepends=True)

    def aside(self):
        return sorted(path.name for path in self.directory.glob("*.bytes"))

    def ids(self, handle=None):
        """The ids of all predictions in order of time, read by a handle, or by a new one."""
        return [one.prediction_id for one in (handle or self.open()).find(Select("prediction"))]

    @contextmanager
    def child(self, work):
        """A forked process that does `work` and then waits to be killed; the test goes on once the work is done."""
        reading, writing = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                os.close(reading)
                work(lambda: os.write(writing, b"!"))
                signal.pause()
            finally:
                os._exit(1)
        os.close(writing)
        try:
            assert os.read(reading, 1) == b"!"
            yield pid
        finally:
            os.close(reading)
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def forked(self, *works):
        """Run each piece of work in a process of its own, all at once; whether all ended well."""
        pids = []
        for work in works:
            if (pid := os.fork()) == 0:
                code = 1
                try:
                    work()
                    code = 0
                except BaseException:  # noqa: BLE001 - whatever it is, it is told and counted
                    traceback.print_exc()
                finally:
                    os._exit(code)
            pids.append(pid)
        return all([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0 for pid in pids])  # noqa: C419 - wait for all


@pytest.fixture
def place(tmp_path):
    store = Store(tmp_path / "store")
    yield store
    store.close()

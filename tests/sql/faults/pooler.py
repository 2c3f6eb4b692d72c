"""A PgBouncer of a test's own, on a port of its own, before the PostgreSQL that tests use."""

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
from sqlalchemy.engine import URL


class PgBouncer:
    """A context manager around one pooler in transaction mode with few sessions of the server to hand out."""

    def __init__(self, server: URL, *, mode: str = "transaction", sessions: int = 2, **more: object) -> None:
        self.server = server
        self.more = {"pool_mode": mode, "default_pool_size": sessions, "max_client_conn": 500, **more}
        found = shutil.which("pgbouncer", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
        if found is None:
            pytest.skip("there is no pgbouncer to start here: apt-get install pgbouncer")
        self.binary = found
        self.home = Path(tempfile.mkdtemp(prefix="f1mon-pgbouncer-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    def __enter__(self) -> Self:
        settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": self.port,
            "unix_socket_dir": "",
            "auth_type": "any",
            "logfile": self.home / "log",
            "server_reset_query": "",
            **self.more,
        }
        lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
        place = f"host={self.server.host} port={self.server.port or 5432} user={self.server.username}"
        configuration = self.home / "pgbouncer.ini"
        configuration.write_text(f"[databases]\n* = {place}\n[pgbouncer]\n{lines}\n")
        user = None
        if os.geteuid() == 0:  # as which it refuses to run
            user = "postgres" if "postgres" in {entry.pw_name for entry in pwd.getpwall()} else "nobody"
            for path in (self.home, configuration):
                shutil.chown(path, user)
        self.process = subprocess.Popen(
            [self.binary, "-q", configuration], user=user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + 20
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None or time.monotonic() > until:
                log = self.home / "log"
                pytest.fail(f"pgbouncer did not start: {log.read_text() if log.exists() else self.process.poll()}")
            time.sleep(0.02)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)
        shutil.rmtree(self.home)

    def through(self, url: str | URL) -> str:
        """The address of the same place through the pooler."""
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - with its name in the test's own words

        return make_url(url).set(host="127.0.0.1", port=self.port).render_as_string(hide_password=False)

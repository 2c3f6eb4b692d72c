"""A MariaDB server of a test's own, in a temporary directory, to be made read-only or stopped at will."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest


class MariadbServer:
    """A context manager around one server that listens on loopback only; `root` and `app` have no password."""

    def __init__(self, *options: str) -> None:
        search = os.pathsep.join([os.environ["PATH"], "/usr/sbin"])
        found = [shutil.which(name, path=search) for name in ("mariadbd", "mariadb-install-db")]
        if None in found:
            pytest.skip("there is no MariaDB server to start here")
        self.daemon, self.install = found
        self.options = options
        self.home = Path(tempfile.mkdtemp(prefix="f1mon-mariadb-"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"mysql://app@127.0.0.1:{self.port}/f1mon"

    def __enter__(self) -> Self:
        user = None
        if os.geteuid() == 0:  # as which it refuses to run
            names = {entry.pw_name for entry in pwd.getpwall()}
            user = "mysql" if "mysql" in names else "nobody"
            shutil.chown(self.home, user)
        data = f"--datadir={self.home / 'data'}"
        quiet: dict[str, Any] = {"user": user, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        made = [self.install, "--no-defaults", data, "--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run(made, check=True, **quiet)
        files = (f"--socket={self.home / 's'}", f"--pid-file={self.home / 'pid'}", f"--log-error={self.home / 'log'}")
        net = (f"--port={self.port}", "--bind-address=127.0.0.1", "--innodb-buffer-pool-size=32M")
        self.process = subprocess.Popen([self.daemon, "--no-defaults", data, *files, *net, *self.options], **quiet)
        until = time.monotonic() + 60
        while not (self.home / "s").exists():  # it is made when the server is ready
            if self.process.poll() is not None or time.monotonic() > until:
                pytest.fail("MariaDB did not start: " + (self.home / "log").read_text()[-2000:])
            time.sleep(0.05)
        self.run("CREATE DATABASE f1mon", "CREATE USER app@'%'", "GRANT ALL ON f1mon.* TO app@'%'")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait(60)
        shutil.rmtree(self.home)

    def run(self, *statements: str) -> None:
        """Run statements as root, over the server's own socket."""
        import pymysql  # noqa: PLC0415 - only where these tests run

        operator = pymysql.connect(unix_socket=str(self.home / "s"), user="root")
        with closing(operator), operator.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

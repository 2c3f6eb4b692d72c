"""The command line, run in this process."""

import os
from collections.abc import Callable
from typing import NamedTuple

import pytest

from f1mon_core.cli import f1mon


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Nothing of the developer's settings, and a working directory of its own."""
    for name in list(os.environ):
        if name.startswith(("F1MON_BACKEND", "F1MON_URL", "MONITORING_DB_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


class Result(NamedTuple):
    """What one run of the command line left behind."""

    stdout: str
    stderr: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run `f1mon ARGUMENTS` and expect its exit code."""

    def run(*arguments: str, code: int = 0) -> Result:
        with pytest.raises(SystemExit) as ended:
            f1mon.main(arguments, prog_name="f1mon")
        result = Result(*capsys.readouterr())
        assert (ended.value.code or 0) == code, result
        return result

    return run

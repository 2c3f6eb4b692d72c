"""The stores that existing deployments have, chosen as they choose them: by the environment."""

import os
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

EMBEDDED = ("jsonl", "sqlite")


@attrs.frozen
class Deployment:
    """A data directory of the old system, and the variables that are set."""

    data_dir: Path
    environment: dict[str, str]

    def url(self) -> tuple[str, dict[str, str]]:
        """The backend and options that open the same store natively."""
        if "MONITORING_DB_PATH" in self.environment:
            return "sql", {"url": f"sqlite:///{self.environment['MONITORING_DB_PATH']}"}
        return "jsonl", {"path": str(self.data_dir)}


def deployed(backend: str, directory: Path) -> Deployment:
    """A deployment of the old system with this backend."""
    if backend == "jsonl":
        return Deployment(directory, {"MONITORING_DB_ENABLED": "false"})
    path = str(directory.with_suffix(".db"))
    variables = {"ENABLED": "true", "TYPE": "sqlite", "PATH": path}
    return Deployment(directory, {f"MONITORING_DB_{name}": value for name, value in variables.items()})


@pytest.fixture(scope="session")
def deploy() -> Callable[[str, Path], Deployment]:
    """Make the deployment of a backend in a directory."""
    return deployed


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("F1MON_BACKEND", "F1MON_URL", "MONITORING_DB_"))]:
        monkeypatch.delenv(name)


@pytest.fixture(params=EMBEDDED)
def deployment(request, tmp_path, monkeypatch) -> Deployment:
    """An empty data directory under each embedded backend, its environment set."""
    made = deployed(request.param, tmp_path / "monitoring")
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made

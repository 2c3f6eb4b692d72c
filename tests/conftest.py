"""What all tests share."""

import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import settings

from f1mon_core import Monitor
from f1mon_core.delivery.channels import Channels
from f1mon_core.storage.memory import MemoryStorage

from . import servers
from .factories import rule
from .servers import fresh_mysql, fresh_postgresql

# How long one example takes depends on what else the machine does; the suite's own timeout is the limit.
settings.register_profile("f1mon", deadline=None)
settings.load_profile("f1mon")


SHARED_DATA = Path(os.environ.get("F1MON_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real Formula 1 input beside the checkout; its tests are left out, with this reason, without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"the folder of real input is not there: {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def kept_places() -> Iterator[None]:
    """What was kept on servers for the next test goes with the last."""
    yield
    servers.leave()


@pytest.fixture
def postgresql_url():
    """An empty PostgreSQL schema of its own."""
    with fresh_postgresql() as url:
        yield url


@pytest.fixture
def mysql_url():
    """An empty MariaDB or MySQL database of its own."""
    with fresh_mysql() as url:
        yield url


@pytest.fixture(autouse=True)
def nothing_checked_out() -> Iterator[None]:
    """Every connection to a database is back in its pool after every test."""
    yield
    if (module := sys.modules.get("f1mon_sql.connect.engine")) is not None:
        out = {engine: count for engine in module._engines if (count := getattr(engine.pool, "checkedout", int)())}
        assert not out


@pytest.fixture
def install_distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put a real little distribution on the path: its metadata as an installer writes it, and its modules."""
    modules: set[str] = set()
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, source: str, *, group: dict[str, str], requires: tuple[str, ...] = ()) -> None:
        module = name.replace("-", "_")
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        extras = {line.partition("extra == '")[2].rstrip("'") for line in requires}
        info.joinpath("METADATA").write_text(
            "\n".join(
                [
                    "Metadata-Version: 2.1",
                    f"Name: {name}",
                    "Version: 1.0",
                    *(f"Provides-Extra: {extra}" for extra in extras),
                    *(f"Requires-Dist: {line}" for line in requires),
                    "",
                ]
            )
        )
        points = [f"[{group_name}]\n{line}" for group_name, line in group.items()]
        info.joinpath("entry_points.txt").write_text("\n".join(points) + "\n")
        (tmp_path / f"{module}.py").write_text(dedent(source))
        modules.add(module)

    yield install
    for module in modules:
        sys.modules.pop(module, None)


class Hands:
    """A clock set by hand."""

    def __init__(self):
        self.now = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def __call__(self):
        return self.now

    def forward(self, minutes):
        self.now += timedelta(minutes=minutes)


class Recorder:
    """A channel that keeps what it was sent, or raises what it was told to."""

    def __init__(self, error=None):
        self.messages = []
        self.error = error

    def send(self, message):
        self.messages.append(message)
        if self.error is not None:
            raise self.error


@pytest.fixture
def clock():
    return Hands()


@pytest.fixture
def channels(tmp_path):
    return Channels(directory=tmp_path, environ={})


@pytest.fixture
def monitor(clock, channels):
    with Monitor(MemoryStorage(clock=clock), channels=channels) as opened:
        yield opened


@pytest.fixture
def accuracy_low():
    return rule(channels=("spy",))


@pytest.fixture
def spy(channels):
    made = Recorder()
    channels.register("spy", made)
    return made

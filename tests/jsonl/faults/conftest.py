"""What the fault harness counted, printed at the end of the run."""

import warnings
from collections.abc import Callable, Iterator

import pytest

from f1mon_core.errors import DamagedStoreWarning

_LINES = pytest.StashKey[list[str]]()


@pytest.fixture(autouse=True)
def damage_expected() -> Iterator[None]:
    """Harmed stores warn, which is no error here; the children that are forked inherit it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedStoreWarning)
        yield


@pytest.fixture
def counted(request: pytest.FixtureRequest) -> Callable[[str, int, int], None]:
    """Note how much was tried, and how many violations were found."""

    def note(what: str, tried: int, violations: int) -> None:
        lines = request.config.stash.setdefault(_LINES, [])
        lines.append(f"{tried:>8} {what}: {violations} violations")

    return note


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the counts."""
    if lines := config.stash.get(_LINES, None):
        terminalreporter.section("fault harness")
        for line in lines:
            terminalreporter.write_line(line)

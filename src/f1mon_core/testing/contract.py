"""The contract of a store as one class of laws: subclass it, say where a fresh store lives, run pytest."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Literal

import attrs
import pytest

from f1mon_core.testing.failures import Failure, failure_of
from f1mon_core.testing.laws.again import AgainLaws
from f1mon_core.testing.laws.append import AppendLaws
from f1mon_core.testing.laws.base import Claim, claims_of
from f1mon_core.testing.laws.dump import DumpLaws
from f1mon_core.testing.laws.durability import DurabilityLaws
from f1mon_core.testing.laws.edges import EdgeLaws
from f1mon_core.testing.laws.find import CountLaws, FindLaws
from f1mon_core.testing.laws.handles import HandleLaws
from f1mon_core.testing.laws.hostile import HostileLaws
from f1mon_core.testing.laws.items import ItemLaws
from f1mon_core.testing.laws.kills import KillLaws
from f1mon_core.testing.laws.meanwhile import MeanwhileLaws
from f1mon_core.testing.laws.prune import PruneLaws
from f1mon_core.testing.laws.races import RaceLaws
from f1mon_core.testing.laws.tally import TallyLaws
from f1mon_core.testing.laws.transition import StateLaws, TransitionLaws
from f1mon_core.testing.location import Location

PREFIX = "test_"


class StorageContract(
    AppendLaws,
    ItemLaws,
    FindLaws,
    CountLaws,
    TallyLaws,
    TransitionLaws,
    StateLaws,
    PruneLaws,
    DumpLaws,
    AgainLaws,
    EdgeLaws,
    MeanwhileLaws,
    HandleLaws,
    HostileLaws,
    DurabilityLaws,
    RaceLaws,
    KillLaws,
):
    """Every law of `f1mon_core.storage`.

    Subclass it under a name that pytest collects and override `location`:

        class TestMyStore(StorageContract):
            @contextmanager
            def location(self):
                with tempfile.TemporaryDirectory() as directory:
                    yield Location("mystore", path=f"{directory}/store")

    `colour = "async"` holds the backend's native async store to the same laws, `colour = "offloaded"` its sync store
    behind `OffloadedStorage`. A law about a claim that the `Backend` record does not make is skipped with the reason
    "not claimed: …"; every other law must hold.
    """


def _laws() -> dict[str, Callable[[Any], None]]:
    found: dict[str, Callable[[Any], None]] = {}
    for owner in StorageContract.__mro__[1:]:
        for name, law in vars(owner).items():
            if name.startswith(PREFIX) and callable(law):
                found.setdefault(name.removeprefix(PREFIX), law)
    return found


LAWS: Mapping[str, Callable[[Any], None]] = _laws()
"""Every law by its name, in the order of the contract."""


@attrs.frozen
class Verdict:
    """How a store stood one law.

    Attributes:
        law: The law's name.
        status: "pass", "fail", "not claimed", or "skipped" if `location` offered no place.
        claims: What a backend claims that this law is about.
        error: What broke, None unless it failed.
        reason: Why it was skipped; empty unless it was.
    """

    law: str
    status: Literal["pass", "fail", "not claimed", "skipped"]
    claims: tuple[Claim, ...] = ()
    error: BaseException | None = None
    reason: str = ""

    @property
    def failure(self) -> Failure | None:
        """What was done, expected and seen; None unless it failed."""
        return None if self.error is None else failure_of(self.error, LAWS[self.law])

    @property
    def trace(self) -> str:
        """The traceback of the failure; empty if there is none."""
        return "" if self.error is None else "".join(traceback.format_exception(self.error))


def run_law(location: Callable[[], AbstractContextManager[Location]], law: str, **settings: Any) -> Verdict:
    """Hold a store to one law by its name, without a test runner.

    Args:
        location: As `StorageContract.location`, without `self`.
        law: A name of `LAWS`.
        **settings: Attributes of the contract: `colour`, `examples`, …

    Returns:
        The verdict; a law that fails does not raise.

    Raises:
        LookupError: If there is no such law.
    """
    claims = claims_of(LAWS[law])
    attributes = {**settings, "location": staticmethod(location)}
    contract = type("Judged", (StorageContract,), attributes)()
    try:
        getattr(contract, PREFIX + law)()
    except pytest.skip.Exception as skipped:
        if contract.unclaimed:
            return Verdict(law, "not claimed", claims)
        return Verdict(law, "skipped", claims, reason=str(skipped))
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001 - whatever breaks a law is its verdict
        return Verdict(law, "fail", claims, error)
    return Verdict(law, "pass", claims)

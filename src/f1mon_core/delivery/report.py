"""What a round came to, what waits, and what is dead."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, cast

import attrs

from f1mon_core.alerts import outbox
from f1mon_core.alerts.grouping import Grouping
from f1mon_core.delivery.attempts import Outcome
from f1mon_core.errors import CorruptStoreError
from f1mon_core.records.fields import Document
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.kinds import Delivery
from f1mon_core.storage import plans
from f1mon_core.storage.contract import CheckReport, Problem
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import check_collection, check_text

_IDS_PER_QUESTION = 500


@attrs.frozen
class DeliveryReport:
    """What one round came to.

    Attributes:
        outcomes: How many deliveries came to what: "delivered", "failed" (to be repeated), "dead", "silenced",
            "dropped" (nothing to tell any more), "lost" (another worker took it), "waiting" (nobody here knows it, or
            for its alert), "grouped" (for others to be told with), "inhibited" (while another rule fires).
        unfinished: Channels that were still busy when the time to wait was over.
    """

    outcomes: Mapping[str, int] = attrs.field(factory=dict)
    unfinished: tuple[str, ...] = ()

    def __getitem__(self, outcome: Outcome) -> int:
        return self.outcomes.get(outcome, 0)

    @property
    def delivered(self) -> int:
        """How many arrived."""
        return self["delivered"]


@attrs.frozen
class Pending:
    """A delivery on its way, or a dead letter.

    Attributes:
        due: When it is tried next; None for a dead letter.
        attempts, failures: How often it was taken, and how often it was reported to have failed.
        error: The last failure.
        inhibited_by: The rule that keeps it from being told, as far as a worker has looked.
        silenced: Whether a silence held it back when it was last looked at.
        group: By what its rule groups it, e.g. ["rule"]; of a channel that groups the channel says.
    """

    alert_id: str
    channel: str
    name: str
    purpose: str
    created: int
    due: int | None
    attempts: int
    failures: int
    error: str | None
    inhibited_by: str | None = None
    silenced: bool = False
    group: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: Document) -> Pending:
        """What a state document of the outbox says."""
        grouping = Grouping.of_document(document.get("group"))
        known: dict[str, Any] = {
            "inhibited_by": outbox.inhibited_by(document),
            "silenced": bool(document.get("silenced")),
            "group": () if grouping is None else grouping.by,
        }
        names = {field.name for field in attrs.fields(cls)} - known.keys()
        return cls(**{name: cast("Any", document.get(name)) for name in names}, **known)


def pending() -> Plan[list[Pending]]:
    """What is on its way, oldest first."""
    return [Pending.of(one) for one in outbox.sound((yield from plans.state(outbox.WAITING))).values()]


def dead() -> Plan[list[Pending]]:
    """The dead letters, oldest first."""
    return [Pending.of(one) for one in (yield from outbox.dead_letters()).values()]


def checked() -> Plan[CheckReport]:
    """What the store finds when it reads itself whole, and which deliveries nobody can be told by."""
    report = yield from plans.check()
    problems = [*report.problems]
    for prefix, is_dead in ((outbox.WAITING, False), (outbox.DEAD, True)):
        try:
            found = yield from plans.state(prefix)
        except CorruptStoreError as error:
            problems.append(Problem("error", f"state {prefix!r}", f"the deliveries cannot be read: {error}"))
            break
        for key, document in found.items():
            if (flaw := outbox.flaw(document, is_dead=is_dead)) is not None:
                problems.append(
                    Problem("error", f"state {key!r}", f"a damaged delivery, by which nobody is told: {flaw}")
                )
    return attrs.evolve(report, problems=problems)


def delivered(alert_ids: Collection[str]) -> Plan[list[Delivery]]:
    """What reached a channel of some alerts, oldest first. Raises `InvalidQueryError` if they are no alert ids."""
    wanted, found = check_collection("alert_ids", alert_ids, "alert ids"), []
    for one in wanted:
        check_text("alert_ids", one)
    for begin in range(0, len(wanted), _IDS_PER_QUESTION):
        select = Select.of(Delivery, where={"alert_id": wanted[begin : begin + _IDS_PER_QUESTION]})
        found += list((yield from plans.find(select)))
    return sorted(found, key=lambda one: one.instant)


def retry_dead(alert_id: str | None = None, channel: str | None = None) -> Plan[int]:
    """Put dead letters back on their way: all, those of an alert, or of a channel. Returns how many."""
    revived = 0
    for key, document in (yield from outbox.dead_letters()).items():
        if alert_id in (None, document["alert_id"]) and channel in (None, document["channel"]):
            revived += bool((yield from plans.settle(key, outbox.revive(), operation_id=new_operation_id())))
    return revived

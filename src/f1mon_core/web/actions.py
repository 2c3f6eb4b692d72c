"""What may be done on a page: each is one call of the monitor, and says where to look afterwards."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

import attrs

from f1mon_core.alerts.silences import MATCHED
from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.monitor import AsyncMonitor
from f1mon_core.web.asked import Query

_LONGEST = 366.0 * 24


@attrs.frozen
class Form:
    """What a form brought, and who sent it.

    Attributes:
        fields: Name to text.
        actor: Whom the proxy names.
        named: Whether a proxy names the user: what the form says of it then counts for nothing.
    """

    fields: Mapping[str, str]
    actor: str | None
    named: bool

    @property
    def by(self) -> str | None:
        """Who does it."""
        return self.actor if self.named else self.text("by")

    def text(self, name: str) -> str | None:
        """A text without the white space around it; None for an empty one."""
        return self.fields.get(name, "").strip() or None

    def exact(self, name: str) -> str | None:
        """An id or a name, as it stands; None for an empty one."""
        return self.fields.get(name) or None

    def needed(self, name: str) -> str:
        """An id or a name that must be there."""
        if (found := self.exact(name)) is None:
            raise InvalidQueryError(f"{name} is needed")
        return found

    def hours(self) -> timedelta:
        """How long a silence lasts: it has an end."""
        given = self.needed("hours")
        try:
            found = float(given)
        except ValueError as error:
            raise InvalidQueryError(f"hours must be a number, got {shown(given)}") from error
        if not 0 < found <= _LONGEST:
            raise InvalidQueryError(f"a silence lasts more than 0 and at most {_LONGEST:g} hours, got {shown(given)}")
        return timedelta(hours=found)


DONE: Mapping[str, str] = {
    "acknowledged": "Acknowledged.",
    "acknowledged-before": "Somebody had acknowledged it before; nothing was changed.",
    "silenced": "Silenced. Alerts that match are stored and not told until it ends.",
    "lifted": "The silence is lifted; what it held back is looked at again.",
    "retried": "On its way again.",
    "discarded": "Given up; the incident's history has the reason.",
    "gone": "It was no dead letter any more; nothing was changed.",
    "resolved": "Resolved; the history has the reason.",
}
"""What the page after an action says, by the word its address brings: no address can put words into a page's mouth."""

Went: TypeAlias = tuple[str, dict[str, Any]]
Action: TypeAlias = Callable[[AsyncMonitor, Form], Awaitable[Went]]


async def acknowledge(monitor: AsyncMonitor, form: Form) -> Went:
    """Take an alert on."""
    alert_id = form.needed("alert_id")
    done = await monitor.acknowledge(alert_id, form.by, form.text("note"))
    return "incident", {"id": alert_id, "done": "acknowledged" if done.new else "acknowledged-before"}


async def silence(monitor: AsyncMonitor, form: Form) -> Went:
    """Store matching alerts for a time without telling anybody."""
    match: dict[str, Any] = {name: found for name in MATCHED if (found := form.exact(name)) is not None}
    where = Query({"where": form.fields.get("where", "")}).where()
    if not match and not where and form.exact("everything") != "yes":
        raise InvalidQueryError("a silence of everything must be asked for as such: tick the box")
    end = await monitor.now() + form.hours()
    await monitor.silence(end, **match, where=where or None, by=form.by, comment=form.text("comment"))
    return "silences", {"done": "silenced"}


async def lift(monitor: AsyncMonitor, form: Form) -> Went:
    """End a silence."""
    await monitor.lift_silence(form.needed("silence_id"))
    return "silences", {"done": "lifted"}


async def retry(monitor: AsyncMonitor, form: Form) -> Went:
    """Put a dead letter back on its way."""
    revived = await monitor.retry_dead_letters(form.needed("alert_id"), form.needed("channel"))
    return "deliveries", {"done": "retried" if revived else "gone"}


async def discard(monitor: AsyncMonitor, form: Form) -> Went:
    """Give a dead letter up."""
    names = {"alert_id": form.needed("alert_id"), "channel": form.needed("channel")}
    given_up = await monitor.discard_dead_letters(form.text("reason") or "", by=form.by, **names)
    return "deliveries", {"done": "discarded" if given_up else "gone"}


async def resolve(monitor: AsyncMonitor, form: Form) -> Went:
    """End an incident by hand."""
    incident_id = form.needed("incident_id")
    await monitor.resolve(incident_id, form.text("reason") or "", form.by)
    return "incident", {"id": incident_id, "done": "resolved"}


ACTIONS: tuple[tuple[str, Action], ...] = (
    ("acknowledge", acknowledge),
    ("silence", silence),
    ("lift", lift),
    ("retry", retry),
    ("discard", discard),
    ("resolve", resolve),
)
"""The path of each action."""

"""What a channel is told of several alerts at once: one message, a line an alert."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from f1mon_core.alerts.outbox import Purpose
from f1mon_core.alerts.rules import rank
from f1mon_core.delivery.messages import Message, Section, acknowledge_command, prefix_of, rendered
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Alert
from f1mon_core.text import one_line

_LINE_CHARACTERS = 300


@attrs.frozen
class Told:
    """One alert of a message of several.

    Attributes:
        end: How it ended, if it did.
        late: Whether this is not the first attempt.
    """

    alert: Alert
    end: Document | None = None
    late: bool = False


def most_severe_first(told: Sequence[Told]) -> list[Told]:
    """The order of the lines: the most severe first, then the oldest."""
    return sorted(told, key=lambda one: (-rank(one.alert.severity), one.alert.alert_id))


def rendered_together(
    told: Sequence[Told],
    purpose: Purpose,
    key: str,
    common: Mapping[str, Any],
    sections: Sequence[Section] = (),
    *,
    store: str | None = None,
) -> Document:
    """What is kept of the message of several alerts, without what follows from its lines: so that it stays small.

    Args:
        told: The alerts, in the order of their lines.
        purpose: What is told of all of them.
        key: The idempotency key.
        common: What they have in common, by "rule", "model" and "component".
        sections: What enrichment added to the first.
        store: The address of their store, without secrets.
    """
    lines: list[Json] = []
    for one in told:
        alone = rendered(one.alert, purpose, key, end=one.end, late=one.late).subject
        ended = "" if one.end is None else f"; {one_line(str(one.end['reason']), 80)}"
        lines.append(f"{one_line(alone + ended, _LINE_CHARACTERS)} (alert {one_line(one.alert.alert_id)})")
    closed = all(one.end is not None and one.end["event"] == "closed" for one in told)
    shared = ", ".join(f"{name} {value}" for name, value in common.items() if value is not None)
    of_what = one_line(f"{len(told)} alerts" + (f" of {shared}" if shared else ""), 200)
    first = told[0].alert
    prefix = prefix_of(purpose, {"event": "closed" if closed else "resolved"})
    over = purpose == "resolved" or all(one.end is not None for one in told)
    return {
        "key": key,
        "subject": f"{prefix}[{first.severity.upper()}] {of_what}",
        "alert_ids": [one.alert.alert_id for one in told],
        "lines": lines,
        "sections": [[one_line(part.heading), [one_line(line) for line in part.lines]] for part in sections],
        "todo": None if over else acknowledge_command(first, store),
    }


def of_document(found: Any, alerts: Mapping[str, Alert], purpose: str) -> Message | None:
    """The message of what was kept; None if that is none of several, or none of its alerts is stored any more."""
    if not isinstance(found, Mapping) or "alert_ids" not in found:
        return None
    held = [alerts[one] for one in found["alert_ids"] if one in alerts]
    if not held:
        return None
    subject, lines, sections, todo = (found[name] for name in ("subject", "lines", "sections", "todo"))
    text = [subject, "", *(f"- {line}" for line in lines)]
    for heading, more in sections:
        text += ["", f"{heading} (of the first):", *(f"- {line}" for line in more)]
    text += [""] if todo is None else ["", f"To take the first on (each has its own id): {todo}"]
    escape = html.escape
    added = "".join(f"<h4>{escape(heading)} (of the first)</h4>{_list(more)}" for heading, more in sections)
    last = "" if todo is None else f"<p>To take the first on (each has its own id): <code>{escape(todo)}</code></p>"
    return Message(
        found["key"],
        purpose,
        held[0].severity,
        subject,
        "\n".join(text),
        f"<h3>{escape(subject)}</h3>{_list(lines)}{added}{last}",
        held[0],
        alerts=tuple(held),
        lines=tuple(lines),
    )


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(line)}</li>' for line in lines)}</ul>"

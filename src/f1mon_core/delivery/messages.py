"""What a channel is told: an alert as text, as HTML and as data, with everything hostile in it made harmless."""

from __future__ import annotations

import html
import re
import shlex
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, cast

import attrs

from f1mon_core.alerts.outbox import Purpose
from f1mon_core.records import documents
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Alert
from f1mon_core.records.times import from_micros
from f1mon_core.text import apart, one_line, told_segments

_SUBJECT_CHARACTERS = 200
_MASKED_ACCOUNT = re.compile(r"(://[^/:@]*):\*\*\*@")
_PREFIX: Mapping[str, str] = {
    "alert": "",
    "reminder": "Reminder: ",
    "resolved": "Resolved: ",
    "test": "",
}


@attrs.frozen
class Section:
    """A headed list of lines that enrichment adds to a message."""

    heading: str
    lines: Sequence[str]


@attrs.frozen
class Message:
    """One message for one channel; the same for every attempt to deliver it.

    Attributes:
        key: The idempotency key: the alert's id, and what is told of it where it is not the alert itself.
        purpose: "alert", "reminder" or "resolved"; "test" of a message that is about nothing.
        severity: info, warning or critical.
        subject: One line, fit for a mail header.
        text: Plain text of several lines.
        html: The same as an HTML fragment.
        alert: The alert as it is stored; a callback gets this one.
        end: Of "resolved", and of what is told only after it had ended: the event ("resolved", or "closed" by an
            edit), the reason, the value then, and when it began and ended, in microseconds since 1970. None where an
            older f1mon wrote it.
        alerts: Of a message of several alerts all of them, the most severe first, which is `alert`; else empty.
        lines: What such a message says of each of them.
    """

    key: str
    purpose: str
    severity: str
    subject: str
    text: str
    html: str
    alert: Alert
    end: Document | None = None
    alerts: Sequence[Alert] = ()
    lines: Sequence[str] = ()

    def to_document(self) -> Document:
        """As a JSON object, without the alert, which is stored already; of a message of one alert."""
        return attrs.asdict(self, filter=attrs.filters.exclude("alert", "alerts", "lines"))

    @classmethod
    def of_document(cls, document: Any, alert: Alert) -> Message | None:
        """The message of a JSON object and its alert; None if another f1mon wrote it with other fields."""
        names = {field.name for field in attrs.fields(cls)} - {"alert", "alerts", "lines"}
        if not isinstance(document, Mapping) or {*document, "end"} != names:
            return None
        return cls(**document, alert=alert)

    def data(self) -> Document:
        """What a webhook is sent: the message and the alert's fields, every text in them harmless.

        Of several alerts the fields are those of the first, and "alerts" has those of each, "count" how many.
        """
        told: Document = {"key": self.key, "purpose": self.purpose, "subject": self.subject, **_fields(self.alert)}
        if self.alerts:
            told |= {"count": len(self.lines), "alerts": [_fields(one) for one in self.alerts]}
        if self.end is not None:
            told["end"] = {**self.end, "opened": _stamp(self.end["opened"]), "at": _stamp(self.end["at"])}
        return {**cast("Document", _harmless(told)), "text": _unaddressed(self.text)}


def _fields(alert: Alert) -> Document:
    fields = documents.to_document(alert)
    shown = ("alert_id", "severity", "metric_name", "metric_value", "threshold", "component", "model_version")
    return {
        "title": alert.title,
        "message": alert.message,
        "rule_id": alert.rule_id,
        "incident_id": alert.incident_id,
        "at": None if alert.at is None else alert.at.isoformat(),
        "context": alert.context,
        **{name: fields.get(name) for name in shown},
    }


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return _unaddressed(one_line(value))
    if isinstance(value, Mapping):
        return {_harmless(name): _harmless(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_harmless(one) for one in value]
    return value


def _unaddressed(text: str) -> str:
    # Services that take Slack's format understand `<!channel>` and `<@U123>` in a plain webhook's "text" too.
    return text.replace("<!", "< !").replace("<@", "< @")


def rendered(
    alert: Alert,
    purpose: Purpose | Literal["test"],
    key: str,
    sections: Sequence[Section] = (),
    *,
    end: Document | None = None,
    store: str | None = None,
    late: bool = False,
) -> Message:
    """The message of an alert.

    Args:
        alert: As it is stored.
        purpose: What is told of it.
        key: The idempotency key.
        sections: What enrichment added.
        end: How what is told of ended.
        store: The address of its store, without secrets.
        late: Whether it is not the first attempt, so that the subject says of an incident that has ended that it has.
    """
    message = one_line(alert.message)
    named = alert.title if purpose == "test" else _named(alert)
    subject = f"{prefix_of(purpose, end, late=late)}[{alert.severity.upper()}] {one_line(named, _SUBJECT_CHARACTERS)}"
    rows = [*_rows_of_end(alert, end), *_rows(alert)]
    parts = [Section(one_line(part.heading), [one_line(line) for line in part.lines]) for part in sections]
    lines = [subject, "", message, "", *(f"{name}: {value}" for name, value in rows)]
    for part in parts:
        lines += ["", f"{part.heading}:", *(f"- {line}" for line in part.lines)]
    over = end is not None or purpose in ("resolved", "test")
    todo = None if over else acknowledge_command(alert, store)
    lines += [""] if todo is None else ["", f"To take it on: {todo}"]
    return Message(
        key,
        purpose,
        alert.severity,
        subject,
        "\n".join(lines),
        _html(subject, message, rows, parts, todo),
        alert,
        end,
    )


def prefix_of(purpose: str, end: Document | None, *, late: bool = False) -> str:
    """What a subject begins with; of what is told again after it ended, that it has ended since."""
    ended = "Ended" if end is not None and end["event"] == "closed" else "Resolved"
    if purpose == "resolved":
        return f"{ended}: "
    return f"{ended} since: {_PREFIX[purpose]}" if late and end is not None else _PREFIX[purpose]


def acknowledge_command(alert: Alert, store: str | None = None) -> str:
    """The command by which whoever reads the message takes the alert on, with the store it is in."""
    where = "" if store is None or store.startswith("memory:") else _option(store)
    return one_line(f"f1mon {where}ack {shlex.quote(alert.alert_id)} --by NAME")


def _option(store: str) -> str:
    # A password is told to nobody; a database that wants one finds it in its own files or variables, or in F1MON_URL.
    address = _MASKED_ACCOUNT.sub(r"\1@", store)
    scheme, _, path = address.partition(":///")
    if scheme == "sqlite" and path and not path.startswith((":", "file:")):
        address = f"sqlite:///{Path(path).absolute()}"  # whoever reads the message is elsewhere
    return "" if "***" in address else f"--url {shlex.quote(address)} "


def _named(alert: Alert) -> str:
    """What tells an alert from others: rule, model, labels, value and threshold; a title that somebody gave stays."""
    value, threshold = alert.metric_value, alert.threshold
    if value is None or threshold is None:
        shown = f"{alert.metric_name} has no data" if value is None else f"{alert.metric_name} = {value:.6g}"
    else:
        figures = apart(value, threshold)
        shown = f"{alert.metric_name} {figures[0]} ({(alert.rule or {}).get('comparison', 'threshold')} {figures[1]})"
    labels = alert.context.get("labels")
    of_what = ", ".join([alert.model_version, *([_plain(labels)] if labels else [])])
    of_rule = alert.rule_id is not None and alert.title == f"{alert.component.upper()}: {alert.metric_name} Alert"
    return f"{alert.rule_id if of_rule else alert.title}: {shown}, {of_what}"


def _rows_of_end(alert: Alert, end: Document | None) -> list[tuple[str, str]]:
    if end is None:
        return []
    opened, at = cast("int", end["opened"]), cast("int", end["at"])
    rows = [("Ended", f"{_stamp(at)}: {one_line(str(end['reason']))}")]
    if isinstance(value := end["value"], int | float):
        rows = [("Recovered", f"{one_line(alert.metric_name)} = {apart(value, alert.threshold or value)[0]}"), *rows]
    lasted = timedelta(seconds=max(at - opened, 0) // 1_000_000)
    return [*rows, ("Lasted", str(lasted)), ("Began", str(_stamp(opened)))]


def _stamp(instant: Any) -> str:
    return from_micros(instant).isoformat()


def _rows(alert: Alert) -> list[tuple[str, str]]:
    context, rule = alert.context, alert.rule or {}
    figures = apart(alert.metric_value or 0.0, alert.threshold or 0.0)
    value = "no value" if alert.metric_value is None else figures[0]
    rows = [("Metric", f"{alert.metric_name} = {value}")]
    if (interval := (context.get("low"), context.get("high"))) != (None, None):
        rows.append(("Interval", " to ".join("?" if end is None else f"{cast('float', end):.4g}" for end in interval)))
    if alert.threshold is not None:
        rows.append(("Threshold", f"{rule.get('comparison', '')} {figures[1]}".strip()))
    if (n := context.get("n")) is not None:
        rows.append(("Rests on", f"n = {n}{_coverage(context)}"))
    rows += [("Model", alert.model_version), ("Component", alert.component), ("Severity", alert.severity)]
    if alert.at is not None:
        rows.append(("At", alert.at.isoformat()))
    shown = (("reason", "Reason"), ("labels", "Labels"), ("positive", "Positive class"), ("window", "Window"))
    for name, label in shown:
        if (known := context.get(name)) is not None:
            rows.append((label, _plain(known)))
    if description := rule.get("description"):
        rows.append(("About", str(description)))
    if alert.rule_id is not None:
        rows.append(("Rule", alert.rule_id))
    return [(name, one_line(text)) for name, text in [*rows, ("Alert", alert.alert_id)]]


def _coverage(context: Document) -> str:
    coverage = context.get("coverage")
    return f", coverage = {coverage:.1%}" if isinstance(coverage, int | float) else ""


def _plain(value: Any) -> str:
    return told_segments(value) if isinstance(value, Mapping) else str(value)


def _html(
    subject: str,
    message: str,
    rows: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    todo: str | None,
) -> str:
    escape = html.escape
    table = "".join(f"<tr><th align='left'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    added = "".join(
        f"<h4>{escape(part.heading)}</h4><ul>{''.join(f'<li>{escape(line)}</li>' for line in part.lines)}</ul>"
        for part in sections
    )
    last = "" if todo is None else f"<p>To take it on: <code>{escape(todo)}</code></p>"
    return f"<h3>{escape(subject)}</h3><p>{escape(message)}</p><table>{table}</table>{added}{last}"

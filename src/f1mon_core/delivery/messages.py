"""What a channel is told: an alert as text, as HTML and as data, with everything hostile in it made harmless."""

from __future__ import annotations

import html
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs

from f1mon_core.alerts.outbox import Purpose
from f1mon_core.records import documents
from f1mon_core.records.fields import Document
from f1mon_core.records.kinds import Alert
from f1mon_core.text import one_line

_SUBJECT_CHARACTERS = 200
_PREFIX: Mapping[str, str] = {"alert": "", "reminder": "Reminder: ", "resolved": "Resolved: "}


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
        purpose: "alert", "reminder" or "resolved".
        severity: info, warning or critical.
        subject: One line, fit for a mail header.
        text: Plain text of several lines.
        html: The same as an HTML fragment.
        alert: The alert as it is stored; a callback gets this one.
    """

    key: str
    purpose: str
    severity: str
    subject: str
    text: str
    html: str
    alert: Alert

    def to_document(self) -> Document:
        """As a JSON object, without the alert, which is stored already."""
        return attrs.asdict(self, filter=attrs.filters.exclude("alert"))

    @classmethod
    def of_document(cls, document: Any, alert: Alert) -> Message | None:
        """The message of a JSON object and its alert; None if another f1mon wrote it with other fields."""
        names = {field.name for field in attrs.fields(cls)} - {"alert"}
        if not isinstance(document, Mapping) or set(document) != names:
            return None
        return cls(**document, alert=alert)

    def data(self) -> Document:
        """What a webhook is sent: the message and the alert's fields, every text in them harmless."""
        fields = documents.to_document(self.alert)
        shown = ("alert_id", "severity", "metric_name", "metric_value", "threshold", "component", "model_version")
        told: Document = {
            "key": self.key,
            "purpose": self.purpose,
            "subject": self.subject,
            "title": self.alert.title,
            "message": self.alert.message,
            "rule_id": self.alert.rule_id,
            "incident_id": self.alert.incident_id,
            "at": None if self.alert.at is None else self.alert.at.isoformat(),
            "context": self.alert.context,
            **{name: fields.get(name) for name in shown},
        }
        return {**cast("Document", _harmless(told)), "text": _unaddressed(self.text)}


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


def rendered(alert: Alert, purpose: Purpose, key: str, sections: Sequence[Section] = ()) -> Message:
    """The message of an alert.

    Args:
        alert: As it is stored.
        purpose: What is told of it.
        key: The idempotency key.
        sections: What enrichment added.
    """
    title, message = one_line(alert.title, _SUBJECT_CHARACTERS), one_line(alert.message)
    subject = f"{_PREFIX[purpose]}[{alert.severity.upper()}] {title}"
    rows = _rows(alert)
    parts = [Section(one_line(part.heading), [one_line(line) for line in part.lines]) for part in sections]
    lines = [subject, "", message, "", *(f"{name}: {value}" for name, value in rows)]
    for part in parts:
        lines += ["", f"{part.heading}:", *(f"- {line}" for line in part.lines)]
    lines += ["", *_next(alert, purpose)]
    return Message(
        key,
        purpose,
        alert.severity,
        subject,
        "\n".join(lines),
        _html(subject, message, rows, parts, alert, purpose),
        alert,
    )


def acknowledge_command(alert: Alert) -> str:
    """The command by which whoever reads the message takes the alert on."""
    return one_line(f"f1mon ack {shlex.quote(alert.alert_id)} --by NAME")


def _next(alert: Alert, purpose: Purpose) -> list[str]:
    return [] if purpose == "resolved" else [f"To take it on: {acknowledge_command(alert)}"]


def _rows(alert: Alert) -> list[tuple[str, str]]:
    context, rule = alert.context, alert.rule or {}
    value = "no value" if alert.metric_value is None else f"{alert.metric_value:.6g}"
    rows = [("Metric", f"{alert.metric_name} = {value}")]
    if (interval := (context.get("low"), context.get("high"))) != (None, None):
        rows.append(("Interval", " to ".join("?" if end is None else f"{cast('float', end):.4g}" for end in interval)))
    if alert.threshold is not None:
        rows.append(("Threshold", f"{rule.get('comparison', '')} {alert.threshold:.6g}".strip()))
    if (n := context.get("n")) is not None:
        rows.append(("Rests on", f"n = {n}{_coverage(context)}"))
    rows += [("Model", alert.model_version), ("Component", alert.component), ("Severity", alert.severity)]
    if alert.at is not None:
        rows.append(("At", alert.at.isoformat()))
    for name, label in (("reason", "Reason"), ("labels", "Labels"), ("window", "Window")):
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
    return ", ".join(f"{name}={one}" for name, one in value.items()) if isinstance(value, Mapping) else str(value)


def _html(
    subject: str,
    message: str,
    rows: Sequence[tuple[str, str]],
    sections: Sequence[Section],
    alert: Alert,
    purpose: Purpose,
) -> str:
    escape = html.escape
    table = "".join(f"<tr><th align='left'>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows)
    added = "".join(
        f"<h4>{escape(part.heading)}</h4><ul>{''.join(f'<li>{escape(line)}</li>' for line in part.lines)}</ul>"
        for part in sections
    )
    todo = "" if purpose == "resolved" else f"<p>To take it on: <code>{escape(acknowledge_command(alert))}</code></p>"
    return f"<h3>{escape(subject)}</h3><p>{escape(message)}</p><table>{table}</table>{added}{todo}"

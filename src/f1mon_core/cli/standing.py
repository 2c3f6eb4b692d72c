"""How commands show where rules are, and what is doubtful about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from f1mon_core.alerts.doubts import Doubt
from f1mon_core.alerts.standing import Standing
from f1mon_core.cli.output import stamp
from f1mon_core.cli.segments import subject
from f1mon_core.cli.streams import warn
from f1mon_core.text import printable

HEADER = ("rule", "model", "value", "n", "coverage", "interval", "phase", "reason", "cooldown left", "evaluated")
NUMBERS = (2, 3, 4)


def row(one: Standing) -> tuple[Any, ...]:
    """A standing as a row under `HEADER`."""
    interval = None if one.low is None or one.high is None else f"{one.low:.3f} - {one.high:.3f}"
    return (
        one.rule.rule_id,
        subject(one.model_version, one.labels),
        None if one.value is None else f"{one.value:.4g}",
        one.n,
        None if one.coverage is None else f"{one.coverage:.1%}",
        interval,
        one.phase,
        one.reason if one.inhibited_by is None else f"{one.reason}; inhibited by {one.inhibited_by}",
        _left(one.cooldown_left),
        stamp(one.evaluated),
    )


def told(one: Standing) -> dict[str, Any]:
    """A standing as JSON."""
    names = ("model_version", "evaluated", "value", "n", "coverage", "low", "high", "phase", "since", "reason")
    seconds = one.cooldown_left.total_seconds()
    return {
        "rule_id": one.rule.rule_id,
        "labels": dict(one.labels),
        **{name: getattr(one, name) for name in names},
        "cooldown_left_seconds": seconds,
        "incident_id": one.incident_id,
        "taken_by": one.taken_by,
        "inhibited_by": one.inhibited_by,
    }


def _left(length: timedelta) -> str | None:
    return f"{length.total_seconds() / 60:.0f} min" if length else None


def say_doubts(found: Iterable[Doubt]) -> None:
    """Say on stderr which rules may never fire."""
    for one in found:
        warn(printable(f"warning: {one}"))


def say_channels(problems: dict[str, str]) -> None:
    """Say on stderr which channels could not deliver anything."""
    for channel, message in problems.items():
        warn(printable(f"warning: channel {channel}: {message}"))


def of_rules(found: Sequence[Standing], rule_id: str) -> list[Standing]:
    """Those of one rule."""
    return [one for one in found if one.rule.rule_id == rule_id]

"""Grouping: which alerts are told in one message, and how long it waits for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from f1mon_core.alerts.rules import (
    GROUP_INTERVAL_MINUTES,
    GROUP_WAIT_MINUTES,
    AlertRule,
    GroupBy,
    Minutes,
    micros,
)
from f1mon_core.errors import ConfigurationError, InvalidRecordError
from f1mon_core.records.fields import Document, checks

SETTINGS = ("group_by", "group_wait_minutes", "group_interval_minutes")
"""The fields of a rule, the keys of a channel's settings and, in capitals, the ends of its variables."""


@attrs.frozen
class Grouping:
    """How alerts become one message. Times are microseconds.

    Attributes:
        by: What alerts of one message have in common: of "rule", "model" and "component" one or more.
        wait: How long the first alert of a message waits for others.
        interval: How long after a message the next one of the same group is sent at the earliest.
    """

    by: tuple[str, ...]
    wait: int
    interval: int

    def to_document(self) -> Document:
        """As it stands in a delivery."""
        return {"by": [*self.by], "wait": self.wait, "interval": self.interval}

    @classmethod
    def of_document(cls, found: Any) -> Grouping | None:
        """That of a delivery whose rule groups, else None."""
        if not isinstance(found, Mapping):
            return None
        return cls(tuple(found["by"]), int(found["wait"]), int(found["interval"]))

    @classmethod
    def of_rule(cls, rule: AlertRule) -> Grouping | None:
        """What a rule asks for; None where it leaves that to the channel."""
        return _made(rule.group_by, rule.group_wait_minutes, rule.group_interval_minutes)

    @classmethod
    def of_settings(cls, given: Mapping[str, Any], where: str) -> Grouping | None:
        """What a channel's settings ask for; None for nothing.

        Raises:
            ConfigurationError: If they do not hold up; the message begins with `where`.
        """
        found = {name: given[name] for name in SETTINGS if given.get(name) not in (None, "", ())}
        if isinstance(by := found.get("group_by"), str):
            found["group_by"] = [one.strip() for one in by.split(",") if one.strip()]
        try:
            checked = _Settings(**{name: _number(value) for name, value in found.items()})
        except InvalidRecordError as error:
            raise ConfigurationError(f"{where}: {error}") from None
        if not checked.group_by and found:
            raise ConfigurationError(f"{where}: {next(iter(found))} goes with group_by and only it")
        return _made(checked.group_by, checked.group_wait_minutes, checked.group_interval_minutes)


def _number(value: Any) -> Any:
    """A number that stands as text in a variable; what is none is refused by its field."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


@attrs.frozen
class _Settings:
    group_by: GroupBy = ()
    group_wait_minutes: Minutes | None = None
    group_interval_minutes: Minutes | None = None

    def __attrs_post_init__(self) -> None:
        for name, check, optional in checks(type(self)):
            if (given := getattr(self, name)) is not None or not optional:
                object.__setattr__(self, name, check(given, name))


def _made(by: Sequence[str], wait: float | None, interval: float | None) -> Grouping | None:
    if not by:
        return None
    return Grouping(
        tuple(by),
        micros(GROUP_WAIT_MINUTES if wait is None else wait),
        micros(GROUP_INTERVAL_MINUTES if interval is None else interval),
    )


def said(rule: AlertRule | None, model_version: str | None, component: str) -> Document:
    """What a delivery says so that it can be grouped and inhibited without a look at its alert."""
    of: Document = {"rule": None if rule is None else rule.rule_id, "model": model_version, "component": component}
    found: Document = {"of": of}
    if rule is not None and (grouping := Grouping.of_rule(rule)) is not None:
        found["group"] = grouping.to_document()
    if rule is not None and rule.inhibited_by:
        found["inhibited_by"] = [*rule.inhibited_by]
    return found

"""Windows: what a caller asks for in times, as the half-open window and basis a tally understands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

import attrs

from f1mon_core.errors import InvalidQueryError, shown
from f1mon_core.records.fields import Document
from f1mon_core.records.times import EPOCH, LATEST, MICROSECOND
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.tally import (
    Basis,
    Bins,
    SegmentChoice,
    TallyQuery,
    check_where,
    plain_duration,
    take_instant,
)
from f1mon_core.text import is_one_of

WindowBasis: TypeAlias = Literal["prediction", "outcome", "matured"]


@attrs.frozen(kw_only=True)
class Window:
    """Which predictions, seen when.

    Attributes:
        model_version: One model's; None for all.
        since, until: The half-open window `[since, until)`; None is unbounded.
        basis: "prediction": predictions made in the window. "outcome": predictions whose outcome first became known
            in it. "matured": predictions made in it and at least `horizon` ago, so that early labels do not bias.
        horizon: The age at which a prediction counts as matured.
        as_of: Only what was knowable then.
        as_recorded: Only what the store held then.
        where: Only predictions with these segments: name to a value, or to a tuple of values; None is a prediction
            without the name.
    """

    model_version: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    basis: WindowBasis = "prediction"
    horizon: timedelta | None = None
    as_of: datetime | None = None
    as_recorded: datetime | None = None
    where: Mapping[str, SegmentChoice] = attrs.field(factory=dict, hash=False)

    def query(
        self, bins: Bins, *, bucket: timedelta | None = None, delay: timedelta | None = None, by: tuple[str, ...] = ()
    ) -> TallyQuery:
        """The tally of this window."""
        basis: Basis = "outcome" if self.basis == "outcome" else "prediction"
        return TallyQuery(
            model_version=self.model_version,
            since=self.since,
            until=self.until,
            basis=basis,
            as_of=self.as_of,
            as_recorded=self.as_recorded,
            bins=bins,
            bucket=bucket,
            delay=delay,
            by=by,
            where=self.where,
        )

    def to_dict(self) -> Document:
        """As a JSON object: times in ISO 8601, the horizon in seconds."""
        return {
            "model_version": self.model_version,
            "since": _iso(self.since),
            "until": _iso(self.until),
            "basis": self.basis,
            "horizon": None if self.horizon is None else self.horizon.total_seconds(),
            "as_of": _iso(self.as_of),
            "as_recorded": _iso(self.as_recorded),
            **told_where(self.where),
        }


def told_where(where: Mapping[str, SegmentChoice]) -> Document:
    """The conditions on segments as JSON under `where`; nothing where there are none, as before there were segments."""
    if not where:
        return {}
    return {"where": {name: list(one) if isinstance(one, tuple) else one for name, one in where.items()}}


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


@attrs.frozen(kw_only=True)
class WindowRequest:
    """A window as a caller gives it, checked before a store is asked.

    Attributes:
        last: The newest stretch of time: `[until - last, until)` if that is given, else from `last` ago to the present,
            both included; for matured predictions as seen from `horizon` ago. The present is `as_of` or `as_recorded`
            where given, else the store's clock.
        where: As a caller gives it, each value or collection of values as they are stored.

    Raises:
        InvalidQueryError: If the arguments contradict each other, or matured is asked for without a horizon.
    """

    model_version: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    last: timedelta | None = None
    basis: WindowBasis = "prediction"
    horizon: timedelta | None = None
    as_of: datetime | None = None
    as_recorded: datetime | None = None
    where: Mapping[str, SegmentChoice] = attrs.field(default=None, converter=check_where, hash=False)

    def __attrs_post_init__(self) -> None:
        for name in ("since", "until", "as_of", "as_recorded"):
            take_instant(self, name)
        for name in ("last", "horizon"):
            object.__setattr__(self, name, plain_duration(getattr(self, name)))
        if not is_one_of(self.basis, ("prediction", "outcome", "matured")):
            raise InvalidQueryError(f"basis must be 'prediction', 'outcome' or 'matured', got {shown(self.basis)}")
        _check_duration("last", self.last)
        _check_duration("horizon", self.horizon)
        if self.basis == "matured" and self.horizon is None:
            raise InvalidQueryError("basis='matured' needs a horizon, e.g. the one label_delay() suggests")
        if self.basis != "matured" and self.horizon is not None:
            raise InvalidQueryError("a horizon means something for basis='matured' only")
        if self.last is not None and self.since is not None:
            raise InvalidQueryError("give since or last, not both")
        if self.since is not None and self.until is not None and self.since > self.until:
            raise InvalidQueryError(f"since {self.since.isoformat()} lies after until {self.until.isoformat()}")

    def to_dict(self) -> Document:
        """What was asked, as a JSON object: times in ISO 8601, durations in seconds."""
        return {
            "model_version": self.model_version,
            "since": _iso(self.since),
            "until": _iso(self.until),
            "last": None if self.last is None else self.last.total_seconds(),
            "basis": self.basis,
            "horizon": None if self.horizon is None else self.horizon.total_seconds(),
            "as_of": _iso(self.as_of),
            "as_recorded": _iso(self.as_recorded),
            **told_where(self.where),
        }

    def resolve(self) -> Plan[Window]:
        """The window it stands for at present."""
        since, until, end = self.since, self.until, self.until
        if self.horizon is not None:
            end = minus((yield from self.present()), self.horizon)
            if until is None or end < until:
                until = _behind(end)
            else:
                end = until
        elif self.last is not None and end is None:
            end = yield from self.present()
            until = _behind(end)
        if self.last is not None and end is not None:
            since = minus(end, self.last)
        if since is not None and until is not None:
            since = min(since, until)
        return Window(
            model_version=self.model_version,
            since=since,
            until=until,
            basis=self.basis,
            horizon=self.horizon,
            as_of=self.as_of,
            as_recorded=self.as_recorded,
            where=self.where,
        )

    def resolve_closed(self) -> Plan[Window]:
        """As `resolve`, with an open end closed behind the present, so that the window can be named later."""
        window = yield from self.resolve()
        if window.until is None:
            until = _behind((yield from self.present())) or LATEST
            since = None if window.since is None else min(window.since, until)
            window = attrs.evolve(window, since=since, until=until)
        return window

    def present(self) -> Plan[datetime]:
        """`as_of` or `as_recorded` where given, the earlier of both; else the store's clock."""
        given = [one for one in (self.as_of, self.as_recorded) if one is not None]
        if given:
            return min(given)
        return (yield from plans.now())


def _behind(instant: datetime) -> datetime | None:
    """The next instant, before which a window ends that includes this one; None at the end of the calendar."""
    return None if instant >= LATEST else instant + MICROSECOND


def minus(instant: datetime, duration: timedelta) -> datetime:
    """An instant so much earlier, but not before a store's first."""
    return EPOCH if duration > instant - EPOCH else instant - duration


def _check_duration(name: str, value: Any) -> None:
    if value is not None and (not isinstance(value, timedelta) or value <= timedelta(0)):
        raise InvalidQueryError(f"{name} must be a positive timedelta, got {shown(value)}")

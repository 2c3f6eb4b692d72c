"""Storms: what is told in one message, what waits for others to be told with, and what is inhibited.

Decided where the outbox is served, so that every alert stays a delivery of its own. The document `group/<channel>/…`
says until when a group is not told of again, and whoever gathers its deliveries claims it: one worker at a time. Those
of one message bear the same `batch` from then on and come back together, so that a repeat says the same; its key comes
from what it tells of, so that another set is never taken for a repeat.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

import attrs

from f1mon_core.alerts import outbox
from f1mon_core.alerts.grouping import Grouping
from f1mon_core.alerts.incident import note_of
from f1mon_core.alerts.inhibition import Inhibitors
from f1mon_core.delivery import group_messages, rests
from f1mon_core.delivery.attempts import Enrich, Outcome, Policy, _Held, _not_now, _send, end_of, told_alone
from f1mon_core.delivery.channels import Channels
from f1mon_core.delivery.group_messages import Told
from f1mon_core.delivery.messages import Message
from f1mon_core.delivery.turns import in_turn
from f1mon_core.errors import F1monError
from f1mon_core.records.fields import Document, Json
from f1mon_core.records.ids import new_operation_id
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Alert
from f1mon_core.records.times import duration_micros, to_micros
from f1mon_core.storage import plans
from f1mon_core.storage.change import Change, Step, state_key
from f1mon_core.storage.entries import text_of, whole_of
from f1mon_core.storage.plans import Plan
from f1mon_core.storage.select import Select

MOST_TOGETHER = 500
"""So many alerts are told in one message at most; the rest of a group waits for its next one."""
_IDS_PER_QUESTION = 500
_SPREAD = timedelta(milliseconds=20)
"""By how much longer each member of a message lets all wait after a failure: they come back when all are written."""

_log = logging.getLogger("f1mon.delivery")


@attrs.frozen
class Group:
    """Deliveries of one channel that are told in one message.

    Attributes:
        keys: Of its deliveries, at most `MOST_TOGETHER`.
        common: What they have in common.
        claim: The document to claim first; empty of a message that was sent, or tried, before.
        interval: How long after it the next one of the group comes.
        batch: The mark of those of one message; a new one where it is claimed.
    """

    keys: Sequence[str]
    common: Document
    claim: str = ""
    interval: int = 0
    batch: str = ""


@attrs.frozen
class Turns:
    """What a channel is served now.

    Attributes:
        keys: Of deliveries, in the order of their turns; of a group that of its first.
        groups: Of the groups among them, by that key.
        kept: How many wait, by why: "grouped" or "inhibited".
    """

    keys: list[str]
    groups: Mapping[str, Group]
    kept: Mapping[str, int]


# What is served -----------------------------------------------------------------------------------------------------


def gathered(channel: str, found: Mapping[str, Document], channels: Channels) -> Plan[Turns]:
    """Sort what is due at a channel into single deliveries, groups, and what is kept for now."""
    kept: Counter[str] = Counter()
    free = yield from _not_inhibited(found, kept)
    grouping = _grouping_of(channel, channels)
    together = {key: one for key, one in free.items() if not channels.is_function(channel)}
    batches: dict[str, list[str]] = {}
    groups: dict[str, list[str]] = {}
    ways: dict[str, list[Grouping]] = {}
    for key, document in together.items():
        if isinstance(batch := document.get("batch"), str):
            batches.setdefault(batch, []).append(key)
            continue
        how = Grouping.of_document(document.get("group")) or grouping
        if how is not None and isinstance(document.get("of"), Mapping) and "payload" not in document:
            claim = _group_key(channel, document, how)
            groups.setdefault(claim, []).append(key)
            ways.setdefault(claim, []).append(how)
    single = free.keys() - {key for keys in (*batches.values(), *groups.values()) for key in keys}
    served: dict[str, Group] = {}
    for batch, keys in batches.items():
        ordered = in_turn({key: free[key] for key in keys})
        served[ordered[0]] = Group(ordered, _common([free[key] for key in keys]), batch=batch)
    now = yield from plans.now()
    for claim, keys in groups.items():
        waits = min(_waits(free[key], how, now) for key, how in zip(keys, ways[claim], strict=True))
        if waits > 0 or _is_told((yield from plans.document(claim)), now):
            kept["grouped"] += len(keys)
            continue
        ordered = in_turn({key: free[key] for key in keys})[:MOST_TOGETHER]
        kept["grouped"] += len(keys) - len(ordered)
        common = _common([free[key] for key in keys], ways[claim][0].by)
        served[ordered[0]] = Group(ordered, common, claim, min(how.interval for how in ways[claim]))
    order = in_turn({key: one for key, one in free.items() if key in single or key in served})
    return Turns(order, served, {why: number for why, number in kept.items() if number})


def _not_inhibited(found: Mapping[str, Document], kept: Counter[str]) -> Plan[dict[str, Document]]:
    """Those that no rule inhibits now; of the others it is written down once by which they are."""
    inhibitors = Inhibitors()
    free: dict[str, Document] = {}
    for key, document in found.items():
        by = None if document["purpose"] != "alert" else (yield from inhibitors.of_delivery(document))
        if by is None:
            free[key] = document
            continue
        kept["inhibited"] += 1
        if outbox.inhibited_by(document) != by:
            alerts = yield from plans.find(Select.of(Alert, where={"alert_id": text_of(document, "alert_id")}))
            operation_id = new_operation_id()
            noted = partial(_noted, alerts[0] if alerts else None, by, text_of(document, "channel"), operation_id)
            yield from plans.settle(key, outbox.inhibit(by, noted), operation_id=operation_id)
            _log.info("delivery %s is inhibited by %s", key, by, extra={"delivery": key})
    return free


def _noted(alert: Alert | None, by: str, channel: str, seed: str, now: datetime) -> Any:
    if alert is None:
        return None
    return note_of(alert, "inhibited", f"inhibited by {by}", now, seed, {"channel": channel, "by": by})


def _grouping_of(channel: str, channels: Channels) -> Grouping | None:
    try:
        return channels.grouping(channel)
    except F1monError as error:
        _log.error("channel %s groups nothing: %s", channel, error, extra={"channel": channel})
        return None


def _group_key(channel: str, document: Document, how: Grouping) -> str:
    of = cast("Document", document["of"])
    return state_key("group", channel, canonical([document["purpose"], {name: of.get(name) for name in how.by}]))


def _common(found: Iterable[Document], by: Iterable[str] = ("rule", "model", "component")) -> Document:
    """What all of them have in common: as asked for, or of a message that is repeated whatever there is."""
    named = [cast("Document", one.get("of") or {}) for one in found]
    return {name: named[0].get(name) for name in by if len({str(one.get(name)) for one in named}) == 1}


def _waits(document: Document, how: Grouping, now: datetime) -> int:
    """How long a delivery still waits for others; not where the clock was set back behind its making."""
    age = to_micros(now) - whole_of(document, "created")
    return how.wait - age if age >= 0 else 0


def _is_told(document: Document | None, now: datetime) -> bool:
    return document is not None and rests.is_shut(document, now)


# Steps --------------------------------------------------------------------------------------------------------------


def _claiming(token: str, duration: timedelta) -> Step:
    """Be the one who gathers a group. The result says whether nobody else does, or has told of it just now."""

    def step(document: Document | None, now: datetime) -> Change:
        if document is not None and rests.is_shut(document, now):
            return Change(document, result=False)
        return Change(_until(to_micros(now), duration_micros(duration), token), result=True)

    return step


def _telling(token: str, begun: int, interval: int, *, told: bool) -> Step:
    """End a claim: the group was told of, or there was nothing to tell."""

    def step(document: Document | None, now: datetime) -> Change:  # noqa: ARG001 - the shape of a step
        if document is None or document.get("token") != token:
            return Change(document)
        return Change(_until(begun, interval, token) if told else None)

    return step


def _until(begun: int, duration: int, token: str) -> Document:
    return {"until": begun + duration, "set_at": begun, "token": token}


# An attempt ---------------------------------------------------------------------------------------------------------


def attempt_group(
    group: Group, channels: Channels, policy: Policy, enrich: Enrich | None = None, trial: str = rests.OPEN
) -> Plan[Counter[str]]:
    """Take the deliveries of a group, tell of them in one message, and write down of each what came of it."""
    claim, token = group.claim, new_operation_id()
    if not claim:
        return (yield from _attempt(group, channels, policy, enrich, trial))
    if not (yield from plans.settle(claim, _claiming(token, policy.lease), operation_id=new_operation_id())):
        return Counter({"grouped": len(group.keys)})
    begun = to_micros((yield from plans.now()))
    outcomes = yield from _attempt(attrs.evolve(group, batch=token), channels, policy, enrich, trial)
    told = any(outcomes[outcome] for outcome in ("delivered", "failed", "dead"))
    yield from plans.settle(claim, _telling(token, begun, group.interval, told=told), operation_id=new_operation_id())
    return outcomes


def _attempt(group: Group, channels: Channels, policy: Policy, enrich: Enrich | None, trial: str) -> Plan[Counter[str]]:
    outcomes: Counter[str] = Counter()
    members = yield from _members(group, policy, trial, outcomes)
    if len(members) == 1 and not _is_of_several(members[0][0].document.get("payload")):
        held, alert = members[0]
        outcomes[(yield from told_alone(held, alert, channels, enrich))] += 1
        return outcomes
    staying: list[tuple[_Held, Alert]] = []
    for held, alert in members:
        left = yield from _not_now(held, alert)
        if left is None:
            staying.append((held, alert))
        else:
            outcomes[left] += 1
    if staying:
        whole = len(staying) == len(members)
        outcomes += yield from _told_together(staying, group.common, channels, enrich, whole=whole)
    return outcomes


def _members(group: Group, policy: Policy, trial: str, outcomes: Counter[str]) -> Plan[list[tuple[_Held, Alert]]]:
    """The deliveries of a group that are to be had, with their alerts; all leases end at the same instant."""
    until = to_micros((yield from plans.now())) + duration_micros(policy.lease)
    taken: list[_Held] = []
    for key in group.keys:
        token = new_operation_id()
        step = outbox.lease_together(token, until, group.batch)
        document: Any = yield from plans.settle(key, step, operation_id=token)
        if document is None:
            outcomes["lost"] += 1
        else:
            taken.append(_Held(key, token, document, policy, trial if not taken else rests.OPEN))
    ids = [text_of(held.document, "alert_id") for held in taken]
    alerts = yield from _alerts(ids, {})
    found: list[tuple[_Held, Alert]] = []
    for held, alert_id in zip(taken, ids, strict=True):
        if alert_id in alerts:
            found.append((held, alerts[alert_id]))
        else:
            outcomes[(yield from held.bury("the alert was pruned"))] += 1
    return found


def _told_together(
    members: Sequence[tuple[_Held, Alert]], common: Document, channels: Channels, enrich: Enrich | None, *, whole: bool
) -> Plan[Counter[str]]:
    first = members[0][0]
    try:
        channel = yield from plans.outside(lambda: channels.get(text_of(first.document, "channel")))
    except Exception:  # noqa: BLE001 - why it cannot be had is found out, and told, of each by itself
        outcomes: Counter[str] = Counter()
        for held, alert in members:
            outcomes[(yield from told_alone(held, alert, channels, enrich))] += 1
        return outcomes
    message, keeper = yield from _message(members, common, enrich, whole=whole)
    if message is None:
        return Counter({"lost": len(members)})
    # Who keeps the message is written down last: whoever goes on after a crash still has it.
    helds = sorted((held for held, _ in members), key=lambda held: held is keeper)
    helds[0].trial = first.trial
    settled = list(dict.fromkeys(who for held in helds for who in held.settled))
    wait = first.policy.wait(whole_of(first.document, "failures")) + _SPREAD * len(helds) + timedelta(seconds=1)
    try:
        reached = yield from plans.outside(lambda: _send(channel, message, settled))
    except Exception as error:  # noqa: BLE001 - as of a single one
        failure = error
        asked = timedelta(seconds=getattr(error, "after", None) or 0.0)
        yield from _until_all(helds, max(wait, asked))
        return (yield from _each(helds, lambda held: held.failed(failure, first=held is helds[0])))
    if reached.put_off:
        yield from _until_all(helds, wait)
    return (yield from _each(helds, lambda held: held.reached(reached)))


def _until_all(helds: Sequence[_Held], wait: timedelta) -> Plan[None]:
    until = to_micros((yield from plans.now())) + duration_micros(wait)
    for held in helds:
        held.until = until


def _each(helds: Sequence[_Held], end: Any) -> Plan[Counter[str]]:
    outcomes: Counter[str] = Counter()
    for held in helds:
        outcome: Outcome = yield from end(held)
        outcomes[outcome] += 1
    return outcomes


def _message(
    members: Sequence[tuple[_Held, Alert]], common: Document, enrich: Enrich | None, *, whole: bool
) -> Plan[tuple[Message | None, _Held | None]]:
    """The message, rendered once and kept with one of them, and with whom; rendered anew where one has left."""
    purpose = cast("outbox.Purpose", members[0][0].document["purpose"])
    alerts = {alert.alert_id: alert for _, alert in members}
    for held, _ in members:
        kept: Any = held.document.get("payload")
        if whole and _is_of_several(kept) and alerts.keys() <= set(kept["alert_ids"]):
            known = yield from _alerts(kept["alert_ids"], alerts)
            return group_messages.of_document(kept, known, purpose), held
    told = []
    for held, alert in members:
        late = whole_of(held.document, "attempts") > 1
        told.append(Told(alert, (yield from end_of(held.document, alert)), late))
    told = group_messages.most_severe_first(told)
    store = yield from plans.ask(lambda storage: storage.address)
    sections: Sequence[Any] = ()
    if enrich is not None:
        try:
            added = yield from plans.outside(lambda: enrich(told[0].alert))
            sections = added if isinstance(added, Sequence) else (yield from added)
        except Exception:  # noqa: BLE001 - the alerts matter more than what would have been said beside them
            _log.exception("the enrichment of alert %s failed", told[0].alert.alert_id)
    names: list[Json] = [*sorted(f"{alert.alert_id} {held.document['name']}" for held, alert in members)]
    key = f"group-{hashlib.sha256(canonical(names).encode()).hexdigest()[:32]}"
    kept = group_messages.rendered_together(told, purpose, key, common, sections, store=store)
    for held, _ in members:
        if (yield from plans.settle(held.key, outbox.keep_payload(held.token, kept), operation_id=new_operation_id())):
            return group_messages.of_document(kept, alerts, purpose), held
    return None, None


def _is_of_several(kept: Any) -> bool:
    return isinstance(kept, Mapping) and "alert_ids" in kept


def _alerts(ids: Sequence[str], known: Mapping[str, Alert]) -> Plan[dict[str, Alert]]:
    missing = [one for one in ids if one not in known]
    found = dict(known)
    for begin in range(0, len(missing), _IDS_PER_QUESTION):
        where = {"alert_id": missing[begin : begin + _IDS_PER_QUESTION]}
        found |= {one.alert_id: one for one in (yield from plans.find(Select.of(Alert, where=where)))}
    return found

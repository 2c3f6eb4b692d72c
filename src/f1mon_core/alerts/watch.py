"""The state documents of rules: what a rule, or one instance of it, remembers between evaluations.

The document of an instance says whose it is: its key cannot where a part of it is overlong.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, cast

import attrs
import cattrs

from f1mon_core.alerts import rule_files
from f1mon_core.alerts.rules import AlertRule
from f1mon_core.errors import CorruptStoreError, F1monError, SchemaError
from f1mon_core.records.fields import Document
from f1mon_core.records.json_text import canonical
from f1mon_core.records.kinds import Alert
from f1mon_core.storage.change import key_parts, state_key, state_prefix

Phase: TypeAlias = Literal["inactive", "pending", "firing"]

DOCUMENT_VERSION = 1
INSTANCE_VERSION = 2
"""Of a document that says whose it is, which whoever reads version 1 does not expect."""
SAMPLE_VERSION = 3
"""Of a document that keeps its newest sample."""


@attrs.define
class Incident:
    """A breach from its first sample to its end. Instants are microseconds since 1970.

    Attributes:
        breach_since: Since when it has breached without a good sample; what `for_minutes` counts from.
        breached: When the newest breach was seen.
        good_since: Since when it has been good while firing; what `keep_firing_minutes` counts from.
        severity: The severity of the newest breach.
        severities: Those an alert was fired for.
        alerts: The ids of its alerts, oldest first.
        notified: When a channel was last told of it, reminders included.
        event_at: The time of its newest event; later ones are later, whatever the clock says.
        channels: Those its alerts went to; empty in a document of an older f1mon.
    """

    incident_id: str
    opened: int
    model_version: str | None = None
    breach_since: int | None = None
    good_since: int | None = None
    severity: str | None = None
    severities: list[str] = attrs.field(factory=list)
    alerts: list[str] = attrs.field(factory=list)
    acknowledged: dict[str, Any] | None = None
    notified: int | None = None
    reminders: int = 0
    event_at: int = 0
    channels: list[str] = attrs.field(factory=list)
    breached: int | None = None


@attrs.frozen
class Instance:
    """What a rule of scope "instance" has a state for.

    Attributes:
        model_version: None where a document of version 1 does not tell, nor its key, which was cut.
        labels: As they were given with the value.
    """

    rule_id: str
    model_version: str | None
    labels: dict[str, Any] = attrs.field(factory=dict)


@attrs.frozen
class Sample:
    """The newest evaluation, whatever it saw.

    Attributes:
        at: When it was decided.
        model_version: The model it was of.
        value, n, coverage, low, high: The reading; None for no data.
    """

    at: int
    model_version: str
    value: float | None = None
    n: int | None = None
    coverage: float | None = None
    low: float | None = None
    high: float | None = None


@attrs.define
class Watch:
    """The state of one rule, or of one instance of it.

    Attributes:
        rule: The definition; None in the document of an instance, of a removed rule, or of one never stored.
        revision: The newest revision seen; 0 for a rule never stored.
        phase_reason: Why it is in its phase.
        latest: The latest reading of the clock since it fired; what a backward step is measured from.
        evaluated: What the last `of_evaluations` samples were, True for a breach.
        instance: Whose state it is; None for that of a rule, and in a document of version 1.
        sample: The newest evaluation; None before the first, and in a document older than version 3.
    """

    rule: AlertRule | None = None
    revision: int = 0
    phase: Phase = "inactive"
    phase_since: int | None = None
    phase_reason: str = ""
    last_fired: int | None = None
    last_severity: str | None = None
    latest: int | None = None
    evaluated: list[bool] = attrs.field(factory=list)
    incident: Incident | None = None
    instance: Instance | None = None
    sample: Sample | None = None


_converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=False)


_converter.register_structure_hook(AlertRule, lambda document, _: rule_files.from_document(document))


_converter.register_unstructure_hook(AlertRule, rule_files.to_document)


def read(document: Mapping[str, Any] | None) -> Watch:
    """The watch of a state document; an empty one for None.

    Raises:
        SchemaError: If another f1mon wrote it.
        CorruptStoreError: If it holds what no f1mon wrote.
    """
    if document is None:
        return Watch()
    content = {name: value for name, value in document.items() if name not in {"v", "holds"}}
    if document.get("v") not in {DOCUMENT_VERSION, INSTANCE_VERSION, SAMPLE_VERSION}:
        raise SchemaError("this rule's state was written by another f1mon; update f1mon")
    try:
        return _converter.structure(content, Watch)
    except F1monError:
        raise
    except Exception as error:
        raise CorruptStoreError(f"a rule's state cannot be read: {type(error).__name__}: {error}") from error


def read_instance(key: str, document: Mapping[str, Any]) -> Watch:
    """The watch of an instance's document, with whose it is; of a document of version 1, as far as its key tells.

    Raises:
        SchemaError, CorruptStoreError: As `read`, naming the key.
    """
    try:
        watch = read(document)
        if watch.instance is None:
            watch.instance = _instance_of(key, watch.incident)
    except (SchemaError, CorruptStoreError) as error:
        raise type(error)(f"{key}: {error}") from error
    except ValueError as error:
        raise CorruptStoreError(f"{key}: the labels in the key are no JSON: {error}") from error
    return watch


def _instance_of(key: str, incident: Incident | None) -> Instance | None:
    match key_parts(key)[1:]:
        case rule_id, model_version, labels:
            return Instance(rule_id, model_version, json.loads(labels))
        case rule_id, model_version:
            return Instance(rule_id, model_version)
        case (rule_id,):
            return Instance(rule_id, None if incident is None else incident.model_version)
    return None


def written(watch: Watch) -> Document | None:
    """The state document of a watch; None for one with nothing to remember."""
    if watch == Watch(instance=watch.instance):
        return None
    document = cast("Document", _converter.unstructure(watch))
    document["v"] = SAMPLE_VERSION
    if watch.incident is not None and watch.incident.breached is None:
        del cast("Document", document["incident"])["breached"]
    if watch.sample is None:
        del document["sample"]
        document["v"] = INSTANCE_VERSION
    if watch.instance is None:
        del document["instance"]
        document["v"] = DOCUMENT_VERSION if watch.sample is None else SAMPLE_VERSION
    if watch.incident is not None and watch.incident.alerts:
        document["holds"] = list(watch.incident.alerts)
    return document


RULES = state_prefix("rule")
"""What the keys of all rules start with."""


def rule_key(rule_id: str) -> str:
    """The key of a rule's document."""
    return state_key("rule", rule_id)


def instances_prefix(rule_id: str) -> str:
    """What the keys of all instances of a rule start with; of an overlong id, those of others may too."""
    return state_prefix("instance", rule_id)


def watch_key(rule: AlertRule, model_version: str, labels: Mapping[str, Any] | None = None) -> str:
    """The key of the document that an evaluation of `rule` locks."""
    if rule.scope != "instance":
        return rule_key(rule.rule_id)
    return state_key("instance", rule.rule_id, model_version, canonical(dict(labels or {})))


def alert_key(alert: Alert) -> str:
    """The key of the document that acknowledging an alert locks: its incident's, or its own."""
    key = alert.context.get("watch")
    return key if isinstance(key, str) else state_key("alert", alert.alert_id)

"""Inhibition: while one rule fires for a model, what another says of the same model is kept and not told."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from f1mon_core.alerts import stored_rules
from f1mon_core.alerts import watch as watches
from f1mon_core.alerts.watch import Watch
from f1mon_core.errors import StorageError
from f1mon_core.records.fields import Document
from f1mon_core.storage import plans
from f1mon_core.storage.plans import Plan

ALL_MODELS = "all"
_log = logging.getLogger("f1mon.alerts")


class Inhibitors:
    """Which rules fire for which models, each looked up once: for one look at the outbox, or at the rules."""

    def __init__(self) -> None:
        self._owns: dict[str, Watch | None] = {}
        self._firing: dict[str, frozenset[str]] = {}

    def of_delivery(self, document: Document) -> Plan[str | None]:
        """The rule that inhibits a delivery now; None if it may be told."""
        sources, of = document.get("inhibited_by"), document.get("of")
        if not isinstance(sources, list) or not isinstance(of, dict):
            return None
        return (yield from self.of_rule(str(of["rule"]), [str(one) for one in sources], _text(of["model"])))

    def of_rule(self, rule_id: str, sources: Sequence[str], model_version: str | None) -> Plan[str | None]:
        """The rule that fires for a model and inhibits this one; None if there is none.

        Args:
            rule_id: The rule that would be inhibited.
            sources: By what it is inhibited; what the stored rule says by now goes before that.
            model_version: The model in question.

        Rules that inhibit each other do not: then neither would ever be told.
        """
        for source in (yield from self._sources(rule_id, sources)):
            firing = yield from self._models(source)
            if not firing.isdisjoint({model_version, ALL_MODELS}) and rule_id not in (yield from self._behind(source)):
                return source
        return None

    def _own(self, rule_id: str) -> Plan[Watch | None]:
        if rule_id not in self._owns:
            try:
                found = watches.read((yield from plans.document(watches.rule_key(rule_id))))
            except StorageError as error:
                # What cannot be read inhibits nothing: better told than kept for ever.
                _log.warning("whether rule %s inhibits is not known: %s", rule_id, error)
                self._owns[rule_id] = None
            else:
                self._owns[rule_id] = found
        return self._owns[rule_id]

    def _sources(self, rule_id: str, otherwise: Iterable[str] = ()) -> Plan[Sequence[str]]:
        own = yield from self._own(rule_id)
        return list(otherwise) if own is None or own.rule is None else own.rule.inhibited_by

    def _models(self, rule_id: str) -> Plan[frozenset[str]]:
        """The models a rule fires for."""
        if rule_id not in self._firing:
            own = yield from self._own(rule_id)
            unreadable: dict[str, StorageError] = {}
            held = (yield from stored_rules.instances(rule_id, unreadable)).values()
            for error in unreadable.values():
                _log.warning("whether rule %s inhibits is not known everywhere: %s", rule_id, error)
            watched = [watch for watch in (own, *held) if watch is not None and watch.phase == "firing"]
            models = {watch.incident.model_version for watch in watched if watch.incident is not None}
            self._firing[rule_id] = frozenset(model for model in models if model is not None)
        return self._firing[rule_id]

    def _behind(self, rule_id: str) -> Plan[set[str]]:
        """All rules that inhibit a rule, directly or through others."""
        found: set[str] = set()
        left = [rule_id]
        while left:
            for source in (yield from self._sources(left.pop())):
                if source not in found:
                    found.add(source)
                    left.append(source)
        return found


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None

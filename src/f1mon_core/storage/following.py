"""What a copy of a store takes in of what its source tells, where each was pruned for itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime

import attrs

from f1mon_core.errors import RestoreError
from f1mon_core.records.kinds import Fact, Prediction, same
from f1mon_core.storage.dumping import KEPT_KINDS, PAGE, FactRange, PrunedKey, Restoring, StoreRecord, goes_by_ranges
from f1mon_core.storage.select import Select


@attrs.frozen(kw_only=True)
class Following:
    """What a store does with what another one tells, as each of them may have been pruned further than the other.

    Attributes:
        itself: What it knows of itself from then on: no instant of a prune moves back.
        facts: The facts to store, predictions first, but for those that `PrunedKey`s keep away: predictions that were
            pruned, and outcomes of items of which predictions were pruned and none is stored or offered.
        pruned: The keys of predictions that go; the outcomes of an item go with its last one.
        to_know: The keys that this store must know, as a stored prediction's or a pruned one's: see `refuse`.
        ranges: The ranges of facts that become what they are in the source.
        before: The instants before which the source was pruned.
    """

    itself: StoreRecord
    facts: Sequence[Fact]
    pruned: Sequence[PrunedKey]
    to_know: Sequence[PrunedKey]
    ranges: Sequence[FactRange]
    before: Mapping[str, datetime]

    def gone(self, find: Callable[[Select], Sequence[Fact]]) -> Iterator[Fact]:
        """The facts of this store, as `find` answers them, that are to go before any is stored."""
        for part in self.ranges:
            before = None if part.kind in KEPT_KINDS else self.before[part.kind]
            after = part.after
            while True:
                found = find(Select(part.kind, until=before, after=after, limit=PAGE))
                yield from (fact for fact in found if part.holds(fact.cursor) and not _is_named(part, fact))
                if len(found) < PAGE or not part.holds(found[-1].cursor):
                    break
                after = found[-1].cursor

    def refuse(self, unknown: Iterable[PrunedKey]) -> None:
        """Refuse keys of `to_know` that this store does not know.

        Raises:
            RestoreError: If there is one. This store was pruned further than its source, which has pruned predictions
                since that never came here: only their cells are left, and in them stand some that this store counts in
                cells of its own.
        """
        for item, model in unknown:
            raise RestoreError(
                f"this store was pruned further than {self.itself.restored_from}, which has meanwhile pruned the"
                f" prediction ({item!r}, {model!r}) that never came here: its cells cannot be told from those kept"
                " here; restore into an empty store"
            )


def _is_named(part: FactRange, fact: Fact) -> bool:
    named = part.facts.get(fact.key)
    return named is not None and (part.kind not in KEPT_KINDS or same(fact, named))


def following(itself: StoreRecord, offered: Restoring) -> Following:
    """What a store that knows of itself what it does, and may be restored, does with what another one tells.

    Where the source was pruned as far, or further, the kept cells become those of the source: it has pruned all that
    this store has. Where this store was pruned further, its kept cells stay, and what it has pruned does not come back.
    """
    own, source = itself.pruned_before, offered.itself.pruned_before
    ahead = {kind for kind, before in own.items() if kind not in source or source[kind] < before}
    further = Prediction.kind in ahead

    def stays_away(fact: Fact) -> bool:
        if fact.kind in KEPT_KINDS:
            return further
        return goes_by_ranges(fact.kind) and fact.kind in ahead and fact.at is not None and fact.at < own[fact.kind]

    facts = [fact for fact in offered.facts if not stays_away(fact)]
    return Following(
        itself=StoreRecord(
            store=itself.store,
            pruned_before={kind: max(filter(None, (own.get(kind), source.get(kind)))) for kind in {**own, **source}},
            outcomes_until=_latest(itself.outcomes_until, offered.itself.outcomes_until),
            stands_until=_latest(itself.stands_until, offered.itself.stands_until),
            restored_from=offered.itself.store,
        ),
        facts=sorted(facts, key=lambda fact: not isinstance(fact, Prediction)),
        pruned=[] if further else offered.pruned,
        to_know=offered.pruned if further else [],
        ranges=[
            part for part in offered.fact_ranges if (not further if part.kind in KEPT_KINDS else part.kind in source)
        ],
        before=source,
    )


def _latest(*instants: datetime | None) -> datetime | None:
    return max((one for one in instants if one is not None), default=None)

"""Faults of what a handle remembers of its answers, of a second prune, and of outcomes in another order."""

import itertools

import attrs

from f1mon_core.records.kinds import Acknowledgement, Alert, Outcome, Prediction
from f1mon_core.records.times import MICROSECOND
from f1mon_core.storage import answers, retention, stamping
from f1mon_core.storage.memory import MemoryStorage
from planted.pruning import knowing
from planted.registry import altered, fault, rewired

AFTER = {
    "predictions": "what_is_asked_again_after_predictions_is_answered_anew",
    "outcomes": "what_is_asked_again_after_outcomes_and_corrections_is_answered_anew",
    "acknowledgements": "what_is_asked_again_after_acknowledgements_is_answered_anew",
    "facts of a step": "what_is_asked_again_after_the_facts_of_a_step_is_answered_anew",
    "documents": "what_is_asked_again_after_transitions_is_answered_anew",
    "a prune": "what_is_asked_again_after_prunes_is_answered_anew",
    "a restore": "what_is_asked_again_after_a_restore_is_answered_anew",
}
KINDS = {"predictions": Prediction, "outcomes": Outcome, "acknowledgements": Acknowledgement | Alert}


class _Remembering(MemoryStorage):
    """Remembers what one verb answered, and forgets it with every change but one."""

    verb = ""
    unseen = ""

    def __init__(self, **options):
        super().__init__(**options)
        self._remembered = {}

    def _asked(self, verb, *asked, **options):
        if verb != self.verb:
            return getattr(super(), verb)(*asked, **options)
        name = repr((asked, options))
        if name not in self._remembered:
            self._remembered[name] = getattr(super(), verb)(*asked, **options)
        return self._remembered[name]

    def _changed(self, change):
        if change != self.unseen:
            self._remembered.clear()

    def find(self, select):
        return self._asked("find", select)

    def count(self, select, by=()):
        return self._asked("count", select, by)

    def tally(self, query):
        return self._asked("tally", query)

    def state(self, prefix, **options):
        return self._asked("state", prefix, **options)

    def append(self, facts):
        batch = list(facts)
        kinds = [change for change, kind in KINDS.items() if all(isinstance(fact, kind) for fact in batch)]
        self._changed(*kinds[:1] or ["a mixture"])
        return super().append(batch)

    def transition(self, key, step, *, operation_id):
        stored = []

        def watched(state, now):
            change = step(state, now)
            stored.extend(change.facts)
            return change

        answer = super().transition(key, watched, operation_id=operation_id)
        self._changed("facts of a step" if stored else "documents")
        return answer

    def prune(self, before, keep=()):
        self._changed("a prune")
        return super().prune(before, keep)

    def restore(self, records):
        self._changed("a restore")
        return super().restore(records)


ASKED = {
    "find": ("predictions", "outcomes", "acknowledgements", "facts of a step", "a prune", "a restore"),
    "count": ("predictions", "outcomes", "acknowledgements", "facts of a step", "a prune", "a restore"),
    "tally": ("predictions", "outcomes", "facts of a step", "a restore"),
    "state": ("documents", "facts of a step", "a restore"),
}
for _verb, _changes in ASKED.items():
    for _change in _changes:
        fault(f"what {_verb} answered stands through {_change}", caught_by=AFTER[_change])(
            type("Remembering", (_Remembering,), {"verb": _verb, "unseen": _change, "__module__": __name__})
        )


class _RememberingMany(_Remembering):
    """Remembers answers about more rows than a small test has."""

    unseen = "predictions"

    def _asked(self, verb, *asked, **options):
        if len(self._contents.of_kind("prediction")) < 2_000:
            return getattr(MemoryStorage, verb)(self, *asked, **options)
        return super()._asked(verb, *asked, **options)

    def _changed(self, change):
        pass


for _verb in ("find", "count", "tally"):
    fault(
        f"what {_verb} answered of thousands of rows stands for good",
        caught_by="windows_of_thousands_of_rows_are_answered_anew",
    )(type("RememberingMany", (_RememberingMany,), {"verb": _verb, "__module__": __name__}))


@fault("a handle finds its own lists again", caught_by="what_is_asked_again_after_what_was_refused_is_what_it_was")
class HandsOutItsLists(_Remembering):
    verb = "find"


@fault(
    "documents that were handed out are remembered",
    caught_by="what_is_asked_again_after_what_was_refused_is_what_it_was",
)
class HandsOutItsDocuments(_Remembering):
    verb = "state"


@fault("a refused batch labels its items", caught_by="what_is_asked_again_after_what_was_refused_is_what_it_was")
class RefusedLabels(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        try:
            return super().append(batch)
        except Exception:
            for one in batch:
                if isinstance(one, Outcome) and one.at is None:
                    timed = attrs.evolve(one, at=self.clock(), recorded_at=self.clock())
                    self._contents.outcomes.setdefault(one.prediction_id, []).append(timed)
            raise


@fault("a step that raises keeps what it did", caught_by="what_is_asked_again_after_what_was_refused_is_what_it_was")
class KeepsWhatAStepDid(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def own(state, now):
            stored = self._contents.documents.get(key)
            return step(state if stored is None else stored, now)

        return super().transition(key, own, operation_id=operation_id)


# Pruned again ---------------------------------------------------------------------------------------------------------


def after_prune(name, *, caught_by):
    """A fault in what a prune leaves behind: a function of the store, what it knew and held before, and the answer."""

    def registered(damage):
        class Pruning(MemoryStorage):
            def prune(self, before, keep=()):
                was = self._contents
                pruned = super().prune(before, keep)
                return damage(self, was, pruned, keep) or pruned

        Pruning.__module__ = __name__
        fault(name, caught_by=caught_by)(Pruning)
        return damage

    return registered


FORGETS = "a_second_prune_forgets_nothing_of_the_first"
HORIZONS = "a_second_prune_leaves_the_horizon_of_what_it_keeps"
STANDS = "by_outcome_time_a_second_prune_moves_nothing_back"
EARLIER = "an_earlier_before_answers_its_own_instant"
HELD = "held_facts_are_what_they_were_and_found_by_what_they_say"
HOLDS = "holds_are_those_of_every_document_as_it_is_when_the_prune_is_done"


@after_prune("a second prune knows only the ids that it took itself", caught_by=FORGETS)
def _(store, was, pruned, keep):
    for item in was.pruned:
        store._contents.pruned.pop(item, None)


@after_prune("a prune that takes nothing forgets all ids", caught_by=FORGETS)
def _(store, was, pruned, keep):
    if not pruned.removed:
        store._contents.pruned.clear()


@after_prune("an earlier before makes ids of later times known as new", caught_by=FORGETS)
def _(store, was, pruned, keep):
    horizon = was.itself.pruned_before.get("prediction")
    if horizon is not None and pruned.before < horizon:
        store._contents.pruned = dict(itertools.islice(store._contents.pruned.items(), 1))


@after_prune("a second prune takes the newest cells of the first", caught_by=FORGETS)
def _(store, was, pruned, keep):
    for kind in ("kept_tally", "kept_cells"):
        for key in list(was.of_kind(kind))[-1:]:
            store._contents.of_kind(kind).pop(key, None)


@after_prune("a prune moves the horizon of every kind", caught_by=HORIZONS)
def _(store, was, pruned, keep):
    every = dict.fromkeys(retention.prunable_kinds(()), pruned.before)
    knowing(store, pruned_before={**store._contents.itself.pruned_before, **every})


@after_prune("a prune forgets the horizon of what it keeps", caught_by=HORIZONS)
def _(store, was, pruned, keep):
    horizons = store._contents.itself.pruned_before
    knowing(store, pruned_before={kind: at for kind, at in horizons.items() if kind not in keep})


@after_prune("all kinds have the latest horizon of any", caught_by=HORIZONS)
def _(store, was, pruned, keep):
    horizons = store._contents.itself.pruned_before
    knowing(store, pruned_before=dict.fromkeys(horizons, max(horizons.values())))


@after_prune("all kinds have the earliest horizon of any", caught_by=HORIZONS)
def _(store, was, pruned, keep):
    horizons = store._contents.itself.pruned_before
    knowing(store, pruned_before=dict.fromkeys(horizons, min(horizons.values())))


@after_prune("how far predictions stood by outcome time is that of the last prune", caught_by=STANDS)
def _(store, was, pruned, keep):
    gone = [made for key, made in was.of_kind("prediction").items() if key not in store._contents.of_kind("prediction")]
    stands = [
        max(made.instant, min(one.instant for one in was.outcomes[made.prediction_id]))
        for made in gone
        if was.outcomes.get(made.prediction_id)
    ]
    knowing(store, stands_until=max(stands, default=None))


@after_prune("how far predictions stood by outcome time ends at the horizon", caught_by=STANDS)
def _(store, was, pruned, keep):
    if store._contents.itself.stands_until is not None:
        knowing(store, stands_until=min(pruned.before, store._contents.itself.stands_until))


@after_prune("an earlier before answers the horizon that stands", caught_by=EARLIER)
def _(store, was, pruned, keep):
    return attrs.evolve(pruned, before=max(store._contents.itself.pruned_before.values()))


@after_prune("an earlier before tells again what the one before removed", caught_by=EARLIER)
def _(store, was, pruned, keep):
    told = pruned.removed or getattr(store, "told", {})
    store.told = told
    return attrs.evolve(pruned, removed=told)


@after_prune("a prune tells kinds of which nothing went", caught_by=EARLIER)
def _(store, was, pruned, keep):
    return attrs.evolve(pruned, removed={"prediction": 0, **pruned.removed})


def _held(store, kind, **changes):
    facts = store._contents.of_kind(kind)
    for key, fact in facts.items():
        facts[key] = attrs.evolve(fact, **changes)


for _what, _kind, _changes in (
    ("message", "alert", {"message": ""}),
    ("rule", "alert", {"rule_id": None}),
    ("severity", "alert", {"severity": "warning"}),
    ("model", "alert", {"model_version": "podium-1"}),
    ("metric", "alert", {"metric_name": "accuracy"}),
    ("note", "acknowledgement", {"note": ""}),
    ("author", "acknowledgement", {"by": "ada"}),
    ("given time", "alert", {"at_given": False}),
):
    after_prune(f"a held {_kind} loses its {_what}", caught_by=HELD)(
        lambda store, was, pruned, keep, kind=_kind, changes=_changes: _held(store, kind, **changes)
    )


@after_prune("a held fact stands at the horizon from then on", caught_by=HELD)
def _(store, was, pruned, keep):
    _held(store, "alert", at=pruned.before)


def holding(name, held_by):
    """A fault in which of the facts a prune takes to be held."""
    pruning = rewired(MemoryStorage.prune, held_by=held_by)
    fault(name, caught_by=HOLDS)(type("Holding", (MemoryStorage,), {"prune": pruning, "__module__": __name__}))


holding("holds are those of the first document", lambda found: retention.held_by(list(found)[:1]))
holding("documents that are due hold nothing", lambda found: retention.held_by(d for d in found if "due" not in d))
holding(
    "what a document held before counts as held",
    lambda found: retention.held_by(
        one for document in found for one in (document, document.get("before")) if isinstance(one, dict)
    ),
)
holding(
    "any list of names in a document holds",
    lambda found: {name for one in found for names in one.values() if isinstance(names, list) for name in names},
)


class _HeldOnce(MemoryStorage):
    _ever = frozenset()

    def prune(self, before, keep=()):
        self._ever |= retention.held_by(self._contents.documents.values())
        return rewired(MemoryStorage.prune, held_by=lambda _: self._ever)(self, before, keep)


fault("what was held once is held for ever", caught_by=HOLDS)(_HeldOnce)


@fault("what a document of also holds is not held", caught_by=HOLDS)
class AlsoHoldsNothing(MemoryStorage):
    def prune(self, before, keep=()):
        own = {key: one for key, one in self._contents.documents.items() if not key.startswith("other")}
        return rewired(MemoryStorage.prune, held_by=lambda _: retention.held_by(own.values()))(self, before, keep)


# Outcomes in another order --------------------------------------------------------------------------------------------

UNORDERED = "outcomes_may_come_in_another_order_than_they_were_known_while_the_clock_goes_on"
WITHIN = "which_outcome_of_a_batch_is_current_its_times_say_and_not_its_order"


def tallied(name, caught_by, known):
    """A fault in which outcomes a tally takes an item to have."""

    class Tallied(MemoryStorage):
        tally = rewired(
            MemoryStorage.tally,
            answers=altered(
                answers,
                fold_cells=lambda made, outcomes, query: answers.fold_cells(
                    made, {item: known(found, query) for item, found in outcomes.items()}, query
                ),
            ),
        )

    Tallied.__module__ = __name__
    fault(name, caught_by=caught_by)(Tallied)


tallied("the outcome that came last is current", UNORDERED, lambda found, _: found[-1:])
tallied("the first outcome that came is the first that was known", WITHIN, lambda found, _: [
    one for one in found if one.instant >= found[0].instant
])  # fmt: skip
tallied("an outcome counts as known only once it was recorded", UNORDERED, lambda found, query: [
    one for one in found if query.as_of is None or one.recorded_at <= query.as_of
])  # fmt: skip
tallied("an outcome counts as recorded when it was known", UNORDERED, lambda found, query: [
    one if query.as_recorded is None else attrs.evolve(one, recorded_at=one.at) for one in found
])  # fmt: skip
tallied("an outcome that came late is left out", UNORDERED, lambda found, _: [
    one for number, one in enumerate(found) if all(one.instant > other.instant for other in found[:number])
])  # fmt: skip


def newest(name, caught_by, of):
    """A fault in which outcome a correction is held against."""
    staged = rewired(MemoryStorage._staged, _newest=of)
    fault(name, caught_by=caught_by)(type("Newest", (MemoryStorage,), {"_staged": staged, "__module__": __name__}))


def _all(offered, *held):
    return [one for outcomes in held for one in outcomes.get(offered.prediction_id, ())]


newest(
    "a correction is held against the outcome that came last",
    UNORDERED,
    lambda offered, *held: next(reversed(_all(offered, *held)), None) if isinstance(offered, Outcome) else None,
)
newest(
    "a correction in a batch does not see the batch",
    WITHIN,
    lambda offered, stored, _: (
        max(_all(offered, stored), key=lambda one: one.instant, default=None) if isinstance(offered, Outcome) else None
    ),
)
newest(
    "a correction in a batch sees nothing but the batch",
    UNORDERED,
    lambda offered, _, batch: (
        max(_all(offered, batch), key=lambda one: one.instant, default=None) if isinstance(offered, Outcome) else None
    ),
)


@fault("a correction in a batch is known at once, whatever the batch knows later", caught_by=WITHIN)
class KnownAtOnce(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            timed=lambda offered, now, newest=None: (
                attrs.evolve(offered, at=max(now, min(newest.instant, now) + MICROSECOND), at_given=False)
                if isinstance(offered, Outcome)
                and offered.at is None
                and newest is not None
                and newest.actual_outcome != offered.actual_outcome
                else stamping.timed(offered, now, newest)
            ),
        ),
    )


@fault("a batch is stored in the order of its times", caught_by=WITHIN)
class StoredByTime(MemoryStorage):
    def append(self, facts):
        return super().append(sorted(facts, key=lambda one: (one.at is None, one.at or self.clock())))

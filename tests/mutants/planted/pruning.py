"""Faults in `prune`, `check` and `close`, and in what a handle shows of itself."""

from pathlib import Path

import attrs

from f1mon_core.errors import ClosedError, PrunedError
from f1mon_core.records.kinds import KINDS, Prediction
from f1mon_core.records.times import EPOCH
from f1mon_core.storage import retention
from f1mon_core.storage.contract import CheckReport, Pruned
from f1mon_core.storage.memory import MemoryStorage, _Contents
from f1mon_core.storage.tally import KEPT_BINS, KEPT_BUCKET
from planted.registry import altered, fault, rewired


def knowing(store, /, **changes):
    """Let a store in memory know something else of itself."""
    store._contents.itself = attrs.evolve(store._contents.itself, **changes)


@fault("pruning forgets the ids", caught_by="a_repeat_of_what_was_pruned_is_refused_and_totals_stand")
class IdsForgotten(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        self._contents.pruned.clear()
        return pruned


@fault("a prune with an earlier time moves the horizon back", caught_by="a_horizon_never_moves_back")
class HorizonMovesBack(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        moved = dict.fromkeys(retention.prunable_kinds(keep), pruned.before)
        knowing(self, pruned_before={**self._contents.itself.pruned_before, **moved})
        return pruned


@fault("pruning stores no horizon", caught_by="a_repeat_of_what_was_pruned_is_refused_and_totals_stand")
class NoHorizon(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        knowing(self, pruned_before={})
        return pruned


@fault("the horizon is that of predictions only", caught_by="a_repeat_of_what_was_pruned_is_refused_and_totals_stand")
class HorizonOfPredictionsOnly(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        before = self._contents.itself.pruned_before
        knowing(self, pruned_before={kind: at for kind, at in before.items() if kind == "prediction"})
        return pruned


@fault("kept cells are lost", caught_by="totals_the_kept_cells_can_answer_stand")
class KeptTallyLost(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        self._contents.of_kind("kept_tally").clear()
        return pruned


@fault("a second prune replaces the cells of the first", caught_by="totals_the_kept_cells_can_answer_stand")
class SecondPruneReplaces(MemoryStorage):
    def prune(self, before, keep=()):
        self._contents.of_kind("kept_tally").clear()
        return super().prune(before, keep)


@fault("kept cells do not say which were labelled", caught_by="totals_the_kept_cells_can_answer_stand")
class KeptUnlabelled(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        for key, kept in self._contents.of_kind("kept_tally").items():
            cells = [[row[0], None, *row[2:]] for row in kept.cells]
            self._contents.of_kind("kept_tally")[key] = attrs.evolve(kept, cells=cells)
        return pruned


@fault("pruning cuts within the hour", caught_by="the_horizon_is_floored_to_the_full_hour")
class NotFloored(MemoryStorage):
    prune = rewired(MemoryStorage.prune, retention=altered(retention, prune_horizon=lambda before: before))


@fault("pruning takes the horizon's own hour too", caught_by="the_horizon_is_floored_to_the_full_hour")
class HorizonIncluded(MemoryStorage):
    prune = rewired(
        MemoryStorage.prune,
        retention=altered(retention, prune_horizon=lambda before: retention.prune_horizon(before) + KEPT_BUCKET),
    )


@fault("pruning keeps nothing that it was asked to keep", caught_by="kept_and_lasting_kinds_stay")
class KeepIgnored(MemoryStorage):
    def prune(self, before, keep=()):
        retention.prunable_kinds(keep)
        return super().prune(before)


@fault("pruning removes what an open incident holds", caught_by="facts_that_a_state_document_holds_stay")
class HoldsIgnored(MemoryStorage):
    prune = rewired(MemoryStorage.prune, held_by=lambda _: frozenset())


@fault("pruning removes the revisions of rules", caught_by="kept_and_lasting_kinds_stay")
class RevisionsPruned(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        held = self._contents.of_kind("rule_revision")
        for key in [key for key, fact in held.items() if fact.instant < pruned.before]:
            del held[key]
        return pruned


@fault("pruning removes predictions alone", caught_by="other_facts_before_the_horizon_go_too")
class PredictionsPrunedOnly(MemoryStorage):
    def prune(self, before, keep=()):
        others = {kind for kind in retention.prunable_kinds(keep) if kind != "prediction"}
        return super().prune(before, [*keep, *others])


@fault("kept cells are pruned like other facts", caught_by="prune_again_removes_nothing_more")
class KeptCellsPruned(MemoryStorage):
    def prune(self, before, keep=()):
        kept = self._contents.of_kind("kept_tally")
        gone = [key for key, fact in kept.items() if fact.instant < retention.prune_horizon(before)]
        for key in gone:
            del kept[key]
        pruned = super().prune(before, keep)
        return attrs.evolve(pruned, removed={**pruned.removed, "kept_tally": len(gone)}) if gone else pruned


@fault("kept cells are not found as facts", caught_by="kept_cells_are_facts_one_for_each_model_and_hour")
class KeptCellsHidden(MemoryStorage):
    def find(self, select):
        return [fact for fact in super().find(select) if fact.kind != "kept_tally"]


@fault("features lie in a column of their own, which is not pruned", caught_by="pruned_features_are_gone")
class FeaturesOutOfStep(MemoryStorage):
    def __init__(self, **options):
        super().__init__(**options)
        self._features = []

    def append(self, facts):
        held = self._contents.of_kind("prediction")
        known = set(held)
        appended = super().append(facts)
        self._features += [made.features for key, made in held.items() if key not in known]
        return appended

    def find(self, select):
        rows = {key: row for row, key in enumerate(self._contents.of_kind("prediction"))}
        return [
            attrs.evolve(fact, features=self._features[rows[fact.key]]) if isinstance(fact, Prediction) else fact
            for fact in super().find(select)
        ]


@fault(
    "outcomes of pruned predictions stay",
    caught_by="prune_removes_predictions_before_the_horizon_with_all_their_outcomes",
)
class OutcomesStay(MemoryStorage):
    def prune(self, before, keep=()):
        outcomes = dict(self._contents.of_kind("outcome"))
        pruned = super().prune(before, keep)
        self._contents.facts["outcome"] = outcomes
        return pruned


@fault("outcomes without a prediction are pruned", caught_by="outcomes_without_a_prediction_stay")
class EarlyOutcomesPruned(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        made = {key[0] for key in self._contents.of_kind("prediction")}
        held = self._contents.of_kind("outcome")
        for key in [key for key, one in held.items() if one.instant < pruned.before and key[0] not in made]:
            del held[key]
            self._contents.outcomes.pop(key[0], None)
        return pruned


@fault(
    "outcomes are pruned by their own time",
    caught_by="prune_removes_predictions_before_the_horizon_with_all_their_outcomes",
)
class LateOutcomesStay(MemoryStorage):
    def prune(self, before, keep=()):
        horizon = retention.prune_horizon(before)
        made = {key[0]: fact.instant for key, fact in self._contents.of_kind("prediction").items()}
        late = {
            key: one
            for key, one in self._contents.of_kind("outcome").items()
            if one.instant >= horizon and key[0] in made
        }
        pruned = super().prune(before, keep)
        self._contents.of_kind("outcome").update(late)
        return pruned


@fault(
    "a prune says it removed nothing", caught_by="prune_removes_predictions_before_the_horizon_with_all_their_outcomes"
)
class RemovalsUnsaid(MemoryStorage):
    def prune(self, before, keep=()):
        return Pruned(super().prune(before, keep).before, {})


@fault(
    "a window that kept cells cannot answer is answered from what is left",
    caught_by="windows_the_kept_cells_cannot_answer_are_refused",
)
class PrunedWindowAnswered(MemoryStorage):
    def tally(self, query):
        itself = self._contents.itself
        try:
            if query.bins != KEPT_BINS or query.as_of is not None:
                knowing(self, pruned_before={})
            return super().tally(query)
        finally:
            self._contents.itself = itself


@fault(
    "what pruning refuses does not say from when on it is answered",
    caught_by="windows_the_kept_cells_cannot_answer_are_refused",
)
class RefusedWithoutSince(MemoryStorage):
    def tally(self, query):
        try:
            return super().tally(query)
        except PrunedError as error:
            raise PrunedError(str(error)) from error


@fault(
    "windows by outcome are answered although their predictions were pruned",
    caught_by="windows_the_kept_cells_cannot_answer_are_refused",
)
class PrunedOutcomesAnswered(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        knowing(self, stands_until=None)
        return pruned


@fault("once pruned, no window is answered but by kept cells", caught_by="windows_after_the_horizon_answer_everything")
class KeptCellsOrNothing(MemoryStorage):
    tally = rewired(
        MemoryStorage.tally,
        retention=altered(
            retention,
            check_kept=lambda query, *horizons: (
                retention.check_kept(attrs.evolve(query, since=None), *horizons)
                and retention.check_kept(query, *horizons)
            ),
        ),
    )


@fault(
    "whether a fact lies behind the horizon is asked before it is stamped",
    caught_by="a_fact_stamped_by_the_store_is_not_behind_the_horizon",
)
class UnstampedIsOld(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        for fact in batch:
            horizon = self._contents.itself.pruned_before.get(fact.kind)
            if horizon is not None and (fact.at or EPOCH) < horizon:
                raise PrunedError(f"this {fact.kind} is older than {horizon.isoformat()}")
        return super().append(batch)


@fault(
    "the facts of a step are stored one by one, before one that was pruned",
    caught_by="a_refused_step_of_a_transition_leaves_nothing",
)
class StoredBeforeThePruned(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        def hasty(state, now):
            change = step(state, now)
            for fact in change.facts:
                self.append([fact])
            return change

        return super().transition(key, hasty, operation_id=operation_id)


@fault("kept cells are answered to windows of other models", caught_by="totals_the_kept_cells_can_answer_stand")
class KeptOfAllModels(MemoryStorage):
    tally = rewired(
        MemoryStorage.tally,
        retention=altered(
            retention,
            kept_selects=lambda query: retention.kept_selects(attrs.evolve(query, model_version=None)),
            kept_cells=lambda facts, query: retention.kept_cells(facts, attrs.evolve(query, model_version=None)),
        ),
    )


@fault("pruning takes state documents too", caught_by="prune_leaves_state_and_operations")
class StatePruned(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        self._contents.documents.clear()
        return pruned


@fault("an unknown kind to keep is passed over", caught_by="a_prune_that_cannot_be_done_removes_nothing")
class UnknownKeepTaken(MemoryStorage):
    def prune(self, before, keep=()):
        return super().prune(before, [kind for kind in keep if kind in KINDS])


@fault("check counts nothing", caught_by="check_counts_the_facts_of_each_kind")
class CheckCountsNothing(MemoryStorage):
    def check(self):
        super().check()
        return CheckReport()


@fault("check leaves the less common kinds out", caught_by="check_counts_the_facts_of_each_kind")
class CheckCountsPredictionsOnly(MemoryStorage):
    def check(self):
        facts = super().check().facts
        return CheckReport({kind: n for kind, n in facts.items() if kind in {"prediction", "outcome", "alert"}})


@fault("close twice is an error", caught_by="closing_twice_is_a_no_op")
class CloseOnce(MemoryStorage):
    def close(self):
        if self._contents is None:
            raise ClosedError("closed already")
        super().close()


@fault("a closed store still writes", caught_by="every_verb_of_a_closed_handle_raises_closed_error")
class UseAfterClose(MemoryStorage):
    def close(self):
        self._contents = _Contents()


@fault(
    "a closed store answers state as if it were empty", caught_by="every_verb_of_a_closed_handle_raises_closed_error"
)
class EmptyAfterClose(MemoryStorage):
    def state(self, prefix, **options):
        return {} if self._contents is None else super().state(prefix, **options)


@fault("use after close is an AttributeError", caught_by="every_verb_of_a_closed_handle_raises_closed_error")
class WrongErrorAfterClose(MemoryStorage):
    def _open(self):
        return self._contents


@fault("a store forgets the clock it was opened with", caught_by="a_store_shows_the_clock_it_was_opened_with")
class ClockForgotten(MemoryStorage):
    def __init__(self, *, clock=None, address="memory://"):
        super().__init__(clock=None, address=address)
        self._given = clock


@fault("a store keeps its version among the documents", caught_by="a_store_is_empty_and_sound_when_it_is_fresh")
class VersionAmongDocuments(MemoryStorage):
    def __init__(self, **options):
        super().__init__(**options)
        self._contents.documents["schema"] = {"version": 1}


@fault("a store that was never used cannot be closed", caught_by="a_handle_that_was_never_used_closes")
class ClosesWhatItNeverOpened(MemoryStorage):
    _used = None

    def _open(self):
        self._used = super()._open()
        return self._used

    def close(self):
        self._used.facts  # noqa: B018 - what a lazily opened connection's close comes to
        super().close()


@fault("a store has no address", caught_by="a_store_is_what_its_protocol_says")
class NoAddress(MemoryStorage):
    def __init__(self, **options):
        super().__init__(**options)
        del self.address


@fault("a store cannot be checked", caught_by="a_store_is_what_its_protocol_says")
class NoCheck(MemoryStorage):
    check = None


@fault(
    "the address is shown as it was given, with its password",
    caught_by="an_address_is_text_without_a_password",
    over="memory by address",
)
class AddressAsGiven(MemoryStorage):
    def __init__(self, *, url, clock=None):
        super().__init__(clock=clock, address=url)


@fault("the address is no text", caught_by="an_address_is_text_without_a_password")
class AddressIsAPath(MemoryStorage):
    def __init__(self, *, clock=None):
        super().__init__(clock=clock, address=Path("store.db"))

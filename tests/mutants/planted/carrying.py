"""Faults in `dump` and `restore`."""

import attrs

from f1mon_core.errors import ConflictError, InvalidRecordError, SchemaError
from f1mon_core.storage import dumping
from f1mon_core.storage.dumping import Dumped
from f1mon_core.storage.following import following as sound_following
from f1mon_core.storage.memory import MemoryStorage
from planted.pruning import knowing
from planted.registry import fault, rewired


def telling(name, *, caught_by):
    """Plant a store whose pages are what a function makes of each record: a record, or None for none."""

    def planted(told):
        class Telling(MemoryStorage):
            def dump(self, after=None):
                page = super().dump(after)
                records = [one for one in map(told, page.records) if one is not None]
                return Dumped(records, page.after)

        fault(name, caught_by=caught_by)(Telling)
        return told

    return planted


@telling("kept cells are not dumped", caught_by="a_store_is_carried_away_whole")
def _without_kept(record):
    return None if record["record"] == "fact" and record["fact"]["kind"] == "kept_cells" else record


@telling("state documents are dumped without when they are due", caught_by="a_store_is_carried_away_whole")
def _without_due(record):
    if record["record"] != "document":
        return record
    return {**record, "document": {name: one for name, one in record["document"].items() if name != "due"}}


@telling("labels are dumped as texts", caught_by="labels_and_segments_come_through_with_their_types")
def _labels_as_text(record):
    if record["record"] != "fact" or "predicted_outcome" not in record["fact"]:
        return record
    return {**record, "fact": {**record["fact"], "predicted_outcome": str(record["fact"]["predicted_outcome"])}}


@telling("pruned keys are not dumped", caught_by="what_was_pruned_is_known_where_it_was_carried_to")
def _without_pruned(record):
    return None if record["record"] == "pruned" else record


@telling("the instants of prunes are not dumped", caught_by="what_was_pruned_is_known_where_it_was_carried_to")
def _without_horizons(record):
    return {**record, "pruned_before": {}} if record["record"] == "store" else record


@telling("operations are not dumped", caught_by="an_operation_is_answered_where_it_was_carried_to")
def _without_operations(record):
    return None if record["record"] == "operation" else record


@telling(
    "results of operations are dumped without their values",
    caught_by="an_operation_is_answered_where_it_was_carried_to",
)
def _without_results(record):
    return {**record, "result": None} if record["record"] == "operation" else record


@fault("a dump re-stamps recorded_at", caught_by="a_fact_keeps_the_times_it_was_recorded_with")
class DumpStamps(MemoryStorage):
    def restore(self, records):
        self.append([])
        offered = dumping.restoring(records)
        stamped = [attrs.evolve(fact, recorded_at=self.clock()) for fact in offered.facts]
        restoring = rewired(MemoryStorage.restore, restoring=lambda _: attrs.evolve(offered, facts=stamped))
        return restoring(self, [])


@fault("a restored fact has a time that was given", caught_by="a_fact_keeps_the_times_it_was_recorded_with")
class RestoredAsGiven(MemoryStorage):
    def restore(self, records):
        offered = dumping.restoring(records)
        given = [attrs.evolve(fact, at_given=True) for fact in offered.facts]
        restoring = rewired(MemoryStorage.restore, restoring=lambda _: attrs.evolve(offered, facts=given))
        return restoring(self, [])


@fault("a dump is its first page", caught_by="a_store_of_many_pages_comes_through")
class FirstPage(MemoryStorage):
    def dump(self, after=None):
        return attrs.evolve(super().dump(after), after=None)


@fault("a page of nothing is followed by another", caught_by="an_empty_store_is_carried_away_too")
class EmptyGoesOn(MemoryStorage):
    def dump(self, after=None):
        page = super().dump(after)
        return page if any(self._contents.facts.values()) else attrs.evolve(page, after='["pruned",null]')


@fault("what is there already counts as restored", caught_by="carried_twice_changes_nothing")
class RestoredAgain(MemoryStorage):
    def restore(self, records):
        came = super().restore(records)
        return attrs.evolve(came, new=came.new + came.repeated, repeated=0)


@fault("what a page says twice is stored twice", caught_by="a_page_may_be_restored_twice_in_one_call")
class TwiceInOneCall(MemoryStorage):
    def restore(self, records):
        came = super().restore(records)
        return attrs.evolve(came, new=came.new + came.repeated, repeated=0)


@fault("documents that are gone stay where they were carried to", caught_by="a_second_pass_brings_what_changed")
class GoneDocumentsStay(MemoryStorage):
    def restore(self, records):
        before = dict(self._contents.documents)
        came = super().restore(records)
        self._contents.documents = {**before, **self._contents.documents}
        return came


@fault("a prediction stays that its source has pruned since", caught_by="a_second_pass_brings_what_changed")
class PrunedStay(MemoryStorage):
    def restore(self, records):
        records = list(records)
        before = dict(self._contents.of_kind("prediction"))
        came = super().restore(records)
        for key, fact in before.items():
            if key not in self._contents.of_kind("prediction"):
                self._contents.put(fact)
        return came


@fault("a page takes all documents that it does not name", caught_by="documents_outside_the_range_of_a_page_stay")
class AllDocumentsGo(MemoryStorage):
    def restore(self, records):
        offered = dumping.restoring(records)
        if offered.ranges:
            self._contents.documents.clear()
        return super().restore(records)


@fault("a restore is done fact by fact", caught_by="a_restore_is_atomic")
class RestoredFactByFact(MemoryStorage):
    def restore(self, records):
        first, *others = records
        for one in others:
            if one["record"] == "fact":
                super().restore([first, one])
        return super().restore([first, *others])


@fault("what was pruned is known before the facts are looked at", caught_by="a_restore_is_atomic")
class HorizonsFirst(MemoryStorage):
    def restore(self, records):
        try:
            return super().restore(records)
        except ConflictError:
            knowing(self, pruned_before=dumping.restoring(records).itself.pruned_before)
            raise


@fault("a different fact is passed over", caught_by="a_different_fact_under_a_key_is_a_conflict")
class DifferentPassedOver(MemoryStorage):
    restore = rewired(MemoryStorage.restore, same=lambda *_: True)


@fault("a store takes the records of any other", caught_by="a_store_that_holds_something_else_refuses")
class TakesAll(MemoryStorage):
    restore = rewired(MemoryStorage.restore, check_restorable=lambda *_, **__: None)


@fault("a store without facts counts as empty", caught_by="a_store_that_holds_something_else_refuses")
class EmptyWithoutFacts(MemoryStorage):
    restore = rewired(
        MemoryStorage.restore,
        check_restorable=lambda itself, offered, *, empty: dumping.check_restorable(
            itself, offered, empty=empty or itself.restored_from is None
        ),
    )


@fault(
    "a restored store takes the name of its source",
    caught_by="a_store_goes_on_where_it_was_carried_to_and_can_be_carried_on",
)
class NameOfTheSource(MemoryStorage):
    def restore(self, records):
        records = list(records)
        came = super().restore(records)
        knowing(self, store=records[0]["store"])
        return came


@fault("records of any contract are read", caught_by="records_of_another_contract_are_refused")
class AnyContract(MemoryStorage):
    def restore(self, records):
        try:
            return super().restore(records)
        except (SchemaError, InvalidRecordError):
            return dumping.Dumped([])


@fault(
    "what contract 1 pruned is known by its id alone",
    caught_by="what_an_earlier_f1mon_pruned_stays_pruned_under_every_model",
)
class OldPrunesForgotten(MemoryStorage):
    def restore(self, records):
        came = super().restore(records)
        for models in self._contents.pruned.values():
            models.discard(None)
        return came


@fault(
    "how far contract 1 pruned by outcome is forgotten",
    caught_by="what_an_earlier_f1mon_pruned_stays_pruned_under_every_model",
)
class OldHorizonForgotten(MemoryStorage):
    def restore(self, records):
        came = super().restore(records)
        knowing(self, outcomes_until=None)
        return came


@fault(
    "facts other than predictions stay that the source pruned",
    caught_by="facts_of_any_kind_that_the_source_pruned_go_with_the_next_pass",
)
class RangesPassedOver(MemoryStorage):
    def restore(self, records):
        return super().restore([one for one in records if one["record"] != "facts"])


@fault(
    "what something held goes with what was pruned",
    caught_by="facts_of_any_kind_that_the_source_pruned_go_with_the_next_pass",
)
class HeldGoesToo(MemoryStorage):
    def restore(self, records):
        came = super().restore(records)
        horizon = self._contents.itself.pruned_before.get("alert")
        alerts = self._contents.of_kind("alert")
        for key in [key for key, fact in alerts.items() if horizon is not None and fact.at < horizon]:
            del alerts[key]
        return came


def following_otherwise(name, *, caught_by):
    """Plant a store that follows another as a function of itself and the right way says."""

    def planted(otherwise):
        def following(itself, offered):
            return otherwise(itself, offered, sound_following(itself, offered))

        class Otherwise(MemoryStorage):
            restore = rewired(MemoryStorage.restore, following=following)

        fault(name, caught_by=caught_by)(Otherwise)
        return otherwise

    return planted


@following_otherwise(
    "the horizon of a copy is that of its source",
    caught_by="what_a_copy_pruned_further_than_its_source_does_not_come_back",
)
def horizon_moves_back(_itself, offered, told):
    return attrs.evolve(told, itself=attrs.evolve(told.itself, pruned_before=offered.itself.pruned_before))


@following_otherwise(
    "alerts come back that a copy pruned",
    caught_by="what_a_copy_pruned_further_than_its_source_does_not_come_back",
)
def all_facts_come(_itself, offered, told):
    return attrs.evolve(told, facts=offered.facts)


@fault(
    "predictions come back that a copy pruned",
    caught_by="what_a_copy_pruned_further_than_its_source_does_not_come_back",
)
class PrunedComeBack(MemoryStorage):
    def restore(self, records):
        records = list(records)
        kept = {item: set(models) for item, models in self._contents.pruned.items()}
        self._contents.pruned.clear()
        try:
            return super().restore(records)
        finally:
            for item, models in kept.items():
                self._contents.pruned.setdefault(item, set()).update(models)


@following_otherwise(
    "a copy keeps its own cells beside those of its source",
    caught_by="a_copy_that_pruned_for_itself_has_what_its_source_keeps_once_that_pruned_as_far",
)
def own_cells_stay(_itself, _offered, told):
    return attrs.evolve(told, ranges=[part for part in told.ranges if not part.kind.startswith("kept")])


@following_otherwise(
    "a copy that pruned further takes its source's cells too",
    caught_by="a_copy_that_pruned_for_itself_has_what_its_source_keeps_once_that_pruned_as_far",
)
def cells_twice(_itself, offered, told):
    return attrs.evolve(told, facts=offered.facts)


@following_otherwise(
    "a prediction of which a copy knows nothing but cells is passed over",
    caught_by="a_copy_that_pruned_further_refuses_predictions_of_which_only_cells_are_left",
)
def unknown_passed_over(_itself, _offered, told):
    return attrs.evolve(told, to_know=[])


@fault(
    "what is offered is put before what was pruned goes",
    caught_by="what_went_with_a_pruned_prediction_labels_none_that_came_since",
)
class PutBeforeTaken(MemoryStorage):
    def restore(self, records):
        records = list(records)
        super().restore([one for one in records if one["record"] in {"store", "fact"}])
        return super().restore(records)

"""Faults in what tells predictions apart: several models on one item, labels, and segments."""

import attrs

from f1mon_core.errors import ConflictError
from f1mon_core.records.kinds import Outcome, Prediction, same
from f1mon_core.storage import answers, change, retention, stamping
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.tally import MAX_GROUPS, Tally, answered, merge_cells, segments_of
from planted.pruning import knowing
from planted.registry import altered, fault, rewired
from planted.tallying import folded_with


class _Changed(MemoryStorage):
    """Facts are changed before they are stored."""

    def changed(self, fact):
        raise NotImplementedError

    def append(self, facts):
        return super().append([self.changed(fact) for fact in facts])


# Append ---------------------------------------------------------------------------------------------------------------


@fault("each fact is stamped by itself", caught_by="a_batch_has_one_instant_of_whatever_kinds_it_is")
class StampedApart(MemoryStorage):
    def append(self, facts):
        each = [super(StampedApart, self).append([fact]) for fact in facts]
        return Appended(sum(one.new for one in each), sum(one.repeated for one in each))


@fault(
    "the facts of a batch are told kind by kind", caught_by="of_several_contradictions_the_first_of_the_batch_is_told"
)
class ToldByKind(MemoryStorage):
    def append(self, facts):
        return super().append(sorted(facts, key=lambda fact: fact.kind))


@fault("an item has one prediction", caught_by="several_models_may_predict_one_item")
class OnePredictionAnItem(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        held = {fact.prediction_id: fact for fact in self._contents.of_kind("prediction").values()}
        for fact in batch:
            if isinstance(fact, Prediction):
                stored = held.setdefault(fact.prediction_id, fact)
                if stored.model_version != fact.model_version:
                    raise ConflictError(stored, fact)
        return super().append(batch)


@fault(
    "an outcome labels the predictions that are there",
    caught_by="an_outcome_labels_every_models_prediction_of_its_item_also_those_that_come_later",
)
class LatecomersUnlabelled(MemoryStorage):
    def tally(self, query):
        models = {item: next(iter(own)) for item, own in self._first_models().items()}
        made = [one for one in self._predictions() if models[one.prediction_id] == one.model_version]
        late = [one for one in self._predictions() if one not in made]
        cells = [*answers.fold_cells(made, self._contents.outcomes, query), *answers.fold_cells(late, {}, query)]
        return answered(query, cells)

    def _first_models(self):
        first = {}
        for one in self._predictions():
            first.setdefault(one.prediction_id, []).append(one.model_version)
        return first


@fault("a conflict names the first model's fact", caught_by="a_conflict_names_the_models_own_fact")
class ConflictOfTheFirst(MemoryStorage):
    def append(self, facts):
        try:
            return super().append(facts)
        except ConflictError as conflict:
            kind, item = conflict.stored.kind, conflict.stored.key[0]
            first = next(one for one in self._contents.of_kind(kind).values() if one.key[0] == item)
            raise ConflictError(first, conflict.offered) from None


@fault("a label is compared without its type", caught_by="labels_compare_with_their_type")
class LabelsWithoutType(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            timed=lambda offered, now, newest=None: (
                None
                if newest is not None
                and offered.at is None
                and str(newest.actual_outcome) == str(getattr(offered, "actual_outcome", None))
                else stamping.timed(offered, now, newest)
            ),
        ),
    )


@fault("labels that look like numbers become numbers", caught_by="labels_compare_with_their_type")
class LabelsAsNumbers(_Changed):
    def changed(self, fact):
        for name in ("predicted_outcome", "actual_outcome"):
            label = getattr(fact, name, None)
            if isinstance(label, str) and label.isdecimal():
                return attrs.evolve(fact, **{name: int(label)})
        return fact


@fault("a label that is 0 becomes the text of it", caught_by="a_bool_label_is_kept_as_0_or_1")
class FalsyLabelsAsText(_Changed):
    def changed(self, fact):
        return attrs.evolve(fact, actual_outcome="0") if getattr(fact, "actual_outcome", None) == 0 else fact


@fault("labels of text are compared without their case", caught_by="labels_that_look_alike_are_different_labels")
class LabelsWithoutCase(_Changed):
    def changed(self, fact):
        label = getattr(fact, "predicted_outcome", None)
        return attrs.evolve(fact, predicted_outcome=label.lower()) if isinstance(label, str) else fact


@fault("a retry may bring other segments", caught_by="segments_are_part_of_the_fact")
class SegmentsApart(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        same=lambda stored, offered: same(
            stored,
            attrs.evolve(offered, segments=stored.segments)
            if isinstance(offered, Prediction) and isinstance(stored, Prediction)
            else offered,
        ),
    )


@fault("segments are texts", caught_by="segments_are_part_of_the_fact")
class SegmentsAsText(_Changed):
    def changed(self, fact):
        own = getattr(fact, "segments", {})
        return attrs.evolve(fact, segments={name: str(one) for name, one in own.items()}) if own else fact


@fault(
    "every labelled item counts as labelled before", caught_by="predictions_of_items_labelled_a_day_before_are_counted"
)
class PrelabelledAtOnce(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged, stamping=altered(stamping, is_prelabelled=lambda _, first: first is not None)
    )


@fault(
    "corrections make an item's label young again",
    caught_by="predictions_of_items_labelled_a_day_before_are_counted",
)
class PrelabelledByTheNewest(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        appended = super().append(batch)
        newest = {item: max(one.instant for one in held) for item, held in self._contents.outcomes.items()}
        made = [fact for fact in batch if isinstance(fact, Prediction) and fact.at]
        number = sum(stamping.is_prelabelled(one, newest.get(one.prediction_id)) for one in made)
        return attrs.evolve(appended, prelabelled=number if appended.new else 0)


@fault(
    "an outcome counts as unmatched until it is repeated",
    caught_by="outcomes_of_items_nobody_predicted_are_counted_or_not_spoken_of",
)
class AllUnmatched(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        return attrs.evolve(super().append(batch), unmatched=sum(isinstance(fact, Outcome) for fact in batch))


# Listing --------------------------------------------------------------------------------------------------------------


@fault(
    "an item has one row in a listing", caught_by="several_models_predictions_of_an_item_are_found_by_time_and_model"
)
class OneRowAnItem(MemoryStorage):
    def find(self, select):
        found = super().find(select)
        if select.kind != "prediction" or select.where.get("prediction_id") is None:
            return found
        return list({fact.prediction_id: fact for fact in found}.values())


@fault(
    "lacking and having compare model versions too",
    caught_by="lacking_and_having_ask_for_the_item_whichever_model_predicted_it",
)
class OutcomesOfTheFirstModel(MemoryStorage):
    def find(self, select):
        found = super().find(select)
        if select.kind != "prediction" or select.having is None:
            return found
        return list({fact.prediction_id: fact for fact in reversed(found)}.values())[::-1]


@fault(
    "lacking and having compare keys of whatever kinds",
    caught_by="kinds_whose_keys_begin_with_another_field_have_none_in_common",
)
class AnyKeysInCommon(MemoryStorage):
    find = rewired(
        MemoryStorage.find,
        answers=altered(answers, fold_find=rewired(answers.fold_find, have_in_common=lambda *_: True)),
    )


@fault("a cursor goes on behind the item", caught_by="paging_works_among_several_models_of_one_item")
class CursorOfTheItem(MemoryStorage):
    def find(self, select):
        found = super().find(select)
        if select.kind != "prediction" or select.after is None:
            return found
        return [fact for fact in found if (fact.at, fact.key[0]) != (select.after.at, select.after.key[0])]


# Tallies --------------------------------------------------------------------------------------------------------------


@fault(
    "by outcome a prediction stands at the first known_at, made or not",
    caught_by="by_outcome_time_a_prediction_stands_at_the_later_of_its_own_time_and_its_first_known_at",
)
class BeforeItWasMade(MemoryStorage):
    tally = folded_with(max=min)


@fault(
    "the extremes of a cell are its own",
    caught_by="extremes_are_those_of_all_predictions_whatever_their_outcome",
)
class OwnExtremes(MemoryStorage):
    tally = rewired(MemoryStorage.tally, answered=lambda query, cells: Tally(query.bins, merge_cells(cells)))


@fault("a tally is split by one name at most", caught_by="segments_split_the_cells_by_one_name_and_by_two")
class SplitByOne(MemoryStorage):
    def tally(self, query):
        return super().tally(attrs.evolve(query, by=query.by[:1]))


@fault("names of segments are split by in their order", caught_by="segments_split_the_cells_by_one_name_and_by_two")
class SplitSorted(MemoryStorage):
    def tally(self, query):
        return super().tally(attrs.evolve(query, by=tuple(sorted(query.by))))


def _grouped(group):
    """`MemoryStorage.tally` in which the group of a prediction is what `group(query, segments)` says."""
    return folded_with(segments_of=group)


@fault("predictions without a segment are left out", caught_by="predictions_without_a_segment_are_in_the_group_of_none")
class WithoutLeftOut(MemoryStorage):
    tally = _grouped(lambda query, own: None if any(name not in own for name in query.by) else segments_of(query, own))


@fault("an empty segment is as good as none", caught_by="predictions_without_a_segment_are_in_the_group_of_none")
class EmptyIsNone(MemoryStorage):
    tally = _grouped(lambda query, own: segments_of(query, {name: one for name, one in own.items() if one != ""}))


@fault(
    "an empty collection selects everything", caught_by="where_selects_by_a_value_a_collection_or_the_lack_of_a_name"
)
class EmptySelectsAll(MemoryStorage):
    def tally(self, query):
        return super().tally(attrs.evolve(query, where={name: one for name, one in query.where.items() if one != ()}))


@fault("None selects nothing", caught_by="where_selects_by_a_value_a_collection_or_the_lack_of_a_name")
class NoneSelectsNothing(MemoryStorage):
    tally = _grouped(
        lambda query, own: None if any(name not in own for name in query.where) else segments_of(query, own)
    )


@fault("segments are compared as texts", caught_by="segments_compare_with_their_type")
class GroupsAsText(MemoryStorage):
    tally = _grouped(
        lambda query, own: (
            None if (group := segments_of(query, own)) is None else tuple(one and str(one) for one in group)
        )
    )


@fault("segments are compared without their case", caught_by="segments_of_hostile_names_and_values_stay_apart")
class GroupsWithoutCase(MemoryStorage):
    tally = _grouped(
        lambda query, own: segments_of(
            query, {name: one.lower() if isinstance(one, str) else one for name, one in own.items()}
        )
    )


@fault("the name of a segment is a path", caught_by="segments_of_hostile_names_and_values_stay_apart")
class NamesAsPaths(MemoryStorage):
    tally = _grouped(lambda query, own: segments_of(query, {name: one for name, one in own.items() if "." not in name}))


@fault(
    "of too many groups the first are answered",
    caught_by="more_groups_than_can_be_answered_are_refused_with_their_number",
)
class FirstGroups(MemoryStorage):
    def tally(self, query):
        plain = super().tally(attrs.evolve(query, by=()))
        if not query.by:
            return plain
        cells = [*answers.fold_cells(self._predictions(), self._contents.outcomes, query)]
        return answered(query, cells[:MAX_GROUPS])


@fault("where is answered without by", caught_by="tallies_by_segments_of_adjacent_windows_add_up_to_the_whole")
class WhereWithoutBy(MemoryStorage):
    def tally(self, query):
        return super().tally(attrs.evolve(query, by=()) if query.by and query.where else query)


# Operations and documents ---------------------------------------------------------------------------------------------


@fault("any operation id is taken", caught_by="an_operation_id_that_cannot_be_one_is_refused_and_leaves_nothing")
class AnyOperationId(MemoryStorage):
    transition = rewired(
        MemoryStorage.transition,
        check_operation_id=lambda _: None,
        operation_digest=lambda key, operation_id: repr((key, operation_id)),
    )


@fault("operation ids are compared without their case", caught_by="operation_ids_of_hostile_text_stay_apart")
class OperationsWithoutCase(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        return super().transition(key, step, operation_id=operation_id.lower())


@fault("a limit below zero counts from the end", caught_by="a_limit_or_a_place_that_cannot_be_one_is_refused")
class LimitFromTheEnd(MemoryStorage):
    state = rewired(
        MemoryStorage.state,
        check_state=lambda prefix, due_before, limit, after: change.check_state(
            prefix, due_before, limit if limit != -1 else None, after
        ),
    )


# Pruning --------------------------------------------------------------------------------------------------------------


def _keeping(kept):
    """`MemoryStorage` whose prunes keep what `kept(facts)` makes of what they should."""

    class Kept(MemoryStorage):
        _prune_predictions = staticmethod(
            rewired(
                MemoryStorage._prune_predictions,
                retention=altered(retention, fold_kept=lambda *gone: kept(retention.fold_kept(*gone))),
            )
        )

    return Kept


def _rows(facts, keep, *, split=True):
    """Kept cells of which only some rows are kept."""
    return [
        attrs.evolve(fact, cells=[row for row in fact.cells if keep(row)])
        if fact.kind == "kept_cells" and (fact.segment is not None) is split
        else fact
        for fact in facts
    ]


fault(
    "a kept marginal forgets the group of None",
    caught_by="predictions_without_a_segment_stay_counted_in_the_group_of_none",
)(_keeping(lambda facts: _rows(facts, lambda row: row[0] is not None)))

fault(
    "days on which nobody named a segment are not kept",
    caught_by="predictions_without_a_segment_stay_counted_in_the_group_of_none",
)(
    _keeping(
        lambda facts: [
            fact for fact in facts if fact.kind == "kept_tally" or fact.segment is not None or fact.every == "hour"
        ]
    )
)

fault(
    "segments are kept in the order of predictions alone",
    caught_by="what_is_kept_answers_for_each_segment_by_the_day_in_both_orders",
)(
    _keeping(
        lambda facts: [
            fact for fact in facts if fact.kind == "kept_tally" or fact.order == "prediction" or fact.segment is None
        ]
    )
)

fault(
    "values of segments are kept as text", caught_by="what_is_kept_answers_for_each_segment_by_the_day_in_both_orders"
)(
    _keeping(
        lambda facts: [
            attrs.evolve(fact, cells=[[row[0] if row[0] is None else str(row[0]), *row[1:]] for row in fact.cells])
            if fact.kind == "kept_cells"
            else fact
            for fact in facts
        ]
    )
)

fault(
    "segments with a slash in their name are not kept",
    caught_by="segments_of_hostile_names_and_values_stay_apart_when_they_are_pruned",
)(_keeping(lambda facts: [fact for fact in facts if "/" not in (getattr(fact, "segment", None) or "")]))

fault(
    "that a segment had too many values is forgotten",
    caught_by="a_segment_of_too_many_values_is_not_kept_and_is_named",
)(_keeping(lambda facts: [fact for fact in facts if getattr(fact, "whole", True)]))


@fault("a window by outcome is not kept", caught_by="windows_by_outcome_time_survive_a_prune")
class OutcomeTimeLost(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        knowing(self, stands_until=None)
        return pruned


fault("cells by outcome time are kept at the prediction's own", caught_by="windows_by_outcome_time_survive_a_prune")(
    _keeping(
        lambda facts: (
            [
                attrs.evolve(fact, order="outcome", series=fact.series.replace("prediction", "outcome"))
                for fact in facts
                if getattr(fact, "order", "prediction") == "prediction" and fact.kind == "kept_cells"
            ]
            + [fact for fact in facts if fact.kind == "kept_tally"]
        )
    )
)


@fault(
    "outcomes are deleted with the first of two predictions",
    caught_by="the_outcomes_of_an_item_go_with_its_last_prediction",
)
class OutcomesGoFirst(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        removed = dict(pruned.removed)
        for item in [item for item in self._contents.pruned if item in self._contents.outcomes]:
            for one in self._contents.outcomes.pop(item):
                del self._contents.of_kind("outcome")[one.key]
                removed["outcome"] = removed.get("outcome", 0) + 1
        return attrs.evolve(pruned, removed=removed)


@fault(
    "an outcome of an item of which something was pruned is refused",
    caught_by="outcomes_that_stay_label_what_is_stored_and_change_no_kept_cell",
)
class OutcomesOfPrunedRefused(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        for fact in batch:
            if isinstance(fact, Outcome) and fact.prediction_id in self._contents.pruned:
                stamping.refuse_pruned(attrs.evolve(fact, at=self.clock()), None, pruned=True)
        return super().append(batch)


@fault(
    "an item that was pruned is pruned under every model",
    caught_by="the_key_of_a_pruned_prediction_stays_known_and_not_its_item",
)
class ItemsPruned(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        for models in self._contents.pruned.values():
            models.add(None)
        return pruned


@fault(
    "an outcome is asked for what was stored before its batch",
    caught_by="an_outcome_may_come_in_one_batch_with_the_prediction_of_another_model",
)
class OutcomeBeforeItsBatch(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        for fact in batch:
            if isinstance(fact, Outcome) and self._contents.is_pruned(fact):
                stamping.refuse_pruned(attrs.evolve(fact, at=self.clock()), None, pruned=True)
        return super().append(batch)

"""Faults in `find` and `count`: windows, order, paging, and hidden limits."""

import copy

import attrs

from f1mon_core.errors import InvalidQueryError
from f1mon_core.records.times import EPOCH, LATEST, MICROSECOND
from f1mon_core.storage import answers
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import alternatives, kind_of
from planted.registry import fault

HIDDEN_LIMIT = 10_000
PARAMETERS = 32_766
"""The most that a statement of SQLite takes."""


@fault("a window is closed at its end", caught_by="a_window_is_half_open")
class ClosedAtTheEnd(MemoryStorage):
    def find(self, select):
        if select.until is not None and select.until < LATEST:
            select = attrs.evolve(select, until=select.until + MICROSECOND)
        return super().find(select)


@fault("a window is open at its start", caught_by="a_window_is_half_open")
class OpenAtTheStart(MemoryStorage):
    def find(self, select):
        if select.since is not None and select.since < LATEST:
            select = attrs.evolve(select, since=select.since + MICROSECOND)
        return super().find(select)


@fault(
    "a window without a start begins after 1970-01-01T00:00:00", caught_by="a_window_without_a_start_begins_with_1970"
)
class NothingAtTheEpoch(MemoryStorage):
    def find(self, select):
        return super().find(select if select.since else attrs.evolve(select, since=EPOCH + MICROSECOND))


@fault("find stops at 10,000", caught_by="there_is_no_hidden_limit")
class HiddenLimit(MemoryStorage):
    def find(self, select):
        return super().find(select)[:HIDDEN_LIMIT]


@fault("a limit of 0 means all", caught_by="a_limit_counts_after_every_filter")
class ZeroMeansAll(MemoryStorage):
    def find(self, select):
        return super().find(attrs.evolve(select, limit=select.limit or None))


@fault("an empty collection means all", caught_by="an_empty_collection_selects_nothing")
class EmptyMeansAll(MemoryStorage):
    def find(self, select):
        where = {name: wanted for name, wanted in select.where.items() if alternatives(wanted) != []}
        return super().find(attrs.evolve(select, where=where))


@fault("values compare without their type", caught_by="where_values_compare_with_their_type")
class LooseValues(MemoryStorage):
    def find(self, select):
        found = super().find(attrs.evolve(select, where={}, limit=None))
        choices = {name: alternatives(wanted) for name, wanted in select.where.items()}
        return [
            fact
            for fact in found
            if all(
                getattr(fact, name) in ([select.where[name]] if listed is None else listed)
                for name, listed in choices.items()
            )
        ][: select.limit]


@fault("None in a collection is not found", caught_by="where_finds_what_is_missing")
class NoneInCollectionLost(MemoryStorage):
    def find(self, select):
        where = {
            name: wanted if (listed := alternatives(wanted)) is None else [one for one in listed if one is not None]
            for name, wanted in select.where.items()
        }
        return super().find(attrs.evolve(select, where=where))


@fault("None as a value selects all", caught_by="where_finds_what_is_missing")
class NoneSelectsAll(MemoryStorage):
    def find(self, select):
        return super().find(attrs.evolve(select, where={n: v for n, v in select.where.items() if v is not None}))


@fault("only the first of several attributes is looked at", caught_by="where_takes_a_value_or_a_collection_of_values")
class FirstAttributeOnly(MemoryStorage):
    def find(self, select):
        return super().find(attrs.evolve(select, where=dict(list(select.where.items())[:1])))


@fault("of a key, where looks at the first part alone", caught_by="where_may_name_any_part_of_the_key")
class FirstPartOnly(MemoryStorage):
    def find(self, select):
        others = kind_of(select.kind).key_fields[1:]
        where = {name: wanted for name, wanted in select.where.items() if name not in others}
        return super().find(attrs.evolve(select, where=where))


@fault(
    "values beyond what a statement takes are left out",
    caught_by="where_takes_more_values_than_a_statement_has_parameters",
)
class ValuesCut(MemoryStorage):
    def find(self, select):
        where = {
            name: wanted if (listed := alternatives(wanted)) is None else listed[:PARAMETERS]
            for name, wanted in select.where.items()
        }
        return super().find(attrs.evolve(select, where=where))


@fault("facts of all kinds share their ids: the last one has it", caught_by="kinds_do_not_mix")
class IdsOfAllKinds(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        appended = super().append(batch)
        for fact in batch:
            for other in set(self._contents.facts) - {fact.kind}:
                self._contents.of_kind(other).pop(fact.key, None)
        return appended


@fault("a model version matches by its beginning", caught_by="a_model_version_selects_exactly_its_facts")
class ModelByPrefix(MemoryStorage):
    def find(self, select):
        if select.model_version is None:
            return super().find(select)
        found = super().find(attrs.evolve(select, model_version=None, limit=None))
        return [fact for fact in found if fact.model_version.startswith(select.model_version)][: select.limit]


class _Reordered(MemoryStorage):
    """Facts come in another order."""

    def order(self, fact):
        raise NotImplementedError

    def find(self, select):
        found = super().find(attrs.evolve(select, limit=None))
        return sorted(found, key=self.order, reverse=select.descending)[: select.limit]


@fault(
    "facts come in the order they were appended",
    caught_by="facts_come_in_order_of_time_whatever_the_order_they_came_in",
)
class InsertionOrder(_Reordered):
    def order(self, fact):
        return list(self._contents.of_kind(fact.kind)).index(fact.key)


@fault(
    "facts of one instant come in the order they were appended",
    caught_by="equal_times_are_ordered_by_key_by_code_point",
)
class TiesByInsertion(_Reordered):
    def order(self, fact):
        return fact.instant, list(self._contents.of_kind(fact.kind)).index(fact.key)


@fault("keys order without their case", caught_by="equal_times_are_ordered_by_key_by_code_point")
class OrderWithoutCase(_Reordered):
    def order(self, fact):
        return fact.instant, tuple(part.casefold() for part in fact.key)


@fault("keys order by UTF-16", caught_by="equal_times_are_ordered_by_key_by_code_point")
class OrderByUtf16(_Reordered):
    def order(self, fact):
        return fact.instant, tuple(part.encode("utf-16-be") for part in fact.key)


@fault("the parts of a key order as one joined text", caught_by="keys_order_part_by_part")
class OrderByJoinedKey(_Reordered):
    def order(self, fact):
        return fact.instant, "|".join(fact.key)


@fault("descending turns the time and not the key", caught_by="equal_times_are_ordered_by_key_by_code_point")
class DescendingTiesAscending(MemoryStorage):
    def find(self, select):
        found = super().find(attrs.evolve(select, limit=None))
        if select.descending:
            found = sorted(sorted(found, key=lambda fact: fact.key), key=lambda fact: fact.instant, reverse=True)
        return found[: select.limit]


@fault("paging skips facts of the cursor's instant", caught_by="paging_reads_every_fact_once_also_among_equal_times")
class PagingSkipsTies(MemoryStorage):
    def find(self, select):
        if (after := select.after) is None:
            return super().find(select)
        found = super().find(attrs.evolve(select, limit=None))
        return [fact for fact in found if fact.instant != after.at][: select.limit]


@fault("paging repeats the cursor's own fact", caught_by="paging_reads_every_fact_once_also_among_equal_times")
class PagingRepeats(MemoryStorage):
    def find(self, select):
        if (after := select.after) is None:
            return super().find(select)
        found = super().find(attrs.evolve(select, limit=None, after=None))
        found = [f for f in found if (f.cursor <= after if select.descending else f.cursor >= after)]
        return found[: select.limit]


@fault("paging downwards goes upwards", caught_by="paging_reads_every_fact_once_also_among_equal_times")
class PagingForgetsDirection(MemoryStorage):
    def find(self, select):
        if (after := select.after) is None or not select.descending:
            return super().find(select)
        found = super().find(attrs.evolve(select, limit=None, after=None))
        return [fact for fact in found if fact.cursor > after][: select.limit]


@fault(
    "paging skips the other revisions of the cursor's prediction",
    caught_by="paging_works_among_revisions_of_one_prediction",
)
class PagingSkipsRevisions(MemoryStorage):
    def find(self, select):
        found = super().find(attrs.evolve(select, limit=None))
        if (after := select.after) is not None:
            found = [fact for fact in found if fact.key[0] != after.key[0]]
        return found[: select.limit]


@fault(
    "paging goes by how many facts were read",
    caught_by="paging_is_not_moved_by_facts_that_come_behind_the_cursor",
)
class PagingByOffset(MemoryStorage):
    def __init__(self, **options):
        super().__init__(**options)
        self._read = {}

    def find(self, select):
        begin = self._read.get(select.after, 0)
        found = super().find(attrs.evolve(select, limit=None, after=None))[begin:][: select.limit]
        if found:
            self._read[found[-1].cursor] = begin + len(found)
        return found


@fault("paging needs the cursor's fact to be there still", caught_by="a_cursor_need_not_be_a_stored_fact")
class PagingNeedsTheFact(MemoryStorage):
    def find(self, select):
        if (after := select.after) is not None and after.key not in self._contents.of_kind(select.kind):
            return []
        return super().find(select)


@fault("the limit is taken before lacking is looked at", caught_by="a_limit_counts_after_every_filter")
class LimitBeforeLacking(MemoryStorage):
    def find(self, select):
        first = {fact.key for fact in super().find(attrs.evolve(select, lacking=None, having=None))}
        return [fact for fact in super().find(attrs.evolve(select, limit=None)) if fact.key in first]


@fault("lacking is not looked at", caught_by="lacking_and_having_ask_for_facts_of_another_kind")
class LackingIgnored(MemoryStorage):
    def find(self, select):
        return super().find(attrs.evolve(select, lacking=None))


@fault("having asks for the very same key", caught_by="lacking_and_having_ask_for_facts_of_another_kind")
class HavingByWholeKey(MemoryStorage):
    def find(self, select):
        found = super().find(attrs.evolve(select, having=None, lacking=None, limit=None))
        if select.having is not None:
            found = [fact for fact in found if fact.key in self._contents.of_kind(select.having)]
        if select.lacking is not None:
            found = [fact for fact in found if fact.key not in self._contents.of_kind(select.lacking)]
        return found[: select.limit]


@fault("having compares the key's text, not its parts", caught_by="lacking_and_having_compare_whole_parts_of_keys")
class HavingByText(MemoryStorage):
    def find(self, select):
        found = super().find(attrs.evolve(select, having=None, lacking=None, limit=None))
        for other, wanted in ((select.having, True), (select.lacking, False)):
            if other is not None:
                keys = [key[0] for key in self._contents.of_kind(other)]
                found = [f for f in found if any(key.startswith(f.key[0]) for key in keys) is wanted]
        return found[: select.limit]


@fault("find swallows an error and answers nothing", caught_by="every_verb_of_a_closed_handle_raises_closed_error")
class SwallowedError(MemoryStorage):
    def find(self, select):
        try:
            return super().find(select)
        except Exception:  # noqa: BLE001 - this is the fault
            return []


@fault("what find answers is the store's own", caught_by="what_the_caller_changes_afterwards_changes_nothing")
class OwnFacts(MemoryStorage):
    def find(self, select):
        own = self._contents.of_kind(select.kind)
        return [own[fact.key] for fact in super().find(select)]


@fault("count leaves out the group of None", caught_by="count_keeps_the_type_of_what_it_groups_by")
class NoneNotCounted(MemoryStorage):
    def count(self, select, by=()):
        return {group: n for group, n in super().count(select, by).items() if None not in group or not by}


@fault("count groups by the first attribute only", caught_by="count_groups_by_the_values_of_attributes")
class FirstGroupOnly(MemoryStorage):
    def count(self, select, by=()):
        return super().count(select, by[:1])


@fault("count stops at 10,000", caught_by="there_is_no_hidden_limit")
class CountStops(MemoryStorage):
    def count(self, select, by=()):
        answers.check_count(select, by)
        return answers.fold_count(self.find(attrs.evolve(select, limit=HIDDEN_LIMIT)), by)


@fault("count passes over a limit it cannot honour", caught_by="count_refuses_a_limit_and_a_cursor")
class CountWithLimit(MemoryStorage):
    def count(self, select, by=()):
        return super().count(attrs.evolve(select, limit=None, after=None), by)


@fault("count of nothing is one empty group", caught_by="count_has_no_empty_groups")
class EmptyGroup(MemoryStorage):
    def count(self, select, by=()):
        return super().count(select, by) or {(): 0}


@fault("count looks at the window only", caught_by="count_answers_for_the_facts_find_selects")
class CountIgnoresWhere(MemoryStorage):
    def count(self, select, by=()):
        return super().count(attrs.evolve(select, where={}), by)


@fault(
    "an attribute the kind does not declare is counted as None",
    caught_by="count_refuses_an_attribute_that_is_not_declared",
)
class UnknownAttributeCounted(MemoryStorage):
    def count(self, select, by=()):
        try:
            return super().count(copy.copy(select), by)
        except InvalidQueryError:
            return {tuple(None for _ in by): len(self.find(select))}

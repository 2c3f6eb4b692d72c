"""Faults at the edges: cursors, conditions on nothing, long values, late times, operations, lists."""

from datetime import UTC, datetime, timedelta

import attrs

from f1mon_core.errors import InvalidQueryError
from f1mon_core.records.times import EPOCH, from_micros, to_micros
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.select import Select
from planted.registry import fault, rewired


def asking(name, *, caught_by, find=None, tally=None, count=None, state=None):
    """A fault in a question: a function of the store's own answer and of what was asked."""
    verbs = {"__module__": __name__}
    for verb, wrong in (("find", find), ("tally", tally), ("count", count), ("state", state)):
        if wrong is not None:
            own = getattr(MemoryStorage, verb)

            def asked(self, *given, own=own, wrong=wrong, **options):
                return wrong(lambda *other, **more: own(self, *other, **more), *given, **options)

            verbs[verb] = asked
    fault(name, caught_by=caught_by)(type("Asking", (MemoryStorage,), verbs))


# Cursors --------------------------------------------------------------------------------------------------------------

CURSOR = "a_cursor_outside_the_window_is_a_place_like_any_other"


def _without(answer, select):
    return answer(attrs.evolve(select, after=None))


asking(
    "a cursor before the window finds nothing",
    caught_by=CURSOR,
    find=lambda answer, select: (
        []
        if select.after and select.since and not select.descending and select.after.at < select.since
        else answer(select)
    ),
)
asking(
    "a cursor behind the window begins anew",
    caught_by=CURSOR,
    find=lambda answer, select: (
        _without(answer, select)
        if select.after and select.until and not select.descending and select.after.at >= select.until
        else answer(select)
    ),
)
asking(
    "in descending order a cursor behind the window finds nothing",
    caught_by=CURSOR,
    find=lambda answer, select: (
        []
        if select.after and select.until and select.descending and select.after.at >= select.until
        else answer(select)
    ),
)
asking(
    "in descending order a cursor before the window begins anew",
    caught_by=CURSOR,
    find=lambda answer, select: (
        _without(answer, select)
        if select.after and select.since and select.descending and select.after.at < select.since
        else answer(select)
    ),
)
asking(
    "a cursor opens its window to its own time",
    caught_by=CURSOR,
    find=lambda answer, select: answer(
        attrs.evolve(select, since=min(select.since, select.after.at)) if select.after and select.since else select
    ),
)
asking(
    "a cursor is a place by its time alone",
    caught_by=CURSOR,
    find=lambda answer, select: [fact for fact in answer(select) if select.after is None or fact.at != select.after.at],
)
asking(
    "a cursor that names no fact is none",
    caught_by=CURSOR,
    find=lambda answer, select: (
        answer(select)
        if select.after is None or select.after in [fact.cursor for fact in answer(Select(select.kind))]
        else _without(answer, select)
    ),
)
asking(
    "outcomes are listed from the beginning whatever the cursor",
    caught_by=CURSOR,
    find=lambda answer, select: _without(answer, select) if select.kind == "outcome" else answer(select),
)

# Conditions -----------------------------------------------------------------------------------------------------------

NOTHING = "conditions_on_nothing_find_what_lacks_a_value_and_nothing_else"


def conditioned(name, changed, *, caught_by=NOTHING):
    """A fault in what a condition says."""

    def find(answer, select):
        return answer(attrs.evolve(select, where={one: changed(value) for one, value in select.where.items()}))

    asking(name, caught_by=caught_by, find=find)


conditioned("None in a collection of values is passed over", lambda value: (
    [one for one in value if one is not None] if isinstance(value, list) else value
))  # fmt: skip
conditioned("None is the text None", lambda value: "None" if value is None else value)
conditioned("None is also the text None", lambda value: [None, "None"] if value is None else value)
conditioned("an empty text is None", lambda value: None if value == "" else value)
conditioned("the text null is None", lambda value: None if value == "null" else value)
conditioned("a collection with None is no condition", lambda value: (
    [None, "None", "r"] if isinstance(value, list) and None in value else value
))  # fmt: skip
asking(
    "facts without a value are not counted by it",
    caught_by=NOTHING,
    count=lambda answer, select, by=(): {
        group: number for group, number in answer(select, by).items() if None not in group
    },
)
asking(
    "in descending order what lacks a value is not found",
    caught_by=NOTHING,
    find=lambda answer, select: [] if select.descending and None in select.where.values() else answer(select),
)
asking(
    "a condition on nothing does not look at other kinds",
    caught_by=NOTHING,
    find=lambda answer, select: answer(attrs.evolve(select, lacking=None) if None in select.where.values() else select),
)

LONG = "long_values_are_told_apart_by_their_last_character"


def _long(value):
    return isinstance(value, str) and len(value) == 255


def longs(name, alike):
    """A fault in which long values count as the same."""

    def find(answer, select):
        conditions = [(one, value) for one, value in select.where.items() if _long(value)]
        if not conditions:
            return answer(select)
        every = answer(attrs.evolve(select, where={}))
        return [fact for fact in every if all(alike(getattr(fact, one)) == alike(value) for one, value in conditions)]

    asking(name, caught_by=LONG, find=find)


longs("conditions end at 128 characters", lambda text: text[:128])
longs("conditions end at 254 characters", lambda text: text[:254])
longs("long values are compared without their case", str.lower)
longs("long values are compared without trailing blanks", str.rstrip)
asking(
    "groups are named by 200 characters",
    caught_by=LONG,
    count=lambda answer, select, by=(): {
        tuple(one[:200] if isinstance(one, str) else one for one in group): number
        for group, number in answer(select, by).items()
    },
)
asking(
    "long models are one model",
    caught_by=LONG,
    tally=lambda answer, query: answer(
        attrs.evolve(query, model_version=None) if _long(query.model_version) else query
    ),
)

# Late times -----------------------------------------------------------------------------------------------------------

FOUND = "times_beyond_2255_are_found_to_the_microsecond"
TALLIED = "times_beyond_2255_are_tallied_to_the_microsecond"
PRUNED = "times_beyond_2255_are_pruned_and_due_to_the_microsecond"
_LATE = datetime(2255, 6, 6, tzinfo=UTC)


def rough(at):
    """An instant as a double of microseconds has it."""
    if at is None or at < _LATE:
        return at
    return from_micros(int(float(to_micros(at) // 2 * 2)))


for _name, _caught, _verb in (("since", FOUND, "find"), ("until", FOUND, "find"), ("since", TALLIED, "tally"),
                              ("until", TALLIED, "tally"), ("as_of", TALLIED, "tally")):  # fmt: skip
    asking(
        f"{_name} of a {_verb} is a double",
        caught_by=_caught,
        **{_verb: lambda answer, asked, name=_name: answer(attrs.evolve(asked, **{name: rough(getattr(asked, name))}))},
    )
asking(
    "cursors are doubles",
    caught_by=FOUND,
    find=lambda answer, select: answer(
        attrs.evolve(select, after=select.after and select.after._replace(at=rough(select.after.at)))
    ),
)
asking(
    "due_before is a double",
    caught_by=PRUNED,
    state=lambda answer, prefix, due_before=None, **more: answer(prefix, due_before=rough(due_before), **more),
)
asking(
    "nothing is due behind 2262",
    caught_by=PRUNED,
    state=lambda answer, prefix, due_before=None, **more: answer(
        prefix, due_before=due_before and min(due_before, EPOCH + timedelta(microseconds=2**63 // 1000)), **more
    ),
)


@fault("late facts are kept by doubles", caught_by=FOUND)
class LateAsDoubles(MemoryStorage):
    def append(self, facts):
        return super().append([attrs.evolve(fact, at=rough(fact.at)) if fact.at else fact for fact in facts])


@fault("a prune compares late times as doubles", caught_by=PRUNED)
class PrunedAsDoubles(MemoryStorage):
    def prune(self, before, keep=()):
        if before > _LATE:
            for facts in self._contents.facts.values():
                for key, fact in facts.items():
                    facts[key] = attrs.evolve(fact, at=from_micros(to_micros(fact.at) + 1))
        return super().prune(before, keep)


@fault("a correction of a late outcome is known at the same double", caught_by=TALLIED)
class LateCorrections(MemoryStorage):
    def append(self, facts):
        appended = super().append(facts)
        outcomes = self._contents.of_kind("outcome")
        for key, one in list(outcomes.items()):
            if not one.at_given and one.at > _LATE:
                outcomes[key] = attrs.evolve(one, at=rough(one.at))
        return appended


# Operations and names -------------------------------------------------------------------------------------------------

MANY = "thousands_of_operations_of_one_day_are_all_remembered"
TOGETHER = "keys_and_operation_ids_do_not_run_together"
NAMED = "documents_and_facts_named_as_a_store_might_name_its_own_stay_apart"


def remembered(name, forget):
    """A fault in which operations a store forgets: a function of their number that answers how many stay."""

    class Forgetting(MemoryStorage):
        def transition(self, key, step, *, operation_id):
            answer = super().transition(key, step, operation_id=operation_id)
            operations = self._contents.operations
            while len(operations) > forget:
                del operations[next(iter(operations))]
            return answer

    Forgetting.__module__ = __name__
    fault(name, caught_by=MANY)(Forgetting)


remembered("the last 1,000 operations are remembered", 1_000)
remembered("the last 128 operations are remembered", 128)


@fault("a prune keeps the last 500 operations", caught_by=MANY)
class PrunesOperations(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        operations = self._contents.operations
        for digest in list(operations)[:-500]:
            del operations[digest]
        return pruned


@fault("a prune forgets operations of another calendar day", caught_by=MANY)
class ForgetsYesterday(MemoryStorage):
    def prune(self, before, keep=()):
        pruned = super().prune(before, keep)
        today = self.clock().date()
        operations = self._contents.operations
        for digest in [digest for digest, one in operations.items() if one.at.date() < today]:
            del operations[digest]
        return pruned


for _sign in ("", "/", ":", "|", ",", "\x1f", " ", '"', "-", "_"):

    class _RunTogether(MemoryStorage):
        transition = rewired(
            MemoryStorage.transition, operation_digest=lambda key, operation, sign=_sign: f"{key}{sign}{operation}"
        )

    _RunTogether.__module__ = __name__
    fault(f"an operation's name is its key, {_sign!r} and its id", caught_by=TOGETHER)(_RunTogether)


def reserved(name, *names):
    """A fault in which a store takes documents of some names for its own."""

    class Reserving(MemoryStorage):
        def state(self, prefix, **options):
            return {key: one for key, one in super().state(prefix, **options).items() if key not in names}

    Reserving.__module__ = __name__
    fault(name, caught_by=NAMED)(Reserving)


reserved("documents of the store's own names are not listed", "store", "schema", "version")
reserved("a lock lies among the documents", "lock")
reserved("documents that are no file names are not listed", ".", "..", "*", "%")
reserved("the text of null is no key", "null", "None", "NaN")


@fault("a document that goes takes the facts of its name", caught_by=NAMED)
class TakesItsNamesakes(MemoryStorage):
    def transition(self, key, step, *, operation_id):
        answer = super().transition(key, step, operation_id=operation_id)
        if key not in self._contents.documents:
            for kind in ("alert", "prediction"):
                facts = self._contents.of_kind(kind)
                for other in [other for other in facts if other[0] == key]:
                    del facts[other]
        return answer


# The listing of documents ---------------------------------------------------------------------------------------------

EDGES = "prefixes_at_the_edges_of_unicode_find_what_begins_with_them"
WRONG = "a_prefix_or_an_instant_that_cannot_be_one_is_refused"
LIMIT = "a_limit_has_one_meaning_however_large_and_whatever_else_is_asked"


def bounded(name, end):
    """A fault in where the keys of a prefix end: a function that answers the first key behind them."""

    def state(answer, prefix, **more):
        found = answer(prefix, **more)
        return {key: one for key, one in found.items() if not prefix or key < end(prefix)}

    asking(name, caught_by=EDGES, state=state)


bounded("keys of a prefix end below U+FFFF", lambda prefix: prefix + "\uffff")
bounded("keys of a prefix end with the Latin letters", lambda prefix: prefix + "\u0800")
bounded("keys of a prefix end at z", lambda prefix: prefix + "z")
bounded("keys of a prefix end below the last character", lambda prefix: prefix + "\U0010ffff")
asking(
    "keys lie in the order of their UTF-16",
    caught_by=EDGES,
    state=lambda answer, prefix, **more: dict(
        sorted(answer(prefix, **more).items(), key=lambda one: one[0].encode("utf-16-be"))
    ),
)
asking(
    "a key behind which a listing goes on is compared by UTF-16",
    caught_by=EDGES,
    state=lambda answer, prefix, after=None, **more: {
        key: one
        for key, one in answer(prefix, after=after, **more).items()
        if after is None or key.encode("utf-16-be") > after.encode("utf-16-be")
    },
)


def lenient(name, taken, caught_by=WRONG):
    """A fault in what a listing takes: a function of its arguments that makes the wrong ones right."""

    def state(answer, prefix, **more):
        return answer(*taken(prefix, more)[:1], **taken(prefix, more)[1])

    asking(name, caught_by=caught_by, state=state)


lenient("a prefix of None is an empty one", lambda prefix, more: ("" if prefix is None else prefix, more))
lenient("a prefix of bytes is read", lambda prefix, more: (
    prefix.decode() if isinstance(prefix, bytes) else prefix, more
))  # fmt: skip
lenient("a prefix of a number is read", lambda prefix, more: (
    str(prefix) if isinstance(prefix, int) else prefix, more
))  # fmt: skip
lenient("lone surrogates are dropped from a prefix", lambda prefix, more: (
    prefix.encode("utf-8", "ignore").decode() if isinstance(prefix, str) else prefix, more
))  # fmt: skip
lenient("a prefix is cut where it is too long", lambda prefix, more: (
    prefix[:700] if isinstance(prefix, str) else prefix, more
))  # fmt: skip


def _due(changed):
    return lambda prefix, more: (
        prefix,
        {**more, "due_before": changed(more["due_before"])} if "due_before" in more else more,
    )


lenient("due_before may be a number", _due(lambda due: EPOCH if type(due) is int else due))
lenient("due_before may be naive", _due(lambda due: (
    due.replace(tzinfo=UTC) if isinstance(due, datetime) and due.tzinfo is None else due
)))  # fmt: skip
lenient("due_before may be a text", _due(lambda due: EPOCH if isinstance(due, str) else due))


def _limit(changed):
    return lambda prefix, more: (prefix, {**more, "limit": changed(more["limit"])} if "limit" in more else more)


lenient("a whole float is a limit", _limit(lambda limit: (
    int(limit) if isinstance(limit, float) and limit.is_integer() else limit
)), LIMIT)  # fmt: skip
lenient("a text is a limit", _limit(lambda limit: int(limit) if isinstance(limit, str) else limit), LIMIT)
lenient("False is a limit of nothing", _limit(lambda limit: 0 if limit is False else limit), LIMIT)
lenient("a negative limit is none", _limit(lambda limit: (
    None if type(limit) is int and limit < 0 else limit
)), LIMIT)  # fmt: skip
lenient("a limit wraps around at 32 bits", _limit(lambda limit: (
    limit % 2**32 if type(limit) is int and limit >= 2**31 else limit
)), LIMIT)  # fmt: skip
lenient("a limit beyond 64 bits is nothing", _limit(lambda limit: (
    0 if type(limit) is int and limit >= 2**63 else limit
)), LIMIT)  # fmt: skip
asking(
    "a limit of facts is of 63 bits",
    caught_by=LIMIT,
    find=lambda answer, select: _refused() if (select.limit or 0) >= 2**63 else answer(select),
)
asking(
    "a key to go on behind must be below the prefix",
    caught_by=LIMIT,
    state=lambda answer, prefix, after=None, **more: (
        _refused() if after is not None and not after.startswith(prefix) else answer(prefix, after=after, **more)
    ),
)
asking(
    "no key to go on behind may be the last",
    caught_by=LIMIT,
    state=lambda answer, prefix, after=None, **more: (
        answer(prefix, after=None, **more)
        if after is not None and not answer(prefix, after=after)
        else answer(prefix, after=after, **more)
    ),
)


def _refused():
    raise InvalidQueryError("this store cannot")

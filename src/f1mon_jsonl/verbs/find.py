"""Which facts of the index a `Select` means, in order; their contents stay in the file."""

from __future__ import annotations

import sys
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, TypeAlias

from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import to_micros
from f1mon_core.storage.select import Scalar, Select, alternatives, have_in_common
from f1mon_jsonl.index.codes import NONE, Codes
from f1mon_jsonl.index.kinds import Entry, FactKey, Kind, names
from f1mon_jsonl.index.lines import Spot
from f1mon_jsonl.index.times import TimeOrder
from f1mon_jsonl.index.whole import Index
from f1mon_jsonl.journal.loading import Loader

Test: TypeAlias = Callable[[Any], bool]


def find(loader: Loader, select: Select) -> list[Fact]:
    """See `Storage.find`."""
    return loader.facts(_selected(loader.index, select))


def _selected(index: Index, select: Select) -> list[Spot]:
    """Where the facts lie that are selected, in the order asked for."""
    found: Iterator[Spot]
    if select.kind == "prediction":
        table = index.predictions
        rows = _in_order(index, select, index.by_prediction, table.at, index.prediction_key)
        found = ((table.line[row], table.item[row]) for row in rows)
    elif select.kind == "outcome":
        links = index.outcomes
        rows = _in_order(index, select, index.by_known, links.known, index.outcome_key)
        found = ((links.line[link], links.item[link]) for link in rows)
    else:
        found = (entry.spot for entry in _entries(index, select))
    return list(islice(found, select.limit and min(select.limit, sys.maxsize)))  # islice takes no more


def count(index: Index, select: Select, by: Sequence[str]) -> dict[tuple[Scalar, ...], int]:
    """See `Storage.count`."""
    if select.kind in {"prediction", "outcome"}:
        order, times = _columns(index, select.kind)
        values = [_getter(index, select.kind, name) for name in by]
        rows = _rows(index, select, order, times)
        if not values:
            number = sum(1 for _ in rows)
            return {(): number} if number else {}
        return dict(Counter(tuple(value(row) for value in values) for row in rows))
    places = [names(select.kind).index(name) for name in by]
    return dict(Counter(tuple(entry.values[place] for place in places) for entry in _entries(index, select)))


# Predictions and outcomes: columns ----------------------------------------------------------------------------------


def _columns(index: Index, kind: str) -> tuple[TimeOrder, Sequence[int]]:
    if kind == "prediction":
        return index.by_prediction, index.predictions.at
    return index.by_known, index.outcomes.known


def _in_order(
    index: Index, select: Select, order: TimeOrder, times: Sequence[int], key: Callable[[int], FactKey]
) -> Iterator[int]:
    """The selected rows by (time, key), behind the cursor."""
    after = None if select.after is None else (to_micros(select.after.at), tuple(select.after.key))
    for at, together in groupby(_rows(index, select, order, times), key=times.__getitem__):
        rows = list(together)
        if len(rows) > 1:
            rows.sort(key=key, reverse=select.descending)
        if after is not None and at == after[0]:
            rows = [row for row in rows if (key(row) < after[1] if select.descending else key(row) > after[1])]
        yield from rows


def _rows(index: Index, select: Select, order: TimeOrder, times: Sequence[int]) -> Iterator[int]:
    """The selected rows by time; those at the cursor's own instant are still among them."""
    since = None if select.since is None else to_micros(select.since)
    until = None if select.until is None else to_micros(select.until)
    if select.after is not None:
        at = to_micros(select.after.at)
        if select.descending:
            until = at + 1 if until is None else min(until, at + 1)
        else:
            since = at if since is None else max(since, at)
    tests = _tests(index, select)
    candidates: Sequence[int]
    wanted = select.where.get("prediction_id")
    if wanted is not None:
        candidates = _of_ids(index, select.kind, [wanted] if isinstance(wanted, str) else alternatives(wanted) or ())
        candidates = sorted(
            (
                row
                for row in candidates
                if (since is None or times[row] >= since) and (until is None or times[row] < until)
            ),
            key=times.__getitem__,
        )
    else:
        low, high = order.window(since, until)
        candidates = order.rows[low:high] if high - low < len(order.rows) else order.rows
    ordered = reversed(candidates) if select.descending else iter(candidates)
    return (row for row in ordered if all(test(row) for test in tests)) if tests else iter(ordered)


def _of_ids(index: Index, kind: str, ids: Sequence[Scalar]) -> list[int]:
    items = [one for one in {*ids} if isinstance(one, str)]
    found = index.predictions.of_item if kind == "prediction" else index.links
    return [row for item in items for row in found(item)]


def _tests(index: Index, select: Select) -> list[Test]:
    tests: list[Test] = []
    if select.model_version is not None:
        code, model = index.models.find(select.model_version), index.predictions.model
        tests.append(lambda row: model[row] == code)
    for name, wanted in select.where.items():
        if name != "prediction_id":
            tests.append(_attribute_test(index, name, wanted))
        elif not (isinstance(wanted, str) or alternatives(wanted)):
            tests.append(lambda _: False)
    for other, present in ((select.having, True), (select.lacking, False)):
        if other is not None:
            tests.append(_presence_test(index, select.kind, other, present))
    return tests


def _attribute_test(index: Index, name: str, wanted: Scalar | Collection[Scalar]) -> Test:
    choices = alternatives(wanted)
    columns: dict[str, tuple[Codes, Sequence[int]]] = {
        "model_version": (index.models, index.predictions.model),
        "predicted_outcome": (index.labels, index.predictions.predicted),
        "actual_outcome": (index.labels, index.outcomes.actual),
    }
    codes, column = columns[name]
    values = [wanted] if choices is None else choices
    found = {codes.find(value) for value in values if type(value) in (int, str)} - {None}  # True is not 1
    return lambda row: column[row] in found


def _presence_test(index: Index, kind: str, other: str, present: bool) -> Test:
    table, links = index.predictions, index.outcomes
    if kind == other:
        return lambda _: present
    if kind == "prediction" and other == "outcome":
        return lambda row: (table.first_known[row] != NONE) is present
    if kind == "outcome" and other == "prediction":
        return lambda link: (table.model[links.row[link]] != NONE) is present
    return lambda _: not present  # no other kind has the item first in its key


def _getter(index: Index, kind: str, name: str) -> Callable[[int], Scalar]:
    table, links = index.predictions, index.outcomes
    getters: dict[tuple[str, str], Callable[[int], Scalar]] = {
        ("prediction", "prediction_id"): lambda row: table.ids[row],
        ("prediction", "model_version"): lambda row: index.models.values[table.model[row]],
        ("prediction", "predicted_outcome"): lambda row: index.labels.values[table.predicted[row]],
        ("outcome", "prediction_id"): lambda link: table.ids[links.row[link]],
        ("outcome", "actual_outcome"): lambda link: index.labels.values[links.actual[link]],
    }
    return getters[kind, name]


# Other kinds: entries -----------------------------------------------------------------------------------------------


def _entries(index: Index, select: Select) -> Iterator[Entry]:
    ordered = index.kinds.get(select.kind, Kind()).ordered
    low = 0 if select.since is None else bisect_left(ordered, to_micros(select.since), key=_at)
    high = len(ordered) if select.until is None else bisect_left(ordered, to_micros(select.until), key=_at)
    if select.after is not None:
        cursor = (to_micros(select.after.at), tuple(select.after.key))
        place = bisect_left(ordered, cursor, key=_cursor)
        if select.descending:
            high = min(high, place)
        else:
            low = max(low, place + (place < len(ordered) and _cursor(ordered[place]) == cursor))
    tests = _entry_tests(index, select)
    positions = range(low, high)
    for position in reversed(positions) if select.descending else positions:
        entry = ordered[position]
        if all(test(entry) for test in tests):
            yield entry


def _at(entry: Entry) -> int:
    return entry.at


def _cursor(entry: Entry) -> tuple[int, FactKey]:
    return entry.at, entry.key


def _entry_tests(index: Index, select: Select) -> list[Test]:
    tests: list[Test] = []
    wanted = dict(select.where)
    known = names(select.kind)
    if select.model_version is not None:
        tests.append(_value_test(known.index("model_version"), select.model_version))
    tests += [_value_test(known.index(name), value) for name, value in wanted.items()]
    for other, present in ((select.having, True), (select.lacking, False)):
        if other is not None:
            tests.append(_entry_presence_test(index, select.kind, other, present))
    return tests


def _value_test(place: int, wanted: Scalar | Collection[Scalar]) -> Test:
    choices = alternatives(wanted)
    accepted = {(type(value), value) for value in ([wanted] if choices is None else choices)}
    return lambda entry: (type(entry.values[place]), entry.values[place]) in accepted


def _entry_presence_test(index: Index, kind: str, other: str, present: bool) -> Test:
    firsts = index.kinds[other].firsts if other in index.kinds and have_in_common(kind, other) else set()
    return lambda entry: (entry.key[0] in firsts) is present

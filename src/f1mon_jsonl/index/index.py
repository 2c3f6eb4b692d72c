"""The index of one journal: columns for tallies, and where in the file each fact lies.

It holds no features, no metadata and no texts, so that a million predictions fit in 300 MB. Labels and model names
are codes; instants are microseconds since 1970; -1 means that there is none.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import accumulate, repeat
from typing import Any, NamedTuple

import msgspec

from f1mon_core.errors import SchemaError
from f1mon_core.records import documents
from f1mon_core.records.kinds import KINDS, Outcome, Prediction, key_text
from f1mon_core.records.times import duration_micros, from_micros, to_micros
from f1mon_core.storage.contract import OPERATION_HOURS
from f1mon_jsonl.format import Line, Row, decode_raw_line
from f1mon_jsonl.index.times import TimeOrder

NONE = -1

_PREDICTION = (Prediction.kind, Prediction.version)
_OUTCOME = (Outcome.kind, Outcome.version)

decode_document = msgspec.json.decode

_OPERATION_MICROS = duration_micros(timedelta(hours=OPERATION_HOURS))
_FEW_OPERATIONS = 1_000
"""As many results as are kept without asking how old they are."""

Place = tuple[int, int]
"""Where a fact lies: the number of its line in `Lines`, and which of the line's facts it is."""


class Spans(NamedTuple):
    """The facts of one line: where each begins in it, the last one's end, and the checksum of each."""

    bounds: array[int]
    checksums: array[int]


class Lines:
    """Where the lines lie, the header apart."""

    def __init__(self) -> None:
        self.offsets = array("q")
        self.sizes = array("I")
        self.recorded = array("q")
        """When the facts of a line were recorded: all at once, for a line is a transaction."""
        self.spans: dict[int, Spans] = {}
        """Where the facts lie in long lines that were asked for."""

    def extend(self, lines: Sequence[Line], texts: Sequence[bytes], offset: int) -> int:
        """Note consecutive lines that start at an offset; answers the number of the first."""
        first = len(self.offsets)
        sizes = list(map(len, texts))
        self.sizes.fromlist(sizes)
        self.recorded.fromlist([line.facts[0].recorded_at if line.facts else NONE for line in lines])
        self.offsets.fromlist(list(accumulate((size + 1 for size in sizes[:-1]), initial=offset)))
        return first

    def add(self, line: Line, text: bytes, offset: int) -> int:
        """Note one line that starts at an offset; answers its number."""
        number = len(self.offsets)
        self.sizes.append(len(text))
        self.recorded.append(line.facts[0].recorded_at if line.facts else NONE)
        self.offsets.append(offset)
        return number


class Predictions:
    """A row for each prediction id: of a prediction, or of outcomes that still wait for theirs."""

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        """The row of each id; NONE for a pruned one."""
        self.ids: list[str] = []
        self.at = array("q")
        self.model = array("i")
        """The code of the model; NONE where there is no prediction yet."""
        self.predicted = array("i")
        self.confidence = array("d")
        self.actual = array("i")
        """The code of the current outcome's label."""
        self.first_known = array("q")
        self.outcome = array("i")
        """The first link of the chain of outcomes, in order of arrival reversed."""
        self.line = array("i")
        self.item = array("I")

    def row(self, prediction_id: str) -> int:
        """The row of an id, made where there is none; NONE for a pruned one."""
        if (row := self.rows.get(prediction_id)) is None:
            row = self.add(prediction_id)
        return row

    def add(
        self,
        prediction_id: str,
        at: int = NONE,
        model: int = NONE,
        predicted: int = NONE,
        confidence: float = 0.0,
        line: int = NONE,
        item: int = 0,
    ) -> int:
        """Make the row of an id that has none."""
        row = self.rows[prediction_id] = len(self.ids)
        self.ids.append(prediction_id)
        self.at.append(at)
        self.model.append(model)
        self.predicted.append(predicted)
        self.confidence.append(confidence)
        self.actual.append(NONE)
        self.first_known.append(NONE)
        self.outcome.append(NONE)
        self.line.append(line)
        self.item.append(item)
        return row


class Outcomes:
    """A link for each outcome."""

    def __init__(self) -> None:
        self.known = array("q")
        self.actual = array("i")
        self.row = array("i")
        self.following: dict[int, int] = {}
        """The next link of the same prediction, where there is one."""
        self.line = array("i")
        self.item = array("I")


class Entry(NamedTuple):
    """A fact of any other kind.

    Attributes:
        values: Its declared attributes and key fields, without `at`, in the order of `Index.names`.
    """

    at: int
    key: tuple[str, ...]
    place: Place
    values: tuple[Any, ...]


class Kind:
    """The facts of one of the other kinds."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, ...], Entry] = {}
        self.ordered: list[Entry] = []
        """The same, by (at, key)."""
        self._prefixes: dict[int, set[tuple[str, ...]]] = {}

    def add(self, entry: Entry) -> None:
        """Take in a fact."""
        self.entries[entry.key] = entry
        if not self.ordered or self.ordered[-1] < entry:
            self.ordered.append(entry)
        else:
            insort(self.ordered, entry, key=_order)
        for parts, prefixes in self._prefixes.items():
            prefixes.add(entry.key[:parts])

    def prefixes(self, parts: int) -> set[tuple[str, ...]]:
        """The first `parts` parts of all keys."""
        if parts not in self._prefixes:
            self._prefixes[parts] = {key[:parts] for key in self.entries}
        return self._prefixes[parts]


def _order(entry: Entry) -> tuple[int, tuple[str, ...]]:
    return entry.at, entry.key


class Codes:
    """Values that recur, as small numbers."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._codes: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        """The code of a value, made where there is none."""
        code = self._codes.get(value)
        if code is None:
            code = self._codes[value] = len(self.values)
            self.values.append(value)
        return code

    def of_all(self, values: list[Any]) -> list[int]:
        """The codes of many values."""
        for value in {*values}.difference(self._codes):
            self.of(value)
        codes = self._codes
        return [codes[value] for value in values]

    def find(self, value: Any) -> int | None:
        """The code of a value, None if it never occurred."""
        return self._codes.get(value)


class Index:
    """All that a journal says, as far as it was read."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.predictions = Predictions()
        self.outcomes = Outcomes()
        self.models = Codes()
        self.labels = Codes()
        self.kinds: dict[str, Kind] = {}
        self.by_prediction = TimeOrder(self.predictions.at)
        self.by_first_known: TimeOrder | None = None
        """Predictions with an outcome by its first known_at; made when first asked for."""
        self.by_known = TimeOrder(self.outcomes.known)
        self.changed: list[int] = []
        """Rows whose current outcome changed since the cells were last worked out."""
        self.watched = False
        """Whether anybody wants to know of them."""
        self.newest = 0
        """No instant of a prediction or outcome, nor of its recording, lies behind this one."""
        self.documents: dict[str, bytes] = {}
        self._sorted_keys: list[str] | None = None
        self.operations: dict[tuple[str, str], tuple[int, bytes]] = {}
        """When each operation of a key was committed, and its encoded result."""
        self._operations_wanted = _FEW_OPERATIONS
        self.horizons: dict[str, int] = {}
        self.outcomes_until: int | None = None

    # Taking in ------------------------------------------------------------------------------------------------------

    def extend(self, lines: Sequence[Line], texts: Sequence[bytes], offset: int) -> None:
        """Take in consecutive lines, at least one.

        Args:
            lines: The decoded lines.
            texts: Their bytes, without newlines.
            offset: The position of the first one in the file.
        """
        if len(lines) == 1 and len(lines[0].facts) <= 1:
            self._take_short(lines[0], texts[0], offset)
        else:
            facts, places = self._placed(lines, self.lines.extend(lines, texts, offset))
            self.newest = max(self.newest, *self.lines.recorded[-len(lines) :])
            kinds = {(fact.kind, fact.v) for fact in facts}
            if kinds == {_PREDICTION}:
                self._take_predictions(facts, places)
            elif kinds:
                self._take_facts(facts, places, lines, texts)
        for line in lines:
            if line.state is not None:
                self._take_documents(line.state)
            for key, operation_id, at, result in line.operations:
                self.operations[key, operation_id] = (at, bytes(result))
                self._forget_operations(at)
            if line.horizons is not None:
                self.horizons.update(line.horizons)
            if line.outcomes_until is not None:
                self.outcomes_until = line.outcomes_until
            for prediction_id in line.pruned:
                self.predictions.rows[prediction_id] = NONE

    def _take_short(self, line: Line, text: bytes, offset: int) -> None:
        """Take in the facts of one line that holds at most one, as most appends write it: columns are for many."""
        number = self.lines.add(line, text, offset)
        for fact in line.facts:
            self.newest = max(self.newest, fact.recorded_at)
            if (fact.kind, fact.v) == _PREDICTION:
                self._take_prediction(fact, number, 0)
            elif (fact.kind, fact.v) == _OUTCOME:
                self._take_outcome(fact, number, 0)
            else:
                self._take_other(text, (number, 0))

    @staticmethod
    def _placed(lines: Sequence[Line], first: int) -> tuple[list[Row], list[Place]]:
        """The facts of lines, and where they lie; the first line has number `first`."""
        facts = [fact for line in lines for fact in line.facts]
        counts = [len(line.facts) for line in lines]
        if max(counts) == min(counts) == 1:
            return facts, list(zip(range(first, first + len(lines)), repeat(0), strict=False))
        return facts, [(number, item) for number, count in enumerate(counts, first) for item in range(count)]

    def _take_facts(
        self, facts: Sequence[Row], places: Sequence[Place], lines: Sequence[Line], texts: Sequence[bytes]
    ) -> None:
        """Take in facts of several kinds: predictions together, then outcomes, then the others."""
        made = [place for place, fact in enumerate(facts) if (fact.kind, fact.v) == _PREDICTION]
        if made:
            self._take_predictions([facts[place] for place in made], [places[place] for place in made])
        known = [place for place, fact in enumerate(facts) if (fact.kind, fact.v) == _OUTCOME]
        if known:
            self._take_outcomes([facts[place] for place in known], [places[place] for place in known])
        first = len(self.lines.offsets) - len(lines)
        for fact, place in zip(facts, places, strict=True):
            if (fact.kind, fact.v) not in {_PREDICTION, _OUTCOME}:
                self._take_other(texts[place[0] - first], place)

    def _take_predictions(self, facts: Sequence[Row], places: Sequence[Place]) -> None:
        table = self.predictions
        ids = [fact.prediction_id for fact in facts]
        if len({*ids}) < len(ids) or not table.rows.keys().isdisjoint(ids):
            for fact, place in zip(facts, places, strict=True):
                self._take_prediction(fact, *place)
            return
        # All are new, as when a journal is opened: column by column.
        first, count = len(table.ids), len(ids)
        rows = range(first, first + count)
        at = [fact.at for fact in facts]
        table.rows.update(zip(ids, rows, strict=True))
        table.ids += ids
        table.at.fromlist(at)
        table.model.fromlist(self.models.of_all([fact.model_version for fact in facts]))
        table.predicted.fromlist(self.labels.of_all([fact.predicted_outcome for fact in facts]))
        table.confidence.fromlist([fact.confidence for fact in facts])
        for column in (table.actual, table.first_known, table.outcome):
            column.fromlist([NONE] * count)
        table.line.fromlist([line for line, _ in places])
        table.item.fromlist([item for _, item in places])
        self.newest = max(self.newest, *at)
        self.by_prediction.extend(rows, at)

    def _take_prediction(self, fact: Row, number: int, item: int) -> None:
        table = self.predictions
        row = table.rows.get(fact.prediction_id)
        if row is not None and (row == NONE or table.model[row] != NONE):
            return  # no writer appends it twice; the first stays
        model, predicted = self.models.of(fact.model_version), self.labels.of(fact.predicted_outcome)
        if row is None:
            row = table.add(fact.prediction_id, fact.at, model, predicted, fact.confidence, number, item)
        else:
            table.at[row], table.model[row], table.predicted[row] = fact.at, model, predicted
            table.confidence[row], table.line[row], table.item[row] = fact.confidence, number, item
        self.newest = max(self.newest, fact.at)
        self.by_prediction.add(row)
        if table.outcome[row] != NONE and self.by_first_known is not None:
            self.by_first_known.add(row)

    def _take_outcomes(self, facts: Sequence[Row], places: Sequence[Place]) -> None:
        table, links = self.predictions, self.outcomes
        rows = [table.rows.get(fact.prediction_id, NONE) for fact in facts]
        plain = len(rows) > 1 and NONE not in rows and len({*rows}) == len(rows)
        if not plain or self.by_first_known is not None or any(table.outcome[row] != NONE for row in rows):
            for fact, place in zip(facts, places, strict=True):
                self._take_outcome(fact, *place)
            return
        # Each is the first of its prediction, as when a journal is opened: column by column.
        first = len(links.known)
        known = [fact.at for fact in facts]
        actual = self.labels.of_all([fact.actual_outcome for fact in facts])
        links.known.fromlist(known)
        links.actual.fromlist(actual)
        links.row.fromlist(rows)
        links.line.fromlist([line for line, _ in places])
        links.item.fromlist([item for _, item in places])
        for link, (row, code, at) in enumerate(zip(rows, actual, known, strict=True), first):
            table.outcome[row] = link
            table.actual[row] = code
            table.first_known[row] = at
        self.newest = max(self.newest, *known)
        self.by_known.extend(range(first, first + len(rows)), known)
        if self.watched:
            self.changed += rows

    def _take_outcome(self, fact: Row, number: int, item: int) -> None:
        table, links = self.predictions, self.outcomes
        row = table.row(fact.prediction_id)
        if row == NONE:
            return
        known = fact.at
        head = table.outcome[row]
        earlier = [links.known[link] for link in self.chain(row)]
        if known in earlier:
            return
        link = len(links.known)
        links.known.append(known)
        links.actual.append(self.labels.of(fact.actual_outcome))
        links.row.append(row)
        if head != NONE:
            links.following[link] = head
        links.line.append(number)
        links.item.append(item)
        table.outcome[row] = link
        self.by_known.add(link)
        self.newest = max(self.newest, known)
        if known > max(earlier, default=NONE):
            table.actual[row] = links.actual[link]
            if self.watched:
                self.changed.append(row)
        if head == NONE:
            table.first_known[row] = known
            if self.by_first_known is not None and table.model[row] != NONE:
                self.by_first_known.add(row)
        elif known < table.first_known[row]:
            table.first_known[row] = known
            self.by_first_known = None

    def _take_other(self, text: bytes, place: Place) -> None:
        fact = documents.from_document(decode_document(decode_raw_line(text).facts[place[1]]))
        if isinstance(fact, Prediction | Outcome):
            raise SchemaError(f"the journal holds a {fact.kind} this f1mon does not index; update f1mon")
        values = tuple(getattr(fact, name) for name in names(fact.kind))
        kind = self.kinds.setdefault(fact.kind, Kind())
        if fact.key not in kind.entries:
            kind.add(Entry(to_micros(fact.instant), fact.key, place, values))

    def _forget_operations(self, now: int) -> None:
        """Drop results that are old enough, once there are twice as many as were left the last time."""
        if len(self.operations) > self._operations_wanted:
            oldest = now - _OPERATION_MICROS
            self.operations = {name: kept for name, kept in self.operations.items() if kept[0] >= oldest}
            self._operations_wanted = max(_FEW_OPERATIONS, 2 * len(self.operations))

    def _take_documents(self, state: dict[str, msgspec.Raw]) -> None:
        for key, raw in state.items():
            text = bytes(raw)
            if text == b"null":
                if self.documents.pop(key, None) is not None:
                    self._sorted_keys = None
            else:
                if key not in self.documents:
                    self._sorted_keys = None
                self.documents[key] = text

    # Asking ---------------------------------------------------------------------------------------------------------

    @property
    def sorted_keys(self) -> list[str]:
        """The keys of the state documents, by code point."""
        if self._sorted_keys is None:
            self._sorted_keys = sorted(self.documents)
        return self._sorted_keys

    def documents_from(self, prefix: str, after: str | None) -> Iterator[tuple[str, bytes]]:
        """The documents under a prefix, behind a key, in order of their keys."""
        keys = self.sorted_keys
        start = bisect_left(keys, prefix) if after is None or after < prefix else bisect_right(keys, after)
        for place in range(start, len(keys)):
            if not keys[place].startswith(prefix):
                return
            yield keys[place], self.documents[keys[place]]

    def chain(self, row: int) -> Iterator[int]:
        """The outcomes of a row, the last to arrive first."""
        link = self.predictions.outcome[row]
        while link != NONE:
            yield link
            link = self.outcomes.following.get(link, NONE)

    def first_known_order(self) -> TimeOrder:
        """Predictions that have an outcome, by its first known_at."""
        if self.by_first_known is None:
            table = self.predictions
            rows = (row for row in range(len(table.ids)) if table.outcome[row] != NONE and table.model[row] != NONE)
            self.by_first_known = TimeOrder(table.first_known, rows)
        return self.by_first_known

    def outcome_key(self, link: int) -> tuple[str, str]:
        """The key of an outcome."""
        return self.predictions.ids[self.outcomes.row[link]], key_text(from_micros(self.outcomes.known[link]))

    def counts(self) -> dict[str, int]:
        """How many facts of each kind there are."""
        found = {name: len(kind.entries) for name, kind in self.kinds.items()}
        found["prediction"] = len(self.by_prediction)
        found["outcome"] = len(self.outcomes.known)
        return {name: number for name, number in found.items() if number}


def names(kind: str) -> tuple[str, ...]:
    """The attributes and key fields of a kind that the index keeps, `at` apart."""
    record = KINDS[kind]
    return tuple(dict.fromkeys(name for name in (*record.attributes, *record.key_fields) if name != "at"))

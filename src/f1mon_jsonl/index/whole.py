"""The index of one journal, whole: columns for tallies, and where in the file each fact lies.

It holds no features, no metadata and no texts but ids, so that a million predictions fit in 330 MB. Labels, model names
and the values of segments are codes; instants are microseconds since 1970; -1 (`NONE`) means that there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat

from f1mon_core.errors import SchemaError
from f1mon_core.records import documents
from f1mon_core.records.kinds import Outcome, Prediction, key_text
from f1mon_core.records.times import from_micros, to_micros
from f1mon_jsonl.format import Gist, Transaction, decode_document, decode_raw_line
from f1mon_jsonl.index.codes import NONE, Codes
from f1mon_jsonl.index.kinds import Entry, Kind, names
from f1mon_jsonl.index.lines import Lines, Spot
from f1mon_jsonl.index.outcomes import Outcomes
from f1mon_jsonl.index.predictions import Predictions, Stands
from f1mon_jsonl.index.pruned import PrunedKeys
from f1mon_jsonl.index.segments import Segments
from f1mon_jsonl.index.state import State
from f1mon_jsonl.index.times import TimeOrder

_PREDICTION = (Prediction.kind, Prediction.version)
_OUTCOME = (Outcome.kind, Outcome.version)


class Index:
    """All that a journal says, as far as it was read."""

    def __init__(self) -> None:
        self.lines = Lines()
        self.predictions = Predictions()
        self.segments = Segments()
        self.outcomes = Outcomes()
        self.models = Codes()
        self.labels = Codes()
        self.kinds: dict[str, Kind] = {}
        self.by_prediction = TimeOrder(self.predictions.at)
        self.stands = Stands(self.predictions)
        self.by_outcome: TimeOrder | None = None
        """Predictions with an outcome by the time they stand at; made when first asked for."""
        self.by_known = TimeOrder(self.outcomes.known)
        self.changed: list[int] = []
        """Rows whose current outcome changed since the cells were last worked out."""
        self.watched = False
        """Whether anybody wants to know of them."""
        self.newest = 0
        """No instant of a prediction or outcome, nor of its recording, lies behind this one."""
        self.state = State()
        self.horizons: dict[str, int] = {}
        self.outcomes_until: int | None = None
        self.stands_until: int | None = None
        self.pruned = PrunedKeys()
        self.restored_from: str | None = None

    # Taking in ------------------------------------------------------------------------------------------------------

    def extend(self, lines: Sequence[Transaction], texts: Sequence[bytes], offset: int) -> None:
        """Take in consecutive lines, at least one.

        Args:
            lines: The decoded lines.
            texts: Their bytes, without newlines.
            offset: The position of the first one in the file.
        """
        if len(lines) == 1 and len(lines[0].facts) <= 1:
            self._take_short(lines[0], texts[0], offset)
        else:
            facts, spots = self._spotted(lines, self.lines.extend(lines, texts, offset))
            kinds = {(fact.kind, fact.v) for fact in facts}
            if kinds == {_PREDICTION}:
                self._take_predictions(facts, spots)
            elif kinds:
                self._take_facts(facts, spots, lines, texts)
        self.newest = max(self.newest, self.lines.newest)
        for line in lines:
            if line.state is not None:
                self.state.take_documents(line.state)
            self.state.take_results(line.operations)
            if line.results is not None:
                self.state.take_restored(line.results)
            self._take_limits(line)

    def _take_limits(self, line: Transaction) -> None:
        """Take in what a line says of prunes."""
        if line.restored_from is not None:
            self.restored_from = line.restored_from
            self.horizons, self.outcomes_until, self.stands_until = {}, None, None
        if line.horizons is not None:
            self.horizons.update(line.horizons)
        if line.outcomes_until is not None:
            self.outcomes_until = line.outcomes_until
        if line.stands_until is not None:
            self.stands_until = line.stands_until
        if line.pruned:
            self.pruned.add(None, line.pruned)
        if line.pruned_keys is not None:
            for model, items in line.pruned_keys.items():
                self.pruned.add(model, items)

    def _take_short(self, line: Transaction, text: bytes, offset: int) -> None:
        """Take in the facts of one line that holds at most one, as most appends write it.

        Columns are for many: by them, a durable append takes a quarter longer.
        """
        number = self.lines.add(line, text, offset)
        for fact in line.facts:
            if (fact.kind, fact.v) == _PREDICTION:
                self._take_prediction(fact, number, 0)
            elif (fact.kind, fact.v) == _OUTCOME:
                self._take_outcome(fact, number, 0)
            else:
                self._take_other(text, (number, 0))

    @staticmethod
    def _spotted(lines: Sequence[Transaction], first: int) -> tuple[list[Gist], list[Spot]]:
        """The facts of lines, and where they lie; the first line has number `first`."""
        facts = [fact for line in lines for fact in line.facts]
        counts = [len(line.facts) for line in lines]
        if max(counts) == min(counts) == 1:
            return facts, list(zip(range(first, first + len(lines)), repeat(0), strict=False))
        return facts, [(number, item) for number, count in enumerate(counts, first) for item in range(count)]

    def _take_facts(
        self, facts: Sequence[Gist], spots: Sequence[Spot], lines: Sequence[Transaction], texts: Sequence[bytes]
    ) -> None:
        """Take in facts of several kinds: predictions together, then outcomes, then the others."""
        made = [number for number, fact in enumerate(facts) if (fact.kind, fact.v) == _PREDICTION]
        if made:
            self._take_predictions([facts[number] for number in made], [spots[number] for number in made])
        known = [number for number, fact in enumerate(facts) if (fact.kind, fact.v) == _OUTCOME]
        if known:
            self._take_outcomes([facts[number] for number in known], [spots[number] for number in known])
        first = len(self.lines.offsets) - len(lines)
        for fact, spot in zip(facts, spots, strict=True):
            if (fact.kind, fact.v) not in {_PREDICTION, _OUTCOME}:
                self._take_other(texts[spot[0] - first], spot)

    def _take_predictions(self, facts: Sequence[Gist], spots: Sequence[Spot]) -> None:
        table = self.predictions
        ids = [fact.prediction_id for fact in facts]
        if len({*ids}) < len(ids) or not table.rows.keys().isdisjoint(ids):
            for fact, spot in zip(facts, spots, strict=True):
                self._take_prediction(fact, *spot)
            return
        # All are new, as when a journal is opened: column by column, or opening takes a third longer.
        first, count = len(table.ids), len(ids)
        rows = range(first, first + count)
        at = [fact.at for fact in facts]
        table.rows.update(zip(ids, rows, strict=True))
        table.ids += ids
        table.at.fromlist(at)
        table.model.fromlist(self.models.of_all([fact.model_version for fact in facts]))
        table.predicted.fromlist(self.labels.of_all([fact.predicted_outcome for fact in facts]))
        table.confidence.fromlist([fact.confidence for fact in facts])
        for column in (table.following, table.actual, table.first_known, table.outcome):
            column.fromlist([NONE] * count)
        table.line.fromlist([line for line, _ in spots])
        table.item.fromlist([item for _, item in spots])
        for row, fact in zip(rows, facts, strict=True):
            if fact.segments:
                self.segments.put(row, fact.segments)
        self.newest = max(self.newest, *at)
        self.by_prediction.extend(rows, at)

    def _take_prediction(self, fact: Gist, number: int, item: int) -> None:
        table = self.predictions
        model, predicted = self.models.of(fact.model_version), self.labels.of(fact.predicted_outcome)
        row = table.rows.get(fact.prediction_id)
        if row is None:
            row = table.add(fact.prediction_id, fact.at, model, predicted, fact.confidence, number, item)
        elif table.model[row] == NONE:
            table.at[row], table.model[row], table.predicted[row] = fact.at, model, predicted
            table.confidence[row], table.line[row], table.item[row] = fact.confidence, number, item
        else:
            while table.model[row] != model and table.following[row] != NONE:
                row = table.following[row]
            if table.model[row] == model:
                return  # no writer appends it twice; the first stays
            row = table.join(row, fact.at, model, predicted, fact.confidence, number, item)
        if fact.segments:
            self.segments.put(row, fact.segments)
        self.newest = max(self.newest, fact.at)
        self.by_prediction.add(row)
        if table.first_known[row] != NONE and self.by_outcome is not None:
            self.by_outcome.add(row)

    def _take_outcomes(self, facts: Sequence[Gist], spots: Sequence[Spot]) -> None:
        table, links = self.predictions, self.outcomes
        rows = [table.rows.get(fact.prediction_id, NONE) for fact in facts]
        plain = len(rows) > 1 and NONE not in rows and len({*rows}) == len(rows)
        if (
            not plain
            or self.by_outcome is not None
            or any(table.outcome[row] != NONE or table.following[row] != NONE for row in rows)
        ):
            for fact, spot in zip(facts, spots, strict=True):
                self._take_outcome(fact, *spot)
            return
        # Each is the first of an item with one row, as often when a journal is opened: column by column, or opening
        # takes 1.6 times as long where all are labelled.
        first = len(links.known)
        known = [fact.at for fact in facts]
        actual = self.labels.of_all([fact.actual_outcome for fact in facts])
        links.known.fromlist(known)
        links.actual.fromlist(actual)
        links.row.fromlist(rows)
        links.line.fromlist([line for line, _ in spots])
        links.item.fromlist([item for _, item in spots])
        for link, (row, code, at) in enumerate(zip(rows, actual, known, strict=True), first):
            table.outcome[row] = link
            table.actual[row] = code
            table.first_known[row] = at
        self.newest = max(self.newest, *known)
        self.by_known.extend(range(first, first + len(rows)), known)
        if self.watched:
            self.changed += rows

    def _take_outcome(self, fact: Gist, number: int, item: int) -> None:
        table, links = self.predictions, self.outcomes
        row = table.row(fact.prediction_id)
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
            for labelled in table.rows_from(row):
                table.actual[labelled] = links.actual[link]
                if self.watched:
                    self.changed.append(labelled)
        if head == NONE or known < table.first_known[row]:
            self._take_first_known(row, known)

    def _take_first_known(self, row: int, known: int) -> None:
        """Note that the first outcome of the item of a first row was known at an instant."""
        table = self.predictions
        for labelled in table.rows_from(row):
            stood = NONE if table.first_known[labelled] == NONE else self.stands[labelled]
            table.first_known[labelled] = known
            if self.by_outcome is None or table.model[labelled] == NONE or stood == self.stands[labelled]:
                continue
            if stood == NONE:
                self.by_outcome.add(labelled)
            else:
                self.by_outcome = None

    def _take_other(self, text: bytes, spot: Spot) -> None:
        fact = documents.from_document(decode_document(decode_raw_line(text).facts[spot[1]]))
        if isinstance(fact, Prediction | Outcome):
            raise SchemaError(f"the journal holds a {fact.kind} this f1mon does not index; update f1mon")
        values = tuple(getattr(fact, name) for name in names(fact.kind))
        kind = self.kinds.setdefault(fact.kind, Kind())
        if fact.key not in kind.entries:
            kind.add(Entry(to_micros(fact.instant), fact.key, spot, values))

    # Asking ---------------------------------------------------------------------------------------------------------

    def chain(self, row: int) -> Iterator[int]:
        """The outcomes of the item of a first row, the last to arrive first."""
        link = self.predictions.outcome[row]
        while link != NONE:
            yield link
            link = self.outcomes.following.get(link, NONE)

    def links(self, item: str) -> Iterator[int]:
        """The outcomes of an item, the last to arrive first."""
        row = self.predictions.rows.get(item)
        return iter(()) if row is None else self.chain(row)

    def find(self, item: str, model_version: str) -> int:
        """The row of a prediction; NONE where there is none."""
        table, model = self.predictions, self.models.find(model_version)
        row = table.rows.get(item, NONE)
        while row != NONE and table.model[row] != model:
            row = table.following[row]
        return row

    def find_outcome(self, item: str, known: int) -> int:
        """The outcome of an item that was known at an instant; NONE where there is none."""
        row = self.predictions.rows.get(item, NONE)
        link = NONE if row == NONE else self.predictions.outcome[row]
        while link != NONE and self.outcomes.known[link] != known:
            link = self.outcomes.following.get(link, NONE)
        return link

    def outcome_order(self) -> TimeOrder:
        """Predictions that have an outcome, by the time they stand at."""
        if self.by_outcome is None:
            table = self.predictions
            rows = (row for row in range(len(table.ids)) if table.first_known[row] != NONE and table.model[row] != NONE)
            self.by_outcome = TimeOrder(self.stands, rows)
        return self.by_outcome

    def prediction_key(self, row: int) -> tuple[str, str]:
        """The key of a prediction."""
        return self.predictions.ids[row], self.models.values[self.predictions.model[row]]

    def outcome_key(self, link: int) -> tuple[str, str]:
        """The key of an outcome."""
        return self.predictions.ids[self.outcomes.row[link]], key_text(from_micros(self.outcomes.known[link]))

    def counts(self) -> dict[str, int]:
        """How many facts of each kind there are."""
        found = {name: len(kind.entries) for name, kind in self.kinds.items()}
        found["prediction"] = len(self.by_prediction)
        found["outcome"] = len(self.outcomes.known)
        return {name: number for name, number in found.items() if number}

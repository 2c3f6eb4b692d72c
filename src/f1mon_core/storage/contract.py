"""The storage contract: what a backend promises, verb by verb.

The docstrings here *are* the contract; `f1mon_core.testing` proves each of their sentences. Everything that thinks
lives in core; a backend stores, and does three things well: facts, tallies and transitions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Literal, Protocol, runtime_checkable

import attrs

from f1mon_core.records.fields import Document, Json
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import Clock
from f1mon_core.storage.change import Step
from f1mon_core.storage.dumping import Dumped
from f1mon_core.storage.select import Scalar, Select
from f1mon_core.storage.tally import Tally, TallyQuery

OPERATION_HOURS = 24
"""A store answers a repeated operation id with the first result for at least this long."""


@attrs.frozen
class Appended:
    """What came of a batch. Compared are `new` and `repeated`, which every backend counts.

    Attributes:
        new: Facts that were stored.
        repeated: Facts that repeated what was stored, or an earlier one of the batch.
        prelabelled: New predictions whose item had been labelled more than a day before they were made: by another
            model's life, or by an earlier life of ids that a counter gives out anew.
        unmatched: New outcomes of items of which no prediction is stored; None where a backend does not say.
        nulled: Nulls in the features and metadata of the predictions that were given, and segments that were missing:
            what was None, NaN, infinite, `pandas.NA` or `NaT`. Counted at the door, repeats too.
        skipped: Rows of a table that have no label yet, and so are no outcome. Counted at the door.
    """

    new: int = 0
    repeated: int = 0
    prelabelled: int = attrs.field(default=0, eq=False)
    unmatched: int | None = attrs.field(default=None, eq=False)
    nulled: int = attrs.field(default=0, eq=False)
    skipped: int = attrs.field(default=0, eq=False)

    def __add__(self, other: Appended) -> Appended:
        unmatched = None if self.unmatched is None or other.unmatched is None else self.unmatched + other.unmatched
        return Appended(
            self.new + other.new,
            self.repeated + other.repeated,
            self.prelabelled + other.prelabelled,
            unmatched,
            self.nulled + other.nulled,
            self.skipped + other.skipped,
        )


@attrs.frozen
class Pruned:
    """What `prune` took away: facts by kind, and the horizon it stored."""

    before: datetime
    removed: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen
class Problem:
    """Something `check` found.

    Attributes:
        severity: "error" for what is lost or wrong, "warning" for what wants attention.
        where: File and position, table and key, or setting.
    """

    severity: Literal["error", "warning"]
    where: str
    message: str


@attrs.frozen
class CheckReport:
    """What a store found when it read itself whole."""

    facts: Mapping[str, int] = attrs.field(factory=dict)
    problems: Sequence[Problem] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing is lost or wrong; warnings may remain."""
        return not any(problem.severity == "error" for problem in self.problems)


@runtime_checkable
class Storage(Protocol):
    """A place where facts are kept. Every verb may be called from several threads.

    Every verb raises `ClosedError` after `close`, `NotWritten` where nothing was stored and a repeat is safe, and
    `OutcomeUnknown` where the fate of a commit is unknown and a repeat is safe too.
    """

    @property
    def clock(self) -> Clock:
        """The clock it was opened with, else the one it stamps with."""
        ...

    @property
    def address(self) -> str:
        """What it was opened on, fit to print: never with a password."""
        ...

    def append(self, facts: Iterable[Fact]) -> Appended:
        """Store facts; the batch is atomic, and whoever reads sees all of it or nothing.

        - A batch is taken in order: what its later facts repeat, correct or contradict may be its earlier ones.
        - A fact without a time gets the store's clock, read inside the critical section; `recorded_at` is always the
          store's. The clock is read once: a batch has one instant, of whatever kinds it is.
        - Of several contradictions in a batch the first in its order is the one that is told.
        - The same fact again (`records.same`) is a no-op, within the batch too; the first stays as it is.
        - A different fact under the same key is a `ConflictError` and nothing of the batch is written.
        - An outcome labels every model's prediction of its item, also those that come later, and may come before any.
        - An outcome without `known_at` that equals the current outcome of its item is a no-op; otherwise its known_at
          is max(now, newest known_at + 1 µs), or an `InvalidRecordError` where the calendar ends.
        - Labels compare with their type: "1" is not 1. Segments are part of the fact.
        - A prediction older than the instant before which was pruned (by a time given or stamped: its hour is final) or
          whose key was pruned (an id that contract 1 pruned: under every model), an outcome of an item of which
          predictions were pruned and none is stored, or another fact of a pruned kind whose *given* time lies before
          the instant, is a `PrunedError` and nothing of the batch is written; unless the fact is still stored, which
          makes it a repeat or a conflict. A prediction by another model of an item that was pruned is accepted; it is
          unlabelled until an outcome comes, where the item's outcomes went.
        - When it returns, the batch is visible to every handle, and durable if the backend claims so.
        """
        ...

    def find(self, select: Select) -> Sequence[Fact]:
        """All facts selected, whole, ordered by (at, key); no hidden limit.

        Keys order part by part, by code point. `after` continues strictly behind a cursor, also among equal times.
        """
        ...

    def count(self, select: Select, by: Sequence[str] = ()) -> Mapping[tuple[Scalar, ...], int]:
        """How many facts are selected, grouped by the values of declared attributes; no empty groups.

        With no `by` the one group is `()`. A `limit` or `after` is an `InvalidQueryError`.
        """
        ...

    def tally(self, query: TallyQuery) -> Tally:
        """The cells of the predictions in a window, each with the outcome current for it.

        - Counted is every prediction in `[since, until)` by the query's basis, labelled or not.
        - The outcome of a prediction is its item's with the newest known_at, among those known by `as_of` and recorded
          by `as_recorded` where given; predictions made or recorded later than those are not counted.
        - By outcome time a prediction stands at the later of its own time and its item's first known_at.
        - Predictions are counted by the values of the segments named in `by`, those without the name under None, and
          only those that `where` selects; more than `tally.MAX_GROUPS` groups are an `InvalidQueryError`.
        - With `beside`, counted are the items that both models predicted, each once, at the earlier of its two
          predictions, from which its delay counts too; `where` and `by` are of the prediction of `model_version`. A
          backend may leave this out: it then answers as without, and core reads the predictions instead.
        - Bins are `tally.bin_of`, to the last float; moments are around `tally.midpoint`; buckets `tally.bucket_of`;
          a delay is (first known_at - at) // unit, floored, of the outcomes considered.
        - Counts are exact; minimum and maximum are those of all predictions of the same model, predicted class, bin,
          bucket and segments, whatever their outcome; sums are right to 1e-12 times the cell's n.
        - Windows behind the instant before which was pruned are answered from the kept cells, or are a `PrunedError`;
          its `since` is the start from which on the same question is answered.
        """
        ...

    def transition(self, key: str, step: Step, *, operation_id: str) -> Json:
        """Lock the document of `key`, read the clock *after* the lock, call `step`, commit its `Change` as one.

        A store without locks may let the commit fail where others were faster, and begin anew: read the clock and the
        document again, and call `step` again, of which only the last run counts. What is promised is the order:

        - Concurrent transitions come to what they come to one after the other, in some order.
        - In that order the instants of the steps of a key do not go back, and a step's was read after what it sees had
          been committed. A cooldown needs this: it is measured from what the step sees to its own instant.
        - A key has 1 to 700 characters, at most 2,640 bytes of UTF-8, and no NUL; keys differ by their code points.
        - Of any number of concurrent transitions of one key each sees what the one before it stored, also when the
          document never existed.
        - A fact without a time gets the instant `step` was given.
        - State, facts and `also` are stored together or not at all; an exception raised by `step`, a `ConflictError`
          of its facts or an `InvalidRecordError` of a document leaves nothing.
        - A repeated `operation_id` of the same key returns the first result, for 24 hours inclusive at the least, and
          does not call `step`. An operation id is an identifier, as the ids of facts are (`InvalidQueryError` else).
        """
        ...

    def state(
        self, prefix: str, *, due_before: datetime | None = None, limit: int | None = None, after: str | None = None
    ) -> Mapping[str, Document]:
        """The documents whose key starts with `prefix`, ordered by key (code points).

        `due_before` keeps those with an integer `due` (microseconds since 1970) before it; `after` continues strictly
        behind a key. An empty prefix means all of them. A limit that is no int of at least 0, or an `after` that could
        be no key, is an `InvalidQueryError`. The order of names within a document is nobody's promise.
        """
        ...

    def prune(self, before: datetime, keep: Collection[str] = ()) -> Pruned:
        """Remove facts older than `before`, floored to the full hour, in one commit with the new horizon.

        - Predictions made before it go with their features; their cells stay as `kept_tally` and `kept_cells` facts and
          their keys stay known. The outcomes of an item go with its last stored prediction; until then they stay, label
          what is stored, and change no kept cell. Outcomes of items that nobody predicted stay.
        - Other facts with `at` before it go too, unless their kind is in `keep` or in `LASTING_KINDS`, or the first
          part of their key is listed under `holds` in some state document (an open incident holds its alerts).
        - Totals of windows the kept cells can answer are the same before and after.
        - A horizon never moves back: an earlier `before` removes nothing.
        - An unknown kind in `keep` is an `InvalidQueryError`, and nothing is removed.
        """
        ...

    def dump(self, after: str | None = None) -> Dumped:
        """One page of all the store holds, as records that `restore` takes; `dumping` says what they are.

        - `after` is that of the page before, None for the first; behind the last page it is None.
        - What is stored when the first page is asked for and stays is in one of the pages, with the times it was
          recorded at; what is stored meanwhile may be.
        - Together the pages hold every fact, state document, pruned key, instant of a prune, kept cell, and operation
          of the last 24 hours.
        """
        ...

    def restore(self, records: Iterable[Document]) -> Appended:
        """Store what pages of another store's `dump` say, exactly as it was there; a call is atomic.

        - Facts keep their times, `recorded_at` too; no fact is refused because it was pruned.
        - A record that is there already is a no-op; a different fact under its key is a `ConflictError`. A state
          document takes the place of the one under its key, and documents of the dumped range that it does not name
          go: so a second pass brings what changed. What the source pruned goes, of whatever kind.
        - An instant of a prune never moves back. What this store pruned further than its source does not come back;
          once the source was pruned as far, its kept cells take the place of those here. Until then a prediction that
          the source pruned and that never came here is a `RestoreError`: only cells are left of it, and they cannot be
          told from those kept here.
        - A store that is neither empty nor was restored from the same source refuses by a `RestoreError`.
        """
        ...

    def check(self) -> CheckReport:
        """Read the whole store and report what is damaged, lost, or set in a way that risks it."""
        ...

    def close(self) -> None:
        """Release what the handle holds; again is a no-op. What was appended stays."""
        ...

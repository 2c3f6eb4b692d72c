"""`Storage.tally`, sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf, nextafter
from typing import Any

from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import EPOCH, MICROSECOND, to_micros
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.tally import Tally, TallyQuery
from f1mon_core.testing.facts import HOUR, MINUTE, NOON, SECOND, outcome, prediction
from f1mon_core.testing.laws.append import MANY
from f1mon_core.testing.laws.base import Laws
from f1mon_core.testing.model import Model, disagreement

EDGES = sorted(
    {
        confidence
        for edge in (0.0, 0.1, 0.2, 0.29, 0.3, 0.5, 0.57, 0.58, 0.6, 0.7, 0.9, 1.0)
        for confidence in (edge, nextafter(edge, -inf), nextafter(edge, inf))
        if 0.0 <= confidence <= 1.0
    }
    | {5e-324, 2.2250738585072014e-308, 1 / 3, 2 / 3, 0.1 + 0.2}
)
"""Confidences on both sides of bin edges, to the last float."""


def agree(store: Storage, facts: Iterable[Fact], *queries: TallyQuery, now: datetime = NOON) -> None:
    """Check a store's tallies against the model's of the same facts."""
    model = Model()
    model.append(list(facts), now)
    for query in queries:
        assert disagreement(store.tally(query), model.tally(query)) is None, query


def total(tally: Tally) -> dict[int | None, int]:
    """How many predictions have each current outcome."""
    counted: dict[int | None, int] = {}
    for key, cell in tally.cells.items():
        counted[key.actual] = counted.get(key.actual, 0) + cell.n
    return counted


class TallyLaws(Laws):
    """What `tally` promises."""

    def test_a_tally_of_nothing_has_no_cells(self) -> None:
        with self.store() as store:
            assert dict(store.tally(TallyQuery()).cells) == {}
            store.append([outcome("a", 1)])
            assert dict(store.tally(TallyQuery(basis="outcome")).cells) == {}

    def test_labelled_and_unlabelled_predictions_are_counted(self) -> None:
        facts = [prediction("a"), prediction("b"), prediction("c", predicted_outcome=0), outcome("a", 1, NOON)]
        with self.store() as store:
            store.append(facts)
            assert total(store.tally(TallyQuery())) == {1: 1, None: 2}
            agree(store, facts, TallyQuery())

    def test_bin_edges_agree_to_the_last_float(self) -> None:
        # The least and the greatest of a bin come neither first nor last.
        shuffled = [*EDGES[1::2], *EDGES[::2]]
        facts = [prediction(repr(confidence), confidence=confidence) for confidence in shuffled]
        with self.store() as store:
            store.append(facts)
            agree(store, facts, *(TallyQuery(bins=bins) for bins in (1, 2, 3, 7, 10, 49, 100, 1000, "exact")))

    def test_confidence_one_is_in_the_last_bin_and_zero_in_the_first(self) -> None:
        with self.store() as store:
            store.append([prediction("one", confidence=1.0), prediction("zero", confidence=0.0)])
            for bins in (1, 2, 10, 10_000):
                assert {key.bin for key in store.tally(TallyQuery(bins=bins)).cells} == {0, bins - 1}
            assert {key.bin for key in store.tally(TallyQuery(bins="exact")).cells} == {0.0, 1.0}

    def test_moments_are_right_where_naive_sums_lose_everything(self) -> None:
        facts = [prediction(f"p-{number}", confidence=0.5 + number * 2.0**-40) for number in range(200)]
        with self.store() as store:
            store.append(facts)
            agree(store, facts, TallyQuery(bins=1), TallyQuery(bins=10), TallyQuery(bins="exact"))

    def test_a_window_is_half_open_in_the_time_of_its_basis(self) -> None:
        with self.store() as store:
            facts: list[Fact] = []
            for name, offset in (("a", -MICROSECOND), ("b", 0 * HOUR), ("c", HOUR - MICROSECOND), ("d", HOUR)):
                facts += [prediction(name, at=NOON + offset), outcome(name, 1, NOON + 2 * HOUR + offset)]
            store.append(facts)
            assert store.tally(TallyQuery(since=NOON, until=NOON + HOUR)).count == 2
            late = {"since": NOON + 2 * HOUR, "until": NOON + 3 * HOUR}
            assert store.tally(TallyQuery(**late, basis="outcome")).count == 2  # type: ignore[arg-type]
            assert store.tally(TallyQuery(since=NOON, until=NOON)).count == 0
            assert store.tally(TallyQuery(until=NOON)).count == 1
            assert store.tally(TallyQuery(since=NOON)).count == 3

    def test_a_prediction_stands_at_the_first_known_at_and_has_the_current_outcome(self) -> None:
        facts = [prediction("a"), outcome("a", 1, NOON + HOUR), outcome("a", 0, NOON + 3 * HOUR), prediction("open")]
        with self.store() as store:
            store.append(facts)
            first = TallyQuery(basis="outcome", since=NOON + HOUR, until=NOON + 2 * HOUR)
            assert total(store.tally(first)) == {0: 1}
            assert total(store.tally(TallyQuery(basis="outcome", since=NOON + 2 * HOUR))) == {}
            assert total(store.tally(TallyQuery(basis="outcome"))) == {0: 1}

    def test_as_of_counts_only_what_was_knowable(self) -> None:
        facts = [
            prediction("a", at=NOON),
            outcome("a", 1, NOON + HOUR),
            outcome("a", 0, NOON + 2 * HOUR),
            prediction("b", at=NOON + HOUR),
            outcome("early", 1, NOON),
            prediction("early", at=NOON + 3 * HOUR),
        ]
        with self.store() as store:
            store.append(facts)
            for as_of, wanted in (
                (NOON - MICROSECOND, {}),
                (NOON, {None: 1}),
                (NOON + HOUR - MICROSECOND, {None: 1}),
                (NOON + HOUR, {1: 1, None: 1}),
                (NOON + 2 * HOUR, {0: 1, None: 1}),
                (NOON + 3 * HOUR, {0: 1, None: 1, 1: 1}),
            ):
                assert total(store.tally(TallyQuery(as_of=as_of))) == wanted
            agree(store, facts, *(TallyQuery(as_of=NOON + offset * HOUR, basis="outcome") for offset in range(4)))

    def test_as_recorded_counts_only_what_the_store_held(self) -> None:
        with self.place() as place:
            store = place.open()
            model = Model()
            for facts in (
                [prediction("a", at=NOON - 9 * HOUR)],
                [outcome("a", 1, NOON - 8 * HOUR), prediction("b", at=NOON + 9 * HOUR)],
                [outcome("a", 0, NOON - 8 * HOUR + SECOND), outcome("b", 1, NOON - HOUR)],
                [outcome("a", 7, NOON - 9 * HOUR)],
            ):
                store.append(facts)
                model.append(facts, place.clock())
                place.clock.advance(HOUR)
            wanted: list[dict[int | None, int]] = [{}, {None: 1}, {1: 1, None: 1}, {0: 1, 1: 1}, {0: 1, 1: 1}]
            for hours, counted in enumerate(wanted):
                recorded = NOON + (hours - 1) * HOUR
                assert total(store.tally(TallyQuery(as_recorded=recorded))) == counted
                for basis in ("prediction", "outcome"):
                    query = TallyQuery(as_recorded=recorded, basis=basis, as_of=NOON, delay=HOUR)
                    assert disagreement(store.tally(query), model.tally(query)) is None

    def test_a_model_version_counts_exactly_its_predictions(self) -> None:
        facts = [prediction(name, model_version=name) for name in ("m", "M", "m ", "n")]
        with self.store() as store:
            store.append(facts)
            assert store.tally(TallyQuery(model_version="m")).count == 1
            assert {key.model_version for key in store.tally(TallyQuery()).cells} == {"m", "M", "m ", "n"}
            assert store.tally(TallyQuery(model_version="nobody")).count == 0

    def test_labels_reach_the_edges_of_64_bits(self) -> None:
        facts: list[Fact] = []
        for edge in (-(2**63), -1, 2**53 + 1, 2**63 - 1):
            facts += [prediction(str(edge), predicted_outcome=edge), outcome(str(edge), -1 - edge, NOON)]
        with self.store() as store:
            store.append(facts)
            agree(store, facts, TallyQuery())

    def test_buckets_start_on_hours_days_and_mondays_of_utc(self) -> None:
        instants = [NOON, NOON + 59 * MINUTE, NOON + HOUR, datetime(2026, 5, 3, 23, 59, 59, 999_999, UTC)]
        instants += [
            datetime(2026, 5, 4, tzinfo=UTC),
            datetime(1970, 1, 1, tzinfo=UTC),
            datetime(1970, 1, 4, 23, tzinfo=UTC),
        ]
        facts: list[Fact] = []
        for number, at in enumerate(instants):
            facts += [prediction(f"p-{number}", at=at), outcome(f"p-{number}", 1, at + 25 * HOUR)]
        widths = [MICROSECOND, 7 * MINUTE, HOUR, timedelta(days=1), timedelta(weeks=1)]
        with self.store() as store:
            store.append(facts)
            agree(store, facts, *(TallyQuery(bucket=width) for width in widths))
            agree(store, facts, *(TallyQuery(bucket=width, basis="outcome") for width in widths))
            weeks = {key.bucket for key in store.tally(TallyQuery(bucket=timedelta(weeks=1), since=NOON)).cells}
            assert weeks == {to_micros(datetime(2026, 4, 27, tzinfo=UTC)), to_micros(datetime(2026, 5, 4, tzinfo=UTC))}

    def test_a_delay_is_whole_units_to_the_first_outcome_floored(self) -> None:
        facts: list[Fact] = [prediction("open")]
        for number, delay in enumerate(
            (HOUR - MICROSECOND, HOUR, 2 * HOUR - MICROSECOND, 0 * HOUR, -MICROSECOND, -HOUR, 1000 * HOUR)
        ):
            facts += [prediction(f"p-{number}"), outcome(f"p-{number}", 1, NOON + delay)]
            facts += [outcome(f"p-{number}", 0, NOON + 2000 * HOUR)]
        with self.store() as store:
            store.append(facts)
            delays = {key.delay for key in store.tally(TallyQuery(delay=HOUR)).cells}
            assert delays == {None, 0, 1, -1, 1000}
            agree(store, facts, *(TallyQuery(delay=unit) for unit in (MICROSECOND, HOUR, timedelta(days=3))))

    def test_tallies_of_adjacent_windows_add_up_to_the_whole(self) -> None:
        facts: list[Fact] = []
        for number in range(60):
            name = f"p-{number}"
            facts.append(
                prediction(name, at=NOON + number * MINUTE, confidence=number / 59, predicted_outcome=number % 3)
            )
            if number % 2:
                facts.append(outcome(name, number % 3, NOON + number * HOUR))
        model = Model()
        model.append(facts, NOON)
        with self.store() as store:
            store.append(facts)
            for bins in (10, "exact"):
                for basis, step in (("prediction", 7 * MINUTE), ("outcome", 7 * HOUR)):
                    settled: dict[str, Any] = {"bins": bins, "basis": basis, "bucket": HOUR, "delay": HOUR}
                    edges = [None, *(NOON + number * step for number in range(10)), None]
                    parts = [
                        store.tally(TallyQuery(since=since, until=until, **settled)) for since, until in pairwise(edges)
                    ]
                    added = sum(parts[1:], parts[0])
                    assert disagreement(added, model.tally(TallyQuery(**settled))) is None

    def test_a_tally_has_no_hidden_limit(self) -> None:
        with self.store() as store:
            store.append(prediction(f"p-{number:05d}", confidence=number / MANY) for number in range(MANY))
            assert store.tally(TallyQuery()).count == MANY
            assert len(store.tally(TallyQuery(bins="exact")).cells) == MANY

    def test_a_tally_reaches_from_1970_to_9999(self) -> None:
        facts = [prediction("first", at=EPOCH), prediction("last", at=datetime.max.replace(tzinfo=UTC))]
        with self.store() as store:
            store.append(facts)
            agree(store, facts, TallyQuery(), TallyQuery(bucket=timedelta(days=1)), TallyQuery(since=EPOCH))

"""`Storage.tally`, sentence by sentence."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf, nextafter
from typing import Any

import pytest

from f1mon_core.errors import InvalidQueryError
from f1mon_core.records.fields import ClassLabel
from f1mon_core.records.kinds import Fact
from f1mon_core.records.times import EPOCH, MICROSECOND, to_micros
from f1mon_core.storage.contract import Storage
from f1mon_core.storage.tally import MAX_GROUPS, Tally, TallyQuery
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


def total(tally: Tally) -> dict[ClassLabel | None, int]:
    """How many predictions have each current outcome."""
    counted: dict[ClassLabel | None, int] = {}
    for key, cell in tally.cells.items():
        counted[key.actual] = counted.get(key.actual, 0) + cell.n
    return counted


def segmented() -> list[Fact]:
    """Predictions of two models in segments that some of them lack, half of them labelled."""
    facts: list[Fact] = []
    for number in range(24):
        country: tuple[str | None, ...] = ("DE", "FR", None)
        tier: tuple[int | str | None, ...] = (0, 1, "1", None)
        given = {"country": country[number % 3], "tier": tier[number % 4]}
        facts.append(
            prediction(
                f"p-{number // 2}",
                model_version="mn"[number % 2],
                at=NOON + number * MINUTE,
                confidence=number / 23,
                segments={name: value for name, value in given.items() if value is not None},
            )
        )
        if number % 4 == 0:
            facts.append(outcome(f"p-{number // 2}", number % 3, NOON + number * 7 * MINUTE))
    return facts


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

    def test_by_outcome_time_a_prediction_stands_at_the_later_of_its_own_time_and_its_first_known_at(self) -> None:
        facts = [
            prediction("a", model_version="m", at=NOON),
            outcome("a", 1, NOON + 2 * HOUR),
            outcome("a", 0, NOON + 5 * HOUR),
            prediction("a", model_version="backfilled", at=NOON + 4 * HOUR),
            outcome("early", 1, NOON - 9 * HOUR),
            prediction("early", at=NOON + HOUR),
        ]
        windows = [(NOON + hour * HOUR, NOON + (hour + 1) * HOUR) for hour in (1, 2, 4)]
        with self.store() as store:
            store.append(facts)
            for (since, until), model in zip(windows, ("podium-1", "m", "backfilled"), strict=True):
                tally = store.tally(TallyQuery(basis="outcome", since=since, until=until))
                assert (tally.models, tally.count) == ({model}, 1)
            assert store.tally(TallyQuery(basis="outcome", until=NOON + HOUR)).count == 0
            agree(
                store,
                facts,
                TallyQuery(basis="outcome", bucket=HOUR, delay=HOUR),
                TallyQuery(basis="outcome", as_of=NOON + 3 * HOUR, bucket=HOUR),
            )

    def test_extremes_are_those_of_all_predictions_whatever_their_outcome(self) -> None:
        facts: list[Fact] = [prediction(f"p-{n}", confidence=0.70 + n / 100) for n in range(5)]
        facts += [outcome("p-1", 1, NOON), outcome("p-2", 0, NOON + HOUR), outcome("p-3", "1", NOON + 2 * HOUR)]
        facts += [prediction("other", predicted_outcome=0, confidence=0.79)]
        with self.store() as store:
            store.append(facts)
            cells = store.tally(TallyQuery()).cells.items()
            assert {(cell.minimum, cell.maximum) for key, cell in cells if key.predicted == 1} == {(0.70, 0.74)}
            agree(store, facts, TallyQuery(delay=HOUR), TallyQuery(bucket=HOUR), TallyQuery(bins="exact"))

    def test_segments_split_the_cells_by_one_name_and_by_two(self) -> None:
        facts = segmented()
        with self.store() as store:
            store.append(facts)
            groups: dict[Any, int] = {}
            for key, cell in store.tally(TallyQuery(by=("country",))).cells.items():
                groups[key.segments] = groups.get(key.segments, 0) + cell.n
            assert groups == {("DE",): 8, ("FR",): 8, (None,): 8}
            names: list[tuple[str, ...]] = [("country",), ("tier",), ("country", "tier"), ("tier", "country"), ("no",)]
            for by in names:
                agree(
                    store,
                    facts,
                    TallyQuery(by=by),
                    TallyQuery(by=by, basis="outcome", bucket=HOUR, delay=HOUR),
                    TallyQuery(by=by, model_version="m", bins="exact"),
                    TallyQuery(by=by, as_of=NOON + 5 * MINUTE, as_recorded=NOON),
                )

    def test_predictions_without_a_segment_are_in_the_group_of_none(self) -> None:
        facts = [prediction("with", segments={"country": "None"}), prediction("empty", segments={"country": ""})]
        facts += [prediction("without"), prediction("other", segments={"tier": 1})]
        with self.store() as store:
            store.append(facts)
            cells = store.tally(TallyQuery(by=("country",))).cells
            assert {key.segments: cell.n for key, cell in cells.items()} == {("None",): 1, ("",): 1, (None,): 2}

    def test_where_selects_by_a_value_a_collection_or_the_lack_of_a_name(self) -> None:
        facts = segmented()
        conditions: list[dict[str, Any]] = [
            {"country": "DE"},
            {"country": ["DE", "FR", "nowhere"]},
            {"country": None},
            {"country": [None, "FR"]},
            {"country": ()},
            {"country": set()},
            {"country": "de"},
            {"country": "DE", "tier": 1},
            {"tier": True},
            {"tier": "1"},
            {"tier": [0, "1", None]},
            {"no": None},
            {"no": 1},
        ]
        with self.store() as store:
            store.append(facts)
            assert store.tally(TallyQuery(where={"country": "DE"})).count == 8
            assert store.tally(TallyQuery(where={"country": None})).count == 8
            assert store.tally(TallyQuery(where={"country": []})).cells == {}
            for where in conditions:
                agree(
                    store,
                    facts,
                    TallyQuery(where=where),
                    TallyQuery(where=where, by=("country", "tier"), basis="outcome"),
                    TallyQuery(where=where, by=("tier",), bucket=HOUR, model_version="n"),
                )

    def test_segments_compare_with_their_type(self) -> None:
        values: list[Any] = [1, "1", 0, "0", "", -(2**63), 2**63 - 1, 2**53 + 1, 2**53, "True"]
        facts = [prediction(f"p-{number}", segments={"x": value}) for number, value in enumerate(values)]
        with self.store() as store:
            store.append(facts)
            groups = [key.segments for key in store.tally(TallyQuery(by=("x",))).cells]
            assert sorted(map(repr, groups)) == sorted(repr((value,)) for value in values)
            for value in values:
                assert store.tally(TallyQuery(where={"x": value})).count == 1

    def test_segments_of_hostile_names_and_values_stay_apart(self) -> None:
        texts = [
            "a",
            "A",
            "a ",
            "ä",
            "a\u0308",
            "ß",
            "ss",
            "%",
            "_",
            "a.b[0]",
            "$",
            '"',
            "'",
            "\\",
            "\n",
            "\x01",
            "x" * 64,
        ]
        texts += ["'; DROP TABLE prediction; --", "\U0001f3ce" * 64, "\uffff", "null", "0", "__proto__"]
        facts: list[Fact] = []
        for number, text in enumerate(texts):
            facts += [prediction(f"p-{number}", segments={text: text, "x": text}), outcome(f"p-{number}", 1, NOON)]
        with self.store() as store:
            store.append(facts)
            assert len(store.tally(TallyQuery(by=("x",))).cells) == len(texts)
            for text in texts:
                assert store.tally(TallyQuery(where={text: text})).count == 1
                assert store.tally(TallyQuery(where={"x": text})).count == 1
                agree(store, facts, TallyQuery(by=(text,)))
            agree(store, facts, TallyQuery(by=(texts[0], texts[1]), where={"x": texts}))

    def test_more_groups_than_can_be_answered_are_refused_with_their_number(self) -> None:
        with self.store() as store:
            for part in range(3):
                numbers = range(part, MAX_GROUPS, 3)
                store.append(prediction(f"p-{n:05d}", segments={"one": n, "two": n % 2}) for n in numbers)
            assert len(store.tally(TallyQuery(by=("one",))).cells) == MAX_GROUPS
            store.append([prediction("without")])
            for by in (("one",), ("two", "one")):
                with pytest.raises(InvalidQueryError, match=str(MAX_GROUPS + 1)):
                    store.tally(TallyQuery(by=by))
            assert store.tally(TallyQuery(by=("two",))).count == MAX_GROUPS + 1
            assert store.tally(TallyQuery(by=("one",), where={"one": list(range(50))})).count == 50

    def test_tallies_by_segments_of_adjacent_windows_add_up_to_the_whole(self) -> None:
        facts = segmented()
        model = Model()
        model.append(facts, NOON)
        with self.store() as store:
            store.append(facts)
            edges = [None, *(NOON + number * 5 * MINUTE for number in range(5)), None]
            settled: dict[str, Any] = {"by": ("tier", "country"), "where": {"country": ["DE", None]}}
            parts = [store.tally(TallyQuery(since=since, until=until, **settled)) for since, until in pairwise(edges)]
            assert disagreement(sum(parts[1:], parts[0]), model.tally(TallyQuery(**settled))) is None

    def test_items_that_two_models_predicted_are_counted_by_what_both_answered(self) -> None:
        facts: list[Fact] = []
        for number in range(24):
            name, at = f"p-{number}", NOON + number * MINUTE
            facts.append(
                prediction(name, model_version="m", at=at, confidence=number / 23, segments={"tier": number % 3})
            )
            if number % 4:
                late = timedelta(minutes=(number * 7) % 11 - 5)
                answer: ClassLabel = ("0", 0, 1)[number % 3]
                facts.append(prediction(name, model_version="n", at=at + late, predicted_outcome=answer))
            if number % 5:
                facts.append(prediction(name, model_version="o", at=at, predicted_outcome=2))
            if number % 3 == 0:
                facts += [outcome(name, 1, at + 20 * MINUTE), outcome(name, 0, at + 40 * MINUTE)]
        with self.store() as store:
            store.append(facts)
            asked: dict[str, Any] = {"model_version": "m", "beside": "n"}
            cells = store.tally(TallyQuery(**asked)).cells
            assert cells, "items that both predicted are counted, with `beside` or without"
            if not any(key.segments for key in cells):
                pytest.skip("this store leaves `beside` out")
            agree(store, facts, *(TallyQuery(**asked, bins=bins) for bins in (1, 10, "exact")))
            agree(store, facts, TallyQuery(model_version="n", beside="m"), TallyQuery(model_version="m", beside="x"))
            agree(store, facts, TallyQuery(**asked, by=("tier",)), TallyQuery(**asked, where={"tier": [0, 2]}))
            edges = [NOON + number * 4 * MINUTE for number in range(-1, 8)]
            agree(store, facts, *(TallyQuery(**asked, since=one, until=two) for one, two in pairwise(edges)))
            agree(store, facts, *(TallyQuery(**asked, as_of=edge, delay=4 * MINUTE) for edge in edges))
            agree(store, facts, TallyQuery(**asked, bucket=3 * MINUTE), TallyQuery(**asked, bucket=HOUR, delay=MINUTE))
            agree(store, facts, TallyQuery(**asked, as_recorded=NOON - SECOND), TallyQuery(**asked, as_recorded=NOON))

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
            wanted: list[dict[ClassLabel | None, int]] = [{}, {None: 1}, {1: 1, None: 1}, {0: 1, 1: 1}, {0: 1, 1: 1}]
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

"""Faults in `tally`: bins, outcomes, knowledge, and time."""

from datetime import UTC, datetime, timedelta

import attrs

from f1mon_core.records.kinds import Outcome
from f1mon_core.records.times import (
    LATEST,
    MICROSECOND,
    duration_micros,
    from_micros,
    to_micros,
)
from f1mon_core.storage import answers
from f1mon_core.storage.memory import MemoryStorage
from f1mon_core.storage.tally import (
    CellKey,
    Moments,
    Tally,
    answered,
    bin_of,
    bucket_of,
    merge_cells,
    moments_of,
)
from planted.registry import altered, fault, rewired

HIDDEN_LIMIT = 10_000


def folded_with(**names):
    """`MemoryStorage.tally` over a fold in which some names mean something else."""
    broken = rewired(answers.fold_cells, **names)
    return rewired(MemoryStorage.tally, answers=altered(answers, fold_cells=broken))


@fault("the last bin loses 1.0", caught_by="confidence_one_is_in_the_last_bin_and_zero_in_the_first")
class LastBinOpen(MemoryStorage):
    tally = folded_with(
        bin_of=lambda confidence, bins: bins if confidence == 1.0 and bins != "exact" else bin_of(confidence, bins)
    )


@fault("bins are found by multiplying alone", caught_by="bin_edges_agree_to_the_last_float")
class BinsByMultiplying(MemoryStorage):
    tally = folded_with(
        bin_of=lambda confidence, bins: confidence if bins == "exact" else min(int(confidence * bins), bins - 1)
    )


@fault("bins are open below and closed above", caught_by="bin_edges_agree_to_the_last_float")
class BinsClosedAbove(MemoryStorage):
    tally = folded_with(
        bin_of=lambda confidence, bins: (
            index - 1
            if bins != "exact" and (index := bin_of(confidence, bins)) > 0 and confidence == index / bins
            else bin_of(confidence, bins)
        )
    )


@fault("exact bins are rounded to six digits", caught_by="bin_edges_agree_to_the_last_float")
class ExactRounded(MemoryStorage):
    tally = folded_with(
        bin_of=lambda confidence, bins: round(confidence, 6) if bins == "exact" else bin_of(confidence, bins)
    )


@fault("the number of bins is always ten", caught_by="bin_edges_agree_to_the_last_float")
class AlwaysTenBins(MemoryStorage):
    def tally(self, query):
        return super().tally(query if query.bins == "exact" else attrs.evolve(query, bins=10))


@fault("deviations are taken from zero instead of the bin's middle", caught_by="bin_edges_agree_to_the_last_float")
class DeviationsFromZero(MemoryStorage):
    tally = folded_with(moments_of=lambda confidence, _: moments_of(confidence, 0.0))


@fault("squares are those of the deviations' sum", caught_by="moments_are_right_where_naive_sums_lose_everything")
class SquareOfTheSum(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        return Tally(tally.bins, {key: cell._replace(squares=cell.total**2) for key, cell in tally.cells.items()})


@fault("the least confidence of a cell is its first", caught_by="bin_edges_agree_to_the_last_float")
class FirstIsLeast(MemoryStorage):
    tally = rewired(
        MemoryStorage.tally,
        answered=rewired(
            answered,
            merge_cells=lambda cells: {
                key: moments._replace(minimum=next(one.minimum for other, one in cells if other == key))
                for key, moments in merge_cells(cells).items()
            },
        ),
    )


@fault("sums are kept in 32 bits", caught_by="moments_are_right_where_naive_sums_lose_everything")
class RoundedSums(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        return Tally(
            tally.bins,
            {key: Moments(*cell[:3], float(f"{cell.total:.7g}"), cell.squares) for key, cell in tally.cells.items()},
        )


@fault("a tally counts labelled predictions only", caught_by="labelled_and_unlabelled_predictions_are_counted")
class LabelledOnly(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        return Tally(tally.bins, {key: cell for key, cell in tally.cells.items() if key.actual is not None})


@fault("a tally stops at 10,000", caught_by="a_tally_has_no_hidden_limit")
class TallyStops(MemoryStorage):
    tally = rewired(
        MemoryStorage.tally,
        answers=altered(
            answers,
            fold_cells=lambda made, outcomes, query: answers.fold_cells(list(made)[:HIDDEN_LIMIT], outcomes, query),
        ),
    )


@fault("a tally's window is closed at its end", caught_by="a_window_is_half_open_in_the_time_of_its_basis")
class TallyClosedAtTheEnd(MemoryStorage):
    def tally(self, query):
        if query.until is not None and query.until < LATEST:
            query = attrs.evolve(query, until=query.until + MICROSECOND)
        return super().tally(query)


@fault("a tally is of all models", caught_by="a_model_version_counts_exactly_its_predictions")
class TallyOfAllModels(MemoryStorage):
    def tally(self, query):
        return super().tally(attrs.evolve(query, model_version=None))


@fault("a tally's models are one", caught_by="a_model_version_counts_exactly_its_predictions")
class ModelsMerged(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        if query.model_version is not None or not tally.cells:
            return tally
        first = min(key.model_version for key in tally.cells)
        cells = [(key._replace(model_version=first), cell) for key, cell in tally.cells.items()]
        return Tally(tally.bins, merge_cells(cells))


def _outcomes_as(change):
    """`MemoryStorage.tally` over outcomes that `change(outcomes, query)` chose for each prediction."""

    def broken(predictions, outcomes, query):
        return answers.fold_cells(
            predictions, {name: change(list(held), query) for name, held in outcomes.items()}, query
        )

    return rewired(MemoryStorage.tally, answers=altered(answers, fold_cells=broken))


@fault("the outcome recorded last is the current one", caught_by="the_newest_known_at_is_current_whatever_came_last")
class RecordedLastIsCurrent(MemoryStorage):
    tally = _outcomes_as(
        lambda held, query: (
            [
                attrs.evolve(one, at=min(other.at for other in held) + MICROSECOND * number)
                for number, one in enumerate(held)
            ]
            if query.as_of is None
            else held
        )
    )


@fault(
    "the first outcome stays the current one",
    caught_by="a_prediction_stands_at_the_first_known_at_and_has_the_current_outcome",
)
class FirstOutcomeStays(MemoryStorage):
    tally = _outcomes_as(lambda held, _: sorted(held, key=lambda one: one.at)[:1])


@fault("as_of does not look at corrections", caught_by="as_of_counts_only_what_was_knowable")
class AsOfIgnoresCorrections(MemoryStorage):
    tally = folded_with(
        _known=lambda fact, query: (
            answers._known(fact, attrs.evolve(query, as_of=None))
            if isinstance(fact, Outcome)
            else answers._known(fact, query)
        )
    )


@fault("as_of does not look at predictions", caught_by="as_of_counts_only_what_was_knowable")
class AsOfIgnoresPredictions(MemoryStorage):
    tally = folded_with(
        _known=lambda fact, query: (
            answers._known(fact, query)
            if isinstance(fact, Outcome)
            else answers._known(fact, attrs.evolve(query, as_of=None))
        )
    )


@fault("as_of leaves out what was known at that very instant", caught_by="as_of_counts_only_what_was_knowable")
class AsOfIsOpen(MemoryStorage):
    def tally(self, query):
        if query.as_of is not None and to_micros(query.as_of) > 0:
            query = attrs.evolve(query, as_of=query.as_of - MICROSECOND)
        return super().tally(query)


@fault("as_recorded goes by known_at", caught_by="as_recorded_counts_only_what_the_store_held")
class AsRecordedByKnown(MemoryStorage):
    def tally(self, query):
        if query.as_recorded is not None and query.as_of is None:
            query = attrs.evolve(query, as_of=query.as_recorded, as_recorded=None)
        return super().tally(query)


@fault("as_recorded does not look at predictions", caught_by="as_recorded_counts_only_what_the_store_held")
class AsRecordedIgnoresPredictions(MemoryStorage):
    tally = folded_with(
        _known=lambda fact, query: (
            answers._known(fact, query)
            if isinstance(fact, Outcome)
            else answers._known(fact, attrs.evolve(query, as_recorded=None))
        )
    )


def _newest_stands(held, query):
    """By outcome, a prediction stands at its newest known_at: the first one takes its time."""
    if query.basis != "outcome" or not held:
        return held
    return [max(held, key=lambda one: one.at)]


@fault(
    "by outcome, a prediction stands at its newest known_at",
    caught_by="a_prediction_stands_at_the_first_known_at_and_has_the_current_outcome",
)
class OutcomeBasisByNewest(MemoryStorage):
    tally = _outcomes_as(_newest_stands)


@fault(
    "by outcome, a prediction has the first value",
    caught_by="a_prediction_stands_at_the_first_known_at_and_has_the_current_outcome",
)
class OutcomeBasisFirstValue(MemoryStorage):
    tally = _outcomes_as(
        lambda held, query: sorted(held, key=lambda one: one.at)[:1] if query.basis == "outcome" else held
    )


@fault(
    "by outcome, the window is still that of the prediction", caught_by="a_window_is_half_open_in_the_time_of_its_basis"
)
class OutcomeBasisIgnored(MemoryStorage):
    def tally(self, query):
        return super().tally(attrs.evolve(query, basis="prediction"))


@fault(
    "by outcome, predictions without one are counted",
    caught_by="a_prediction_stands_at_the_first_known_at_and_has_the_current_outcome",
)
class OutcomeBasisUnlabelled(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        if query.basis == "prediction":
            return tally
        rest = super().tally(attrs.evolve(query, basis="prediction"))
        return tally + Tally(rest.bins, {key: cell for key, cell in rest.cells.items() if key.actual is None})


@fault("a delay is truncated towards zero", caught_by="a_delay_is_whole_units_to_the_first_outcome_floored")
class DelayTruncated(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        return Tally(
            tally.bins,
            merge_cells(
                (key._replace(delay=key.delay + 1) if key.delay is not None and key.delay < 0 else key, cell)
                for key, cell in tally.cells.items()
            ),
        )


@fault("a delay is that of the newest outcome", caught_by="a_delay_is_whole_units_to_the_first_outcome_floored")
class DelayOfTheNewest(MemoryStorage):
    tally = _outcomes_as(lambda held, query: sorted(held, key=lambda one: one.at)[-1:] if query.delay else held)


@fault("a delay counts the outcomes that as_of leaves out", caught_by="as_recorded_counts_only_what_the_store_held")
class DelayOfUnknown(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        if query.delay is None or query.as_of is None:
            return tally
        return super().tally(attrs.evolve(query, as_of=None))


@fault("time buckets are counted from 1970-01-01", caught_by="buckets_start_on_hours_days_and_mondays_of_utc")
class BucketsFromEpoch(MemoryStorage):
    tally = folded_with(
        bucket_of=lambda micros, width: (
            None if width is None else micros // duration_micros(width) * duration_micros(width)
        )
    )


@fault("time buckets are counted from the window's start", caught_by="buckets_start_on_hours_days_and_mondays_of_utc")
class BucketsFromSince(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        if query.bucket is None or query.since is None:
            return tally
        first = to_micros(query.since)
        cells = [
            (key._replace(bucket=max(key.bucket, first)), cell)
            for key, cell in tally.cells.items()
            if from_micros(key.bucket)
        ]
        return Tally(tally.bins, merge_cells(cells))


@fault("by outcome, buckets are those of the prediction", caught_by="buckets_start_on_hours_days_and_mondays_of_utc")
class BucketsOfThePrediction(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        if query.bucket is None or query.basis == "prediction":
            return tally
        return super().tally(attrs.evolve(query, basis="prediction"))


@fault("a tally of nothing is one cell of zeros", caught_by="a_tally_of_nothing_has_no_cells")
class CellOfNothing(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        return tally if tally.cells else Tally(tally.bins, {CellKey("", 0, None, 0): Moments(0, 0.0, 0.0, 0.0, 0.0)})


@fault("by outcome, those that came before their prediction are counted", caught_by="a_tally_of_nothing_has_no_cells")
class EarlyOutcomesCounted(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        made = {key[0] for key in self._contents.of_kind("prediction")}
        early = set(self._contents.outcomes) - made
        if query.basis == "prediction" or not early:
            return tally
        return tally + Tally(tally.bins, {CellKey("", 0, None, 0): Moments(len(early), 0.0, 0.0, 0.0, 0.0)})


@fault("labels are doubles in a tally", caught_by="labels_reach_the_edges_of_64_bits")
class DoubleLabels(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        cells = [
            (key._replace(predicted=int(float(key.predicted)), actual=key.actual and int(float(key.actual))), cell)
            for key, cell in tally.cells.items()
        ]
        return Tally(tally.bins, merge_cells(cells))


@fault("a window is answered from whole hours", caught_by="tallies_of_adjacent_windows_add_up_to_the_whole")
class WholeHours(MemoryStorage):
    def tally(self, query):
        hour = timedelta(hours=1)
        since, until = (edge and from_micros(bucket_of(to_micros(edge), hour)) for edge in (query.since, query.until))
        if until != query.until:
            until += hour
        return super().tally(attrs.evolve(query, since=since, until=until))


@fault("deviations are taken from the cell's own mean", caught_by="tallies_of_adjacent_windows_add_up_to_the_whole")
class DeviationsFromTheMean(MemoryStorage):
    def tally(self, query):
        tally = super().tally(query)
        centred = {
            key: cell._replace(total=0.0, squares=cell.squares - cell.total**2 / cell.n)
            for key, cell in tally.cells.items()
        }
        return Tally(tally.bins, centred)


@fault("times end in 2262, as nanoseconds in 64 bits do", caught_by="a_tally_reaches_from_1970_to_9999")
class NanosecondTimes(MemoryStorage):
    def tally(self, query):
        end = datetime(2262, 4, 11, 23, 47, 16, 854_775, tzinfo=UTC)
        return super().tally(attrs.evolve(query, until=min(end, query.until or end)))


ON_COMMON_ITEMS = "items_that_two_models_predicted_are_counted_by_what_both_answered"


@fault("an item of two models stands at the first one's prediction", caught_by=ON_COMMON_ITEMS)
class StandsAtTheFirst(MemoryStorage):
    tally = folded_with(min=lambda first, _other: first)


@fault("an answer of the other model counts before it was known", caught_by=ON_COMMON_ITEMS)
class OtherKnownTooSoon(MemoryStorage):
    tally = folded_with(
        _others=lambda predictions, query: {
            one.prediction_id: one for one in predictions if one.model_version == query.beside
        }
    )


@fault("whoever else predicted an item is the other model", caught_by=ON_COMMON_ITEMS)
class AnyOtherModel(MemoryStorage):
    tally = folded_with(
        _others=lambda predictions, query: {
            one.prediction_id: one
            for one in predictions
            if one.model_version != query.model_version and answers._known(one, query)
        }
    )

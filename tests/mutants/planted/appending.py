"""Faults in `append`: atomicity, repeats, conflicts, times, and what a value is worth."""

import itertools
import json
import struct
import time
import unicodedata
from datetime import UTC, datetime

import attrs

from f1mon_core.errors import ConflictError, PrunedError
from f1mon_core.records.kinds import Outcome, Prediction, same
from f1mon_core.records.times import LATEST, from_micros, to_micros
from f1mon_core.storage import stamping
from f1mon_core.storage.contract import Appended
from f1mon_core.storage.memory import MemoryStorage
from planted.registry import altered, fault, rewired

TEXT_BYTES = 65_535


@fault("a batch is written fact by fact", caught_by="a_conflict_writes_nothing_of_its_batch")
class FactByFact(MemoryStorage):
    def append(self, facts):
        each = [super(FactByFact, self).append([fact]) for fact in facts]
        return Appended(sum(one.new for one in each), sum(one.repeated for one in each))


@fault(
    "a batch is held against itself before it is held against the store",
    caught_by="each_fact_of_a_batch_is_compared_with_the_first_that_stands_under_its_key",
)
class BatchAgainstItself(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        for first, second in itertools.combinations([fact for fact in batch if fact.at is not None], 2):
            if first.kind == second.kind and first.key == second.key and not same(first, second):
                raise ConflictError(first, second)
        return super().append(batch)


@fault(
    "only the first of a key is held against the store",
    caught_by="each_fact_of_a_batch_is_compared_with_the_first_that_stands_under_its_key",
)
class OnlyTheFirst(MemoryStorage):
    def append(self, facts):
        batch, seen = [], {}
        for fact in facts:
            first = seen.setdefault((fact.kind, fact.key), fact)
            if first is fact:
                batch.append(fact)
            elif not same(first, fact):
                raise ConflictError(first, fact)
        appended = super().append(batch)
        return Appended(appended.new, appended.repeated + len(facts) - len(batch))


@fault(
    "a conflict overwrites what is stored",
    caught_by="a_different_fact_under_the_same_key_is_a_conflict_that_names_both",
)
class ConflictOverwrites(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        try:
            return super().append(batch)
        except ConflictError as conflict:
            stored = conflict.stored
            del self._contents.facts[stored.kind][stored.key]
            if isinstance(stored, Outcome):
                self._contents.outcomes[stored.prediction_id].remove(stored)
            return self.append(batch)


@fault(
    "a conflict is passed over in silence",
    caught_by="a_different_fact_under_the_same_key_is_a_conflict_that_names_both",
)
class ConflictIgnored(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        try:
            return super().append(batch)
        except ConflictError as conflict:
            rest = [fact for fact in batch if fact is not conflict.offered]
            appended = self.append(rest)
            return Appended(appended.new, appended.repeated + 1)


@fault(
    "a second acknowledgement takes the first one's place",
    caught_by="a_different_fact_under_the_same_key_is_a_conflict_that_names_both",
)
class AcknowledgementOverwrites(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        for fact in batch:
            if fact.kind == "acknowledgement":
                self._contents.of_kind("acknowledgement").pop(fact.key, None)
        return super().append(batch)


@fault(
    "a conflict does not say what is stored",
    caught_by="a_different_fact_under_the_same_key_is_a_conflict_that_names_both",
)
class ConflictWithoutTheStored(MemoryStorage):
    def append(self, facts):
        try:
            return super().append(facts)
        except ConflictError as conflict:
            raise ConflictError(conflict.offered, conflict.offered) from None


@fault("a repeat is counted as new", caught_by="append_answers_how_many_were_new_and_how_many_repeated")
class RepeatCountedAsNew(MemoryStorage):
    def append(self, facts):
        appended = super().append(facts)
        return Appended(appended.new + appended.repeated, 0)


@fault(
    "a repeat replaces the first, with a later recorded_at",
    caught_by="the_same_fact_again_is_a_no_op_and_the_first_stays",
)
class RepeatReplaces(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        appended = super().append(batch)
        now = self.clock()
        for fact in batch:
            if isinstance(fact, Prediction):
                held = self._contents.of_kind(fact.kind)
                held[fact.key] = attrs.evolve(held[fact.key], recorded_at=now)
        return appended


@fault("a repeat within one batch is a conflict", caught_by="append_answers_how_many_were_new_and_how_many_repeated")
class RepeatInBatchRefused(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        seen = {}
        for fact in batch:
            if isinstance(fact, Prediction) and seen.setdefault(fact.key, fact) is not fact:
                raise ConflictError(fact, fact)
        return super().append(batch)


@fault(
    "two different facts under one key of a batch: the last wins",
    caught_by="a_conflict_within_a_batch_writes_nothing_of_it",
)
class LastOfTheBatchWins(MemoryStorage):
    def append(self, facts):
        chosen = {}
        for number, fact in enumerate(facts):
            chosen[(fact.kind, fact.key) if isinstance(fact, Prediction) else number] = fact
        return super().append(chosen.values())


@fault("two times are compared although one was stamped", caught_by="two_times_are_compared_only_when_both_were_given")
class StampedTimesCompared(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        same=lambda stored, offered: same(attrs.evolve(stored, at_given=True), attrs.evolve(offered, at_given=True)),
    )


@fault("two given times are not compared", caught_by="two_times_are_compared_only_when_both_were_given")
class GivenTimesNotCompared(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged, same=lambda stored, offered: same(attrs.evolve(stored, at_given=False), offered)
    )


@fault("1 and true in a feature are the same content", caught_by="values_that_differ_only_in_type_conflict")
class ContentComparedLoosely(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        same=lambda stored, offered: (
            same(stored, offered)
            or (isinstance(stored, Prediction) and stored.key == offered.key and stored.features == offered.features)
        ),
    )


@fault("objects are compared as they are spelled", caught_by="the_order_of_keys_in_an_object_makes_no_difference")
class ObjectsAsSpelled(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        same=lambda stored, offered: (
            same(stored, offered)
            and (not isinstance(stored, Prediction) or json.dumps(stored.features) == json.dumps(offered.features))
        ),
    )


@fault(
    "the time of a fact without one is the host's, not the store's clock",
    caught_by="a_fact_without_a_time_gets_the_stores_clock",
)
class HostClock(MemoryStorage):
    def append(self, facts):
        now = datetime.now(UTC)
        return super().append([fact if fact.at else attrs.evolve(fact, at=now, at_given=False) for fact in facts])


@fault("recorded_at is believed from the caller", caught_by="recorded_at_is_always_the_stores")
class RecordedAtBelieved(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        appended = super().append(batch)
        for fact in batch:
            if fact.recorded_at is not None and fact.at is not None:
                self._contents.of_kind(fact.kind)[fact.key] = fact
        return appended


@fault("whether the time was given is forgotten", caught_by="a_given_time_is_kept_and_remembered_as_given")
class GivenForgotten(MemoryStorage):
    def append(self, facts):
        return super().append([attrs.evolve(fact, at_given=False) for fact in facts])


@fault(
    "an outcome that equals the current one is stored again",
    caught_by="the_current_outcome_again_without_known_at_is_a_no_op",
)
class EqualOutcomeStored(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            timed=lambda offered, now, newest=None: (
                stamping.timed(offered, now, newest) or attrs.evolve(offered, at=max(now, newest.at), at_given=False)
                if newest is None or newest.at < now
                else stamping.timed(offered, now, newest)
            ),
        ),
    )


@fault(
    "a correction without known_at stands at now, even where a newer one is known",
    caught_by="a_correction_is_known_after_every_earlier_revision",
)
class CorrectionBehindTheNewest(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            timed=lambda offered, now, newest=None: (
                attrs.evolve(timed, at=now, at_given=False)
                if (timed := stamping.timed(offered, now, newest)) is not None and offered.at is None
                else timed
            ),
        ),
    )


def _timed_with(**names):
    """`MemoryStorage._staged` over a stamping in which some names mean something else."""
    broken = rewired(stamping.timed, **names)
    return rewired(MemoryStorage._staged, stamping=altered(stamping, timed=broken))


@fault(
    "a correction without known_at stands right behind the corrected, whatever the time",
    caught_by="a_correction_without_known_at_is_known_now",
)
class CorrectionBesideTheCorrected(MemoryStorage):
    _staged = _timed_with(max=lambda _, behind: behind)


@fault("a correction behind the last instant overflows", caught_by="after_the_last_instant_there_is_no_correction")
class CalendarOverflows(MemoryStorage):
    _staged = _timed_with(LATEST=None)


@fault(
    "a correction behind the last instant is passed over in silence",
    caught_by="after_the_last_instant_there_is_no_correction",
)
class LastInstantIsFinal(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        final = {one.prediction_id for one in self._contents.of_kind("outcome").values() if one.at == LATEST}
        kept = [fact for fact in batch if fact.at is not None or fact.key[0] not in final]
        return Appended(super().append(kept).new, len(batch) - len(kept))


@fault("revisions of one millisecond are one", caught_by="one_microsecond_makes_another_revision")
class RevisionsByTheMillisecond(MemoryStorage):
    def append(self, facts):
        batch, kept = list(facts), []
        held = {self._moment(one) for one in self._contents.of_kind("outcome").values()}
        for fact in batch:
            if isinstance(fact, Outcome) and fact.at is not None:
                if self._moment(fact) in held:
                    continue
                held.add(self._moment(fact))
            kept.append(fact)
        appended = super().append(kept)
        return Appended(appended.new, len(batch) - appended.new)

    @staticmethod
    def _moment(one):
        return one.prediction_id, to_micros(one.at) // 1000


@fault(
    "an outcome is compared with the first one instead of the current one",
    caught_by="the_newest_known_at_is_current_whatever_came_last",
)
class ComparedWithTheFirst(MemoryStorage):
    def append(self, facts):
        batch = []
        for fact in facts:
            known = self._contents.outcomes.get(fact.key[0], ()) if isinstance(fact, Outcome) and not fact.at else ()
            if known and known[0].actual_outcome == fact.actual_outcome:
                continue
            batch.append(fact)
        return super().append(batch)


@fault("an outcome that comes before its prediction is lost", caught_by="an_outcome_may_come_before_its_prediction")
class EarlyOutcomeLost(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        known = {key[0] for key in self._contents.of_kind("prediction")}
        known |= {fact.prediction_id for fact in batch if isinstance(fact, Prediction)}
        kept = [fact for fact in batch if not isinstance(fact, Outcome) or fact.prediction_id in known]
        return super().append(kept)


@fault(
    "an outcome of a pruned prediction is taken for an early one",
    caught_by="a_repeat_of_what_was_pruned_is_refused_and_totals_stand",
)
class OutcomeOfThePrunedTaken(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            refuse_pruned=lambda fact, horizon, *, pruned=False: stamping.refuse_pruned(
                fact, horizon, pruned=pruned and not isinstance(fact, Outcome)
            ),
        ),
    )


@fault(
    "a prediction that was pruned is counted again", caught_by="a_repeat_of_what_was_pruned_is_refused_and_totals_stand"
)
class PrunedCountedAgain(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            refuse_pruned=lambda fact, horizon, *, pruned=False: stamping.refuse_pruned(
                fact, horizon, pruned=pruned and not isinstance(fact, Prediction)
            ),
        ),
    )


@fault("a prediction behind the horizon is taken", caught_by="a_repeat_of_what_was_pruned_is_refused_and_totals_stand")
class BehindTheHorizonTaken(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            refuse_pruned=lambda fact, _, *, pruned=False: stamping.refuse_pruned(fact, None, pruned=pruned),
        ),
    )


@fault(
    "a prediction stamped behind the horizon is taken",
    caught_by="a_pruned_hour_is_final_also_for_predictions_stamped_into_it",
)
class StampedBehindTheHorizonTaken(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            refuse_pruned=lambda fact, horizon, *, pruned=False: stamping.refuse_pruned(
                fact, horizon if fact.at_given else None, pruned=pruned
            ),
        ),
    )


@fault(
    "an alert stamped behind the horizon by a clock that stepped back is refused",
    caught_by="other_facts_stamped_behind_the_horizon_are_taken",
)
class StampedAlertRefused(MemoryStorage):
    _staged = rewired(
        MemoryStorage._staged,
        stamping=altered(
            stamping,
            refuse_pruned=lambda fact, horizon, *, pruned=False: stamping.refuse_pruned(
                attrs.evolve(fact, at_given=True), horizon, pruned=pruned
            ),
        ),
    )


@fault(
    "a repeat of a fact kept through a prune is refused as pruned",
    caught_by="what_is_still_stored_is_a_repeat_or_a_conflict_after_prune",
)
class KeptRepeatRefused(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        for fact in batch:
            horizon = self._contents.itself.pruned_before.get(fact.kind)
            if horizon is not None and fact.at is not None and fact.at < horizon:
                raise PrunedError(fact.kind)
        return super().append(batch)


class _LooseIds(MemoryStorage):
    """Prediction ids are held apart only as far as `alike` tells them apart."""

    @staticmethod
    def alike(prediction_id):
        raise NotImplementedError

    def append(self, facts):
        batch = list(facts)
        held = {self.alike(key[0]): fact for key, fact in self._contents.of_kind("prediction").items()}
        for fact in batch:
            if isinstance(fact, Prediction):
                stored = held.setdefault(self.alike(fact.prediction_id), fact)
                if stored.prediction_id != fact.prediction_id:
                    raise ConflictError(stored, fact)
        return super().append(batch)


@fault("ids are compared without their case", caught_by="ids_that_look_alike_are_different_ids")
class CaseInsensitiveIds(_LooseIds):
    alike = staticmethod(str.casefold)


@fault("trailing blanks of ids do not count", caught_by="ids_that_look_alike_are_different_ids")
class TrailingBlanksIgnored(_LooseIds):
    @staticmethod
    def alike(prediction_id):
        return prediction_id.rstrip(" ")


@fault("ids are normalised as Unicode", caught_by="ids_that_look_alike_are_different_ids")
class NormalisedIds(_LooseIds):
    @staticmethod
    def alike(prediction_id):
        return unicodedata.normalize("NFC", prediction_id)


@fault("ids end at 191 characters", caught_by="ids_of_255_characters_are_kept_apart_to_the_last")
class ShortIds(_LooseIds):
    @staticmethod
    def alike(prediction_id):
        return prediction_id[:191]


class _Transformed(MemoryStorage):
    """Facts come out of the store as `stored` makes them."""

    def stored(self, fact):
        raise NotImplementedError

    def append(self, facts):
        return super().append([self.stored(fact) for fact in facts])


@fault("times are kept as floats", caught_by="times_are_kept_to_the_microsecond")
class FloatTimes(_Transformed):
    def stored(self, fact):
        if fact.at is None:
            return fact
        seconds = to_micros(fact.at) / 1e6
        return attrs.evolve(fact, at=from_micros(min(int(seconds * 1e6), to_micros(LATEST))))


@fault("times are kept to the millisecond", caught_by="times_are_kept_to_the_microsecond")
class MillisecondTimes(_Transformed):
    def stored(self, fact):
        if fact.at is None:
            return fact
        return attrs.evolve(fact, at=fact.at.replace(microsecond=fact.at.microsecond // 1000 * 1000))


@fault("times end in 2038", caught_by="times_are_kept_to_the_microsecond")
class ShortTimes(_Transformed):
    def stored(self, fact):
        end = datetime(2038, 1, 19, 3, 14, 7, tzinfo=UTC)
        return fact if fact.at is None or fact.at < end else attrs.evolve(fact, at=end)


@fault("confidences are kept in 32 bits", caught_by="bin_edges_agree_to_the_last_float")
class ShortFloats(_Transformed):
    def stored(self, fact):
        if not isinstance(fact, Prediction):
            return fact
        return attrs.evolve(fact, confidence=struct.unpack("f", struct.pack("f", fact.confidence))[0])


@fault("labels are kept in 32 bits", caught_by="where_finds_the_edges_of_64_bits")
class ShortLabels(_Transformed):
    def stored(self, fact):
        if not isinstance(fact, Prediction):
            return fact
        return attrs.evolve(fact, predicted_outcome=(fact.predicted_outcome + 2**31) % 2**32 - 2**31)


@fault("what is false or empty comes back as its field's default", caught_by="facts_come_back_whole")
class FalsyLeftOut(_Transformed):
    def stored(self, fact):
        defaults = {field.name: field.default for field in attrs.fields(type(fact)) if not getattr(fact, field.name)}
        return attrs.evolve(
            fact, **{name: value for name, value in defaults.items() if isinstance(value, bool | int | float | str)}
        )


def _converted(value, convert):
    if isinstance(value, dict):
        return {_converted(key, convert): _converted(item, convert) for key, item in value.items()}
    if isinstance(value, list):
        return [_converted(item, convert) for item in value]
    return convert(value)


class _ConvertedFeatures(_Transformed):
    """Every scalar of the features comes out as `convert` makes it."""

    @staticmethod
    def convert(value):
        raise NotImplementedError

    def stored(self, fact):
        if not isinstance(fact, Prediction):
            return fact
        return attrs.evolve(fact, features=_converted(fact.features, self.convert))


@fault("integers in features are kept as doubles", caught_by="features_come_back_value_by_value_and_type_by_type")
class DoubleIntegers(_ConvertedFeatures):
    @staticmethod
    def convert(value):
        return int(float(value)) if type(value) is int and abs(value) < 2**62 else value


@fault("true in features is kept as 1", caught_by="features_come_back_value_by_value_and_type_by_type")
class BoolsAsIntegers(_ConvertedFeatures):
    @staticmethod
    def convert(value):
        return int(value) if isinstance(value, bool) else value


@fault("whole floats in features are kept as integers", caught_by="features_come_back_value_by_value_and_type_by_type")
class WholeFloatsAsIntegers(_ConvertedFeatures):
    @staticmethod
    def convert(value):
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


@fault("denormal numbers in features become zero", caught_by="features_come_back_value_by_value_and_type_by_type")
class DenormalsFlushed(_ConvertedFeatures):
    @staticmethod
    def convert(value):
        return 0.0 if isinstance(value, float) and 0 < abs(value) < 2.2250738585072014e-308 else value


@fault(
    "characters beyond the basic plane become question marks",
    caught_by="features_come_back_value_by_value_and_type_by_type",
)
class BasicPlaneOnly(_ConvertedFeatures):
    @staticmethod
    def convert(value):
        return "".join(c if ord(c) < 0x10000 else "?" for c in value) if isinstance(value, str) else value


@fault("text ends at a NUL", caught_by="features_come_back_value_by_value_and_type_by_type")
class TextEndsAtNul(_ConvertedFeatures):
    @staticmethod
    def convert(value):
        return value.partition("\0")[0] if isinstance(value, str) else value


@fault("features over 64 KiB are dropped", caught_by="features_come_back_value_by_value_and_type_by_type")
class LargeFeaturesDropped(_Transformed):
    def stored(self, fact):
        if isinstance(fact, Prediction) and len(repr(fact.features)) > TEXT_BYTES:
            return attrs.evolve(fact, features={})
        return fact


@fault("facts share their features with the caller", caught_by="what_the_caller_changes_afterwards_changes_nothing")
class FeaturesShared(MemoryStorage):
    find = rewired(MemoryStorage.find, copy=altered(__import__("copy"), deepcopy=lambda fact: fact))


@fault("a batch ends at 1,000 facts", caught_by="a_big_batch_is_stored_whole")
class ShortBatches(MemoryStorage):
    def append(self, facts):
        return super().append(list(facts)[:1000])


@fault("facts that arrive as an iterator are read twice", caught_by="append_takes_any_iterable")
class IteratorReadTwice(MemoryStorage):
    def append(self, facts):
        if all(fact.key[0] for fact in facts if fact.at):
            return super().append(facts)
        return Appended()


class _Chunked(MemoryStorage):
    """Commits a batch in chunks, each of them whole."""

    def append(self, facts):
        batch = list(facts)
        chunks = [batch[begin : begin + self.size] for begin in range(0, len(batch), self.size)]
        each = [self._stored(chunk) for chunk in chunks or [[]]]
        return Appended(sum(one.new for one in each), sum(one.repeated for one in each))

    def _stored(self, chunk):
        return super().append(chunk)


@fault(
    "a batch of more than 1,000 facts is several commits",
    caught_by="a_conflict_late_in_a_big_batch_leaves_nothing_of_it",
)
class ChunksOfAThousand(_Chunked):
    size = 1_000


@fault(
    "a batch of more than 10,000 facts is several commits",
    caught_by="a_conflict_late_in_a_big_batch_leaves_nothing_of_it",
)
class ChunksOfTenThousand(_Chunked):
    size = 10_000


@fault("a batch is seen chunk by chunk", caught_by="a_reader_sees_all_of_a_batch_or_nothing")
class ChunksSeen(_Chunked):
    size = 100

    def _stored(self, chunk):
        appended = super()._stored(chunk)
        time.sleep(0.005)
        return appended


@fault("a batch is stamped before the lock", caught_by="a_batch_is_stamped_inside_its_critical_section")
class StampedBeforeTheLock(MemoryStorage):
    def append(self, facts):
        batch, now = list(facts), self.clock()
        with self._lock:
            appended, commit = self._staged(batch, now)
            commit()
            return appended


@fault("after a conflict the store takes no more", caught_by="a_conflict_does_not_stop_the_next_append")
class StoppedByAConflict(MemoryStorage):
    _refused = None

    def append(self, facts):
        if self._refused is not None:
            raise self._refused
        try:
            return super().append(facts)
        except ConflictError as conflict:
            self._refused = conflict
            raise


@fault("of each prediction a batch has one outcome", caught_by="outcomes_of_one_batch_are_taken_in_order")
class LastOutcomeOfABatch(MemoryStorage):
    def append(self, facts):
        batch = list(facts)
        last = {fact.prediction_id: number for number, fact in enumerate(batch) if isinstance(fact, Outcome)}
        kept = [
            fact
            for number, fact in enumerate(batch)
            if not isinstance(fact, Outcome) or fact.at is not None or last[fact.prediction_id] == number
        ]
        appended = super().append(kept)
        return Appended(appended.new, len(batch) - appended.new)

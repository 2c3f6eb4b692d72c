"""What the file backend costs, as ratios to what cannot be avoided, measured in the same run.

    python benchmarks/jsonl.py [--quick] [--directory DIRECTORY]

--quick takes 100,000 predictions instead of a million. The directory must lie on a disk: a file system in memory has
nothing to sync.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random

import attrs
import msgspec

from f1mon_core.records import documents
from f1mon_core.records.json_text import encoded
from f1mon_core.records.kinds import Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_core.storage.tally import TallyQuery
from f1mon_jsonl import JSONLStorage
from f1mon_jsonl.format import transaction_line

START = datetime(2026, 1, 1, tzinfo=UTC)
DAYS = 30
BATCH = 5_000


def predictions(number: int, batch: int) -> Iterator[Prediction]:
    """Predictions of three models over 30 days, with eight features each, in batches that share a moment's order."""
    random = Random(number)
    step = timedelta(days=DAYS) / number
    for place in range(number):
        yield Prediction(
            prediction_id=str(uuid.UUID(int=random.getrandbits(128))),
            model_version=f"podium-{random.randrange(3)}",
            predicted_outcome=random.randrange(2),
            confidence=random.random(),
            features={f"feature_{name}": round(random.gauss(0, 1), 6) for name in "abcdefgh"},
            at=START + step * place + (timedelta(seconds=random.random()) if batch > 1 else timedelta(0)),
        )


def fill(path: Path, number: int, batch: int, labelled: float = 0.0) -> None:
    """Make a store of so many predictions, appended in batches, and label a share of them."""
    random = Random(1)
    made = predictions(number, batch)
    with_ids: list[str] = []
    store = JSONLStorage(path, durability="os")
    if batch == 1:
        write_lines(Path(store.path, "journal.jsonl"), made)
        made = iter(())
    while some := list(islice(made, batch)):
        store.append(some)
        with_ids += [one.prediction_id for one in some if random.random() < labelled]
    outcomes = [
        Outcome(prediction_id=one, actual_outcome=random.randrange(2), at=START + timedelta(days=DAYS + 1))
        for one in with_ids
    ]
    for place in range(0, len(outcomes), batch):
        store.append(outcomes[place : place + batch])
    store.close()


def write_lines(journal: Path, made: Iterator[Prediction]) -> None:
    """What appending predictions one by one writes, without a million locks."""
    with journal.open("ab") as lines:
        for number, fact in enumerate(made, 1):
            document = {**documents.to_document(fact), "recorded_at": documents.to_document(fact)["at"]}
            lines.write(transaction_line(number, 0, [("facts", encoded([document]))]))


def timed(call: Callable[[], object]) -> float:
    """Seconds one call takes."""
    gc.collect()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def best(call: Callable[[], object], times: int = 3) -> float:
    """The seconds of the quickest of several calls."""
    return min(timed(call) for _ in range(times))


def show(what: str, ours: str, baseline: str, ratio: float, wanted: str, *, good: bool) -> None:
    """One row of the table."""
    print(f"{what:<46} {ours:>12} {baseline:>12} {ratio:>10.2f} {wanted:>12} {'yes' if good else 'NO':>4}")


def milliseconds(seconds: float) -> str:
    """A duration as it is printed."""
    return f"{seconds * 1e3:,.3f} ms"


def one_append(directory: Path, number: int) -> None:
    """A durable append against a bare write and fdatasync of the same bytes, by turns."""
    store = JSONLStorage(directory / "append")
    journal = Path(store.path, "journal.jsonl")
    bare = os.open(directory / "bare", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    ours, theirs = [], []
    for fact in predictions(number, 1):
        before = journal.stat().st_size
        started = time.perf_counter()
        store.append([fact])
        ours.append(time.perf_counter() - started)
        line = b"x" * (journal.stat().st_size - before)
        started = time.perf_counter()
        os.write(bare, line)
        os.fdatasync(bare)
        theirs.append(time.perf_counter() - started)
    os.close(bare)
    store.close()
    one, other = statistics.median(ours), statistics.median(theirs)
    show(
        "a durable append / write + fdatasync",
        milliseconds(one),
        milliseconds(other),
        one / other,
        "<= 1.5",
        good=one <= 1.5 * other,
    )


def writers_together(directory: Path, number: int) -> None:
    """Eight threads that append durably, against one."""
    facts = list(predictions(number, 1))
    seconds = {}
    for threads in (1, 8):
        store = JSONLStorage(directory / f"threads-{threads}")
        with ThreadPoolExecutor(threads) as pool:
            seconds[threads] = timed(lambda s=store, p=pool: list(p.map(lambda fact: s.append([fact]), facts)))
        store.close()
    ratio = seconds[1] / seconds[8]
    show(
        "appends a second of 8 threads / of 1",
        f"{number / seconds[8]:,.0f}/s",
        f"{number / seconds[1]:,.0f}/s",
        ratio,
        "",
        good=True,
    )


def opening(path: Path, what: str) -> tuple[JSONLStorage, float]:
    """Opening a store against a bare msgspec decode of its lines; answers the store and the seconds of the decode."""
    journal = Path(path, "journal.jsonl")

    def decode() -> None:
        decoder = msgspec.json.Decoder()
        with journal.open("rb") as lines:
            for line in lines:
                decoder.decode(line)

    decoding = best(decode)
    stores: list[JSONLStorage] = []

    def reopen() -> None:
        for store in stores:
            store.close()
        stores[:] = [JSONLStorage(path)]

    seconds = best(reopen)
    show(
        f"opening, {what} / msgspec decode",
        milliseconds(seconds),
        milliseconds(decoding),
        seconds / decoding,
        "<= 2.5",
        good=seconds <= 2.5 * decoding,
    )
    return stores[0], decoding


def tallies(store: JSONLStorage, rereading: float) -> None:
    """A warm tally of a moving 24-hour window, and of everything, against reading the file again."""
    first = START + timedelta(days=10)
    windows = [first + timedelta(minutes=17 * place) for place in range(400)]
    for since in windows:  # warm
        store.tally(TallyQuery(since=since, until=since + timedelta(hours=24)))
    seconds = []
    for since in windows:
        moved = since + timedelta(minutes=3)
        seconds.append(quickest(lambda a=moved: store.tally(TallyQuery(since=a, until=a + timedelta(hours=24)))))
    median = statistics.median(seconds)
    show(
        "a 24 h tally, warm (wanted: <= 2 ms)",
        milliseconds(median),
        "2 ms",
        median / 0.002,
        "<= 1",
        good=median <= 0.002,
    )
    show(
        "reading the file again / a 24 h tally",
        milliseconds(rereading),
        milliseconds(median),
        rereading / median,
        ">= 1000",
        good=rereading >= 1_000 * median,
    )
    one = statistics.median(
        quickest(lambda a=a: store.tally(TallyQuery(model_version="podium-1", since=a, until=a + timedelta(hours=24))))
        for a in windows
    )
    show(
        "reading the file again / 24 h of one model",
        milliseconds(rereading),
        milliseconds(one),
        rereading / one,
        "",
        good=True,
    )
    whole = timed(lambda: store.tally(TallyQuery()))
    show(
        "reading the file again / all time, cold",
        milliseconds(rereading),
        milliseconds(whole),
        rereading / whole,
        "",
        good=True,
    )
    whole = best(lambda: store.tally(TallyQuery()))
    show(
        "reading the file again / all time, warm",
        milliseconds(rereading),
        milliseconds(whole),
        rereading / whole,
        "",
        good=True,
    )
    exact = best(lambda: store.tally(TallyQuery(since=first, until=first + timedelta(hours=24), bins="exact")))
    show(
        "reading the file again / 24 h, exact",
        milliseconds(rereading),
        milliseconds(exact),
        rereading / exact,
        "",
        good=True,
    )
    page = best(lambda: store.find(Select("prediction", limit=100, descending=True)))
    show(
        "reading the file again / the last 100",
        milliseconds(rereading),
        milliseconds(page),
        rereading / page,
        "",
        good=True,
    )


def timed_quickly(call: Callable[[], object]) -> float:
    """Seconds one call takes, without a collection of garbage before it."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def quickest(call: Callable[[], object]) -> float:
    """Seconds the quicker of two calls takes: the other may have lost the processor."""
    return min(timed_quickly(call), timed_quickly(call))


def transitions(directory: Path, number: int) -> None:
    """A durable transition against a write and fdatasync, as above."""
    store = JSONLStorage(directory / "transitions")
    bare = os.open(directory / "bare", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    ours, theirs = [], []
    for place in range(number):
        ours.append(
            timed_quickly(
                lambda p=place: store.transition(
                    "rule/1", lambda _, now: Change({"n": p, "now": now.isoformat()}), operation_id=str(p)
                )
            )
        )

        def write() -> None:
            os.write(bare, b"x" * 150)
            os.fdatasync(bare)

        theirs.append(timed_quickly(write))
    os.close(bare)
    store.close()
    one, other = statistics.median(ours), statistics.median(theirs)
    show("a durable transition / write + fdatasync", milliseconds(one), milliseconds(other), one / other, "", good=True)


MEASURE = """
import gc, sys
from datetime import UTC, datetime, timedelta
from f1mon_core.storage.tally import TallyQuery
from f1mon_jsonl import JSONLStorage
def resident():
    gc.collect()
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024
import tempfile
warm = JSONLStorage(tempfile.mkdtemp())
warm.tally(TallyQuery())
before = resident()
store = JSONLStorage(sys.argv[1])
print(resident() - before)
for days in range(30):
    since = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)
    for model in (None, "podium-0", "podium-1", "podium-2"):
        store.tally(TallyQuery(model_version=model, since=since, until=since + timedelta(days=1)))
        store.tally(TallyQuery(model_version=model))
print(resident() - before)
"""


def compacting(store: JSONLStorage, decoding: float) -> None:
    """How long a compaction holds the writers up."""
    seconds = timed(store.compact)
    show(
        "a compaction / reading the file again",
        milliseconds(seconds),
        milliseconds(decoding),
        seconds / decoding,
        "",
        good=True,
    )


def memory(path: Path, number: int, what: str, segments: int = 0) -> None:
    """The resident memory an open index adds to a fresh process, for a million predictions; then with warm tallies."""
    done = subprocess.run([sys.executable, "-c", MEASURE, path], check=True, capture_output=True, text=True)
    wanted = (330 + 5 * segments) * 1e6
    for when, added in zip(("", ", tallied"), map(int, done.stdout.split()), strict=True):
        million = added / number * 1e6
        show(
            f"memory, {what}{when}, a million",
            f"{million / 1e6:,.0f} MB",
            f"{wanted / 1e6:,.0f} MB",
            million / wanted,
            "<= 1",
            good=million <= wanted,
        )


def challenged(path: Path, number: int) -> None:
    """A champion's predictions with two segments, their outcomes, and then a challenger's of the same items."""
    random = Random(2)
    champion = [
        attrs.evolve(one, segments={"country": f"C{random.randrange(50)}", "tier": random.randrange(4)})
        for one in predictions(number // 2, BATCH)
    ]
    challenger = [attrs.evolve(one, model_version="challenger") for one in champion]
    outcomes = [Outcome(prediction_id=one.prediction_id, actual_outcome=1, at=one.at) for one in champion]
    store = JSONLStorage(path, durability="os")
    seconds = [
        timed(lambda facts=facts: [store.append(facts[place : place + BATCH]) for place in range(0, len(facts), BATCH)])
        for facts in (champion, outcomes, challenger)
    ]
    show(
        "predictions of a challenger / of the champion",
        f"{len(challenger) / seconds[2]:,.0f}/s",
        f"{len(champion) / seconds[0]:,.0f}/s",
        seconds[0] / seconds[2],
        ">= 0.5",
        good=seconds[2] <= 2 * seconds[0],
    )
    whole = best(lambda: store.tally(TallyQuery(model_version="challenger", bins=7)))
    for what, query in (
        ("by a segment", TallyQuery(by=("country",))),
        ("by outcome time", TallyQuery(basis="outcome")),
    ):
        seconds_of = best(lambda query=query: store.tally(query))
        show(
            f"a tally {what} / a warm one",
            milliseconds(seconds_of),
            milliseconds(whole),
            seconds_of / whole,
            "",
            good=True,
        )
    store.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--directory", help="where the stores are made; a new temporary directory in it is removed")
    options = parser.parse_args()
    number = 100_000 if options.quick else 1_000_000
    with tempfile.TemporaryDirectory(dir=options.directory) as made:
        directory = Path(made)
        print(f"{'':<46} {'ours':>12} {'baseline':>12} {'ratio':>10} {'wanted':>12} {'held':>4}")
        one_append(directory, 1_000 if options.quick else 3_000)
        transitions(directory, 500 if options.quick else 2_000)
        writers_together(directory, 1_000 if options.quick else 4_000)
        for batch, labelled, what in ((1, 0.0, "a line each"), (BATCH, 1.0, "batches, labelled")):
            path = directory / f"history-{batch}"
            fill(path, number, batch, labelled)
            store, decoding = opening(path, what)
            tallies(store, decoding)
            compacting(store, decoding)
            store.close()
            memory(path, number, what)
        challenged(directory / "challenged", number)
        memory(directory / "challenged", number, "two models, two segments", 2)


if __name__ == "__main__":
    main()

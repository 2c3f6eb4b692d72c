"""The SQL backend against the bare driver: same schema, same pragmas, same rows, in one run.

`python benchmarks/sql.py [--quick]` prints a table of ratios. Both sides of a ratio take turns, round by round, so that
a noisy machine disturbs both; the ratio is that of the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import multiprocessing
import os
import secrets
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs

from f1mon_core import open_async_storage, open_storage
from f1mon_core.records.kinds import Alert, Outcome, Prediction
from f1mon_core.storage.change import Change
from f1mon_core.storage.select import Select
from f1mon_sql.connect import statements

START = datetime(2026, 1, 1, tzinfo=UTC)
LATE = START + timedelta(days=365)
POSTGRESQL = os.environ.get("F1MON_TEST_POSTGRESQL_URL", "postgresql://postgres@127.0.0.1:5432/test")
FEATURES = {"grid": 3.0, "driver_form": 0.25, "constructor_form": 0.5, "field": 20.0}
PREDICTION_COLUMNS = (
    "prediction_id, predicted_at, at_given, recorded_at, model_version, predicted_outcome, confidence, pruned"
)
_names = itertools.count()


def prediction() -> Prediction:
    number = next(_names)
    return Prediction(
        prediction_id=f"podium/{number:09d}",
        model_version="podium-1",
        predicted_outcome=1,
        confidence=0.75,
        features=FEATURES,
        at=START + timedelta(seconds=number),
    )


def prediction_row(made: Prediction) -> tuple[Any, ...]:
    micros = int(made.instant.timestamp() * 1_000_000)
    return (made.prediction_id, micros, 1, micros, made.model_version, made.predicted_outcome, made.confidence, 0)


def features_row(made: Prediction) -> tuple[Any, ...]:
    return (made.prediction_id, json.dumps(made.features), json.dumps(made.metadata))


class BareSqlite:
    """sqlite3 itself, in a database that the backend laid out."""

    marker = "?"

    def __init__(self, path: Path) -> None:
        open_storage("sql", url=f"sqlite:///{path}").close()
        self.connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 30000"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.execute = self.connection.execute

    def begin(self) -> None:
        self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.execute("COMMIT")

    def insert(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        marks = ",".join(self.marker * len(rows[0]) if self.marker == "?" else [self.marker] * len(rows[0]))
        self.connection.cursor().executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", rows)

    def bulk(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        self.insert(table, columns, rows)

    def close(self) -> None:
        self.connection.close()


class BarePostgresql(BareSqlite):
    """psycopg itself, in a schema that the backend laid out."""

    marker = "%s"

    def __init__(self, url: str) -> None:
        import psycopg

        open_storage("sql", url=url).close()
        self.connection = psycopg.connect(url)
        self.execute = self.connection.execute

    def begin(self) -> None:
        """The driver begins with the first statement."""

    def commit(self) -> None:
        self.connection.commit()

    def insert(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        marks = ",".join([self.marker] * len(rows[0]))
        for row in rows:
            self.execute(f"INSERT INTO {table} ({columns}) VALUES ({marks})", row)

    def bulk(self, table: str, columns: str, rows: list[tuple[Any, ...]]) -> None:
        with self.connection.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)


# What is measured ---------------------------------------------------------------------------------------------------


def ratio(ours: Callable[[], object], bare: Callable[[], object], rounds: int, warm: int = 5) -> tuple[float, float]:
    """Medians of both in seconds, after some rounds that do not count; either is first in every other round."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(warm + rounds):
        for kept, call in ((times[0], ours), (times[1], bare))[:: 1 if number % 2 else -1]:
            before = time.perf_counter()
            call()
            if number >= warm:
                kept.append(time.perf_counter() - before)
    return statistics.median(times[0]), statistics.median(times[1])


Rows = tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]


def rows_of(made: list[Prediction]) -> Rows:
    return [prediction_row(one) for one in made], [features_row(one) for one in made]


def add(bare: Any, rows: Rows, *, bulk: bool = False) -> None:
    bare.begin()
    insert = bare.bulk if bulk else bare.insert
    insert("f1mon_predictions", PREDICTION_COLUMNS, rows[0])
    insert("f1mon_features", "prediction_id, features, metadata", rows[1])
    bare.commit()


def add_outcome(bare: Any, prediction_id: str, at: int) -> None:
    mark = bare.marker
    lock = " FOR UPDATE" if mark == "%s" else ""
    bare.begin()
    bare.execute(
        f"SELECT known_at FROM f1mon_predictions WHERE prediction_id = {mark}{lock}", (prediction_id,)
    ).fetchone()
    columns = "prediction_id, known_at, at_given, recorded_at, actual_outcome"
    bare.insert("f1mon_outcomes", columns, [(prediction_id, at, 1, at, 1)])
    bare.execute(
        f"UPDATE f1mon_predictions SET actual_outcome = {mark}, known_at = {mark}, first_known_at = {mark}"
        f" WHERE prediction_id = {mark}",
        (1, at, at, prediction_id),
    )
    bare.commit()


def claim(bare: Any, operation: str, count: int) -> None:
    mark = bare.marker
    lock = " FOR UPDATE" if mark == "%s" else ""
    bare.begin()
    bare.execute(f"SELECT result FROM f1mon_operations WHERE operation = {mark}", (operation,)).fetchone()
    bare.execute(f"SELECT document FROM f1mon_state WHERE state_key = {mark}{lock}", ("bench",)).fetchone()
    bare.execute(
        f"UPDATE f1mon_state SET document = {mark} WHERE state_key = {mark}", (json.dumps({"n": count}), "bench")
    )
    bare.insert("f1mon_operations", "operation, at, result", [(operation, count, "null")])
    bare.commit()


def alerts(number: int) -> list[Alert]:
    return [
        Alert(
            alert_id=f"alert-{one:09d}",
            severity="warning",
            title="PERFORMANCE: accuracy",
            message="accuracy is 0.7727 (< 0.8500)",
            metric_name="accuracy",
            component="performance",
            model_version="podium-1",
            metric_value=0.7727,
            threshold=0.85,
            at=START + timedelta(seconds=one),
        )
        for one in range(number)
    ]


def alert_page(bare: Any) -> list[Any]:
    rows = bare.execute("SELECT alert_id, at, content FROM f1mon_alerts ORDER BY at DESC, alert_id DESC LIMIT 100")
    return [(key, at, json.loads(content)) for key, at, content in rows.fetchall()]


def against_bare(label: str, store: Any, bare: Any, limits: dict[str, float], scale: int) -> Iterator[tuple[Any, ...]]:
    """Each verb against the same statements through the driver."""
    fresh = [prediction() for _ in range(4 * (scale + 10))]
    pool = iter(fresh)
    yield (
        f"{label}: one durable append",
        *ratio(lambda: store.append([next(pool)]), lambda: add(bare, rows_of([next(pool)])), scale),
        f"<= {limits['append']}",
    )
    yield from bulk_against_bare(label, store, bare, limits["bulk"], max(4, scale // 25))
    yield challenger_against_champion(label, store, max(4, scale // 25))

    names = iter([made.prediction_id for made in fresh])
    stored = [fact.prediction_id for fact in store.find(Select("prediction", limit=scale + 10))]
    mine = iter([Outcome(prediction_id=name, actual_outcome=1, at=START) for name in stored])
    theirs = iter([row[0] for row in bare.execute("SELECT prediction_id FROM f1mon_predictions").fetchall()])
    del names
    yield (
        f"{label}: outcome",
        *ratio(lambda: store.append([next(mine)]), lambda: add_outcome(bare, next(theirs), 1), scale),
        f"<= {limits['outcome']}",
    )

    bare.begin()
    bare.insert("f1mon_state", "state_key, document", [("bench", "{}")])
    bare.commit()
    counter = itertools.count()

    def step(document: Any, _now: datetime) -> Change:
        return Change({"n": (document or {"n": 0})["n"] + 1})

    yield (
        f"{label}: claim",
        *ratio(
            lambda: store.transition("bench", step, operation_id=secrets.token_hex(16)),
            lambda: claim(bare, secrets.token_hex(32), next(counter)),
            scale,
        ),
        f"<= {limits['claim']}",
    )

    stored_alerts = alerts(100_000 if scale >= 100 else 10_000)
    for begin in range(0, len(stored_alerts), 5_000):
        store.append(stored_alerts[begin : begin + 5_000])
    newest = Select("alert", descending=True, limit=100)
    with reading_place(store, bare) as reader:
        yield (
            f"{label}: page of 100 of {len(stored_alerts)} alerts",
            *ratio(lambda: store.find(newest), lambda: alert_page(reader), scale),
            f"<= {limits['page']}",
        )


def bulk_against_bare(label: str, store: Any, bare: Any, limit: float, rounds: int) -> Iterator[tuple[Any, ...]]:
    """Batches against rows the driver is given ready, and against rows it has to make of the same facts.

    The first is what the driver can do at most: half of the difference is the JSON of the features, which somebody
    has to write.
    """
    batches = iter([[prediction() for _ in range(5_000)] for _ in range(4 * (rounds + 1))])
    ready = iter([rows_of(next(batches)) for _ in range(rounds + 1)])
    ours, base = ratio(lambda: store.append(next(batches)), lambda: add(bare, next(ready), bulk=True), rounds, warm=1)
    yield f"{label}: bulk, rows/s of bare, its rows ready", base, ours, f">= {limit}"
    ours, base = ratio(
        lambda: store.append(next(batches)), lambda: add(bare, rows_of(next(batches)), bulk=True), rounds, warm=1
    )
    yield f"{label}: bulk, rows/s of bare, its rows made", base, ours, f">= {limit}"


def challenger_against_champion(label: str, store: Any, rounds: int) -> tuple[Any, ...]:
    """Batches of a second model's predictions of items that have one, against those of a first model."""
    batches = [[prediction() for _ in range(5_000)] for _ in range(rounds + 2)]
    store.append(batches[0])
    champions = iter(batches[1:])
    challengers = iter([[attrs.evolve(made, model_version="podium-2") for made in batch] for batch in batches])
    ours, base = ratio(lambda: store.append(next(challengers)), lambda: store.append(next(champions)), rounds, warm=1)
    return f"{label}: a challenger's bulk, rows/s of a champion's", base, ours, ">= 0.5"


@contextmanager
def reading_place(store: Any, bare: Any) -> Iterator[Any]:
    """A bare connection to the database of the store, which holds the alerts."""
    if isinstance(bare, BarePostgresql):
        reader = BarePostgresql(store.url)
    else:
        reader = BareSqlite(Path(store.address.removeprefix("sqlite:///")))
    with closing(reader):
        yield reader


def async_against_sync(label: str, url: str, options: dict[str, Any], scale: int, limit: str) -> tuple[Any, ...]:
    """An awaited append against a plain one, into the same database."""

    async def measure() -> tuple[float, float]:
        awaited = await open_async_storage("sql", url=options.pop("async_url", url), **options)
        times: tuple[list[float], list[float]] = ([], [])
        with closing(open_storage("sql", url=url)) as plain:
            for number in range(scale + 10):
                facts = [[prediction()], [prediction()]]
                before = time.perf_counter()
                await awaited.append(facts[0])
                between = time.perf_counter()
                plain.append(facts[1])
                if number >= 10:
                    times[0].append(between - before)
                    times[1].append(time.perf_counter() - between)
        await awaited.close()
        return statistics.median(times[0]), statistics.median(times[1])

    return label, *asyncio.run(measure()), limit


def through_sqlalchemy(label: str, store: Any, scale: int) -> Iterator[tuple[Any, ...]]:
    """Each verb with its statements sent by `exec_driver_sql`, against the driver's own cursor.

    What loses less than a tenth needs no way of its own in `connect/statements.py`.
    """
    look = statements.look
    key, counter = secrets.token_hex(8), itertools.count()

    def long_way(call: Callable[[], object]) -> Callable[[], object]:
        def called() -> object:
            statements.look = lambda connection, **_: connection.info.pop(statements._CURSOR, None)  # noqa: SLF001
            try:
                return call()
            finally:
                statements.look = look

        return called

    def step(_document: Any, _now: datetime) -> Change:
        return Change({"n": next(counter)})

    fresh = iter([prediction() for _ in range(4 * (scale + 10))])
    store.append([next(fresh) for _ in range(2 * (scale + 10))])
    stored = iter(store.find(Select("prediction", lacking="outcome", limit=2 * (scale + 10))))
    newest = Select("alert", descending=True, limit=100)
    verbs: dict[str, Callable[[], object]] = {
        "append": lambda: store.append([next(fresh)]),
        "outcome": lambda: store.append([Outcome(prediction_id=next(stored).prediction_id, actual_outcome=1, at=LATE)]),
        "claim": lambda: store.transition(key, step, operation_id=secrets.token_hex(16)),
        "state": lambda: store.state(key),
        "page": lambda: store.find(newest),
    }
    for verb, call in verbs.items():
        wanted = "about 1" if verb == "page" else "> 1.1, or drop the short way"
        yield f"{label}: {verb}, SQLAlchemy / driver", *ratio(long_way(call), call, scale), wanted


# Fairness -----------------------------------------------------------------------------------------------------------


def write_for(url: str, number: int, seconds: float, start: Any, told: Any) -> None:
    with closing(open_storage("sql", url=url)) as storage:
        start.wait()
        until, waits, written = time.perf_counter() + seconds, 0.0, 0
        while (before := time.perf_counter()) < until:
            made = Prediction(
                prediction_id=f"{number}/{written}", model_version="m", predicted_outcome=1, confidence=0.5
            )
            storage.append([made])
            waits = max(waits, time.perf_counter() - before)
            written += 1
        told.put((written, waits))


def fairness(directory: Path, seconds: float) -> Iterator[str]:
    """Eight processes write one SQLite file as fast as they can."""
    url = f"sqlite:///{directory / 'fair.db'}"
    open_storage("sql", url=url).close()
    context = multiprocessing.get_context("fork")
    start, told = context.Barrier(8), context.Queue()
    writers = [context.Process(target=write_for, args=(url, n, seconds, start, told)) for n in range(8)]
    for writer in writers:
        writer.start()
    results = [told.get() for _ in writers]
    for writer in writers:
        writer.join()
    counts = sorted(count for count, _ in results)
    yield f"SQLite, 8 writers for {seconds:g} s: {sum(counts)} writes, each {counts[0]} to {counts[-1]}"
    yield f"  slowest / fastest writer  {counts[0] / counts[-1]:6.2f}   wanted >= 0.3"
    yield f"  longest wait of one write {max(wait for _, wait in results) * 1000:6.1f} ms wanted <= 250 ms"


# The table ----------------------------------------------------------------------------------------------------------


@contextmanager
def postgresql_schemas(count: int) -> Iterator[list[str]]:
    """Addresses of fresh schemas on the server, dropped in the end."""
    import psycopg

    names = [f"f1mon_bench_{secrets.token_hex(4)}" for _ in range(count)]
    with psycopg.connect(POSTGRESQL, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE SCHEMA {name}")
        try:
            yield [f"{POSTGRESQL}?options=-csearch_path%3D{name}" for name in names]
        finally:
            for name in names:
                connection.execute(f"DROP SCHEMA {name} CASCADE")


def rows(scale: int, directory: Path) -> Iterator[tuple[Any, ...]]:
    limits = {"append": 1.6, "bulk": 0.7, "outcome": 1.8, "claim": 1.6, "page": 2}
    url = f"sqlite:///{directory / 'ours.db'}"
    with closing(open_storage("sql", url=url)) as store, closing(BareSqlite(directory / "bare.db")) as bare:
        yield from against_bare("SQLite", store, bare, limits, scale)
        yield from through_sqlalchemy("SQLite", store, scale)
    yield async_against_sync("SQLite: offloaded append / sync", url, {}, scale, "<= 1.6")
    native = {"async_url": url.replace("sqlite:", "sqlite+aiosqlite:")}
    yield async_against_sync("SQLite: aiosqlite append / sync", url, native, scale, "about 3")
    with postgresql_schemas(2) as (ours, theirs):
        store = open_storage("sql", url=ours)
        with closing(store), closing(BarePostgresql(theirs)) as bare:
            yield from against_bare(
                "PostgreSQL", _Located(store, ours), bare, {**limits, "append": 1.8, "bulk": 0.4}, scale
            )
            yield from through_sqlalchemy("PostgreSQL", store, scale)
        yield async_against_sync("PostgreSQL: async append / sync", ours, {}, scale, "<= 1.6")


class _Located:
    """A store with the address it was opened on, secrets included."""

    def __init__(self, store: Any, url: str) -> None:
        self.url = url
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds: to see that it runs")
    scale = 20 if parser.parse_args().quick else 300
    print(f"{'':56}{'ours ms':>10}{'bare ms':>10}{'ratio':>8}   wanted")
    with tempfile.TemporaryDirectory(dir=os.environ.get("F1MON_BENCH_DIR")) as directory:
        for label, ours, bare, wanted in rows(scale, Path(directory)):
            print(f"{label:56}{ours * 1000:10.3f}{bare * 1000:10.3f}{ours / bare:8.2f}   {wanted}", flush=True)
        for line in fairness(Path(directory), 10 if scale > 20 else 1):
            print(line)


if __name__ == "__main__":
    main()

"""The stores that are attacked: where they are, and what lies there, read without f1mon."""

import contextlib
import fcntl
import json
import sqlite3
import time
from collections import Counter
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import attrs


@attrs.frozen
class Found:
    """What a store holds: how often each prediction and outcome, by id; who claimed which number; how many did."""

    predictions: Counter
    outcomes: Counter
    claims: dict
    claimed: int


def _found(predictions, outcomes, document):
    claims = {
        name.rpartition("/")[0]: int(model.removeprefix("claim-"))
        for name, model in predictions
        if name.endswith("/claim")
    }
    plain = Counter(name for name, _ in predictions if not name.endswith("/claim"))
    claimed = json.loads(document)["claimed"] if document else 0
    repeated = Counter(name for name, _ in predictions if name.endswith("/claim"))
    assert not [name for name, times in repeated.items() if times > 1]
    return Found(plain, Counter(outcomes), claims, claimed)


def by_door(monitor, select):
    """What f1mon itself says is there."""
    predictions = [(one.prediction_id, one.model_version) for one in monitor.predictions()]
    outcomes = [one.prediction_id for one in monitor.storage.find(select("outcome"))]
    document = monitor.storage.state("attacked").get("attacked")
    return _found(predictions, outcomes, json.dumps(document) if document else None)


@attrs.frozen
class Place:
    """One store under attack.

    Attributes:
        name: What it is called.
        address: Where it is.
        colour: Whether a `Monitor` or an `AsyncMonitor` works on it.
        server: Its server's host and port; None where there is none.
    """

    name: str
    address: str
    colour: str = "sync"
    server: tuple | None = None

    def through(self, port):
        """The address by way of a port on this machine."""
        host, own = self.server
        return self.address.replace(f"@{host}:{own}/", f"@127.0.0.1:{port}/", 1)

    def raw(self):
        """What lies there."""
        return {"jsonl": _raw_jsonl, "sqlite": _raw_sqlite}.get(self._family, _raw_server)(self)

    def held(self):
        """Who still holds anything of it, as texts; asked for some seconds, as a server must first notice who died."""
        ask = {"jsonl": _held_jsonl, "sqlite": _held_sqlite}.get(self._family, _held_server)
        until = time.monotonic() + 10
        while (found := ask(self)) and time.monotonic() < until:
            time.sleep(0.1)
        return found

    @property
    def _family(self):
        return self.address.partition("://")[0].partition("+")[0]

    @property
    def path(self):
        """The directory or file."""
        scheme, _, rest = self.address.partition("://")
        return rest if scheme == "jsonl" else rest.removeprefix("/")

    @contextlib.contextmanager
    def asked(self):
        """A cursor on the server, by its driver alone."""
        parts = urlsplit(self.address)
        if self._family == "postgresql":
            import psycopg  # noqa: PLC0415 - only for who attacks one

            options = parse_qs(parts.query)["options"][0]
            connection = psycopg.connect(
                host=parts.hostname, port=parts.port, user=parts.username, dbname=parts.path[1:], options=options
            )
        else:
            import pymysql  # noqa: PLC0415 - only for who attacks one

            connection = pymysql.connect(
                host=parts.hostname, port=parts.port, user=parts.username, database=unquote(parts.path[1:])
            )
        with contextlib.closing(connection), contextlib.closing(connection.cursor()) as cursor:
            yield cursor


_ASKED = (
    "SELECT prediction_id, model_version FROM f1mon_predictions WHERE predicted_at IS NOT NULL",
    "SELECT prediction_id FROM f1mon_outcomes",
    "SELECT document FROM f1mon_state WHERE state_key = 'attacked'",
)


def _text(value):
    return value.decode() if isinstance(value, bytes) else value


def _answered(execute):
    predictions, outcomes, documents = ([tuple(map(_text, row)) for row in execute(one)] for one in _ASKED)
    return _found(predictions, [name for (name,) in outcomes], documents[0][0] if documents else None)


def _raw_jsonl(place):
    predictions, outcomes, document = [], [], None
    with Path(place.path, "journal.jsonl").open(encoding="ascii") as journal:
        for line in journal:
            if not line.endswith("\n"):
                continue  # what a killed writer left; it was never acknowledged, or the account below says so
            told = json.loads(line)
            for fact in told.get("facts", ()):
                if fact["kind"] == "prediction":
                    predictions.append((fact["prediction_id"], fact["model_version"]))
                elif fact["kind"] == "outcome":
                    outcomes.append(fact["prediction_id"])
            document = told.get("state", {}).get("attacked", document)
    return _found(predictions, outcomes, json.dumps(document) if document else None)


def _raw_sqlite(place):
    with contextlib.closing(sqlite3.connect(place.path)) as connection:
        return _answered(lambda sql: connection.execute(sql).fetchall())


def _raw_server(place):
    def execute(sql):
        cursor.execute(sql)
        return cursor.fetchall()

    with place.asked() as cursor:
        return _answered(execute)


def _held_jsonl(place):
    with Path(place.path, "LOCK").open("rb+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return [f"the lock of writers: {error}"]
    return []


def _held_sqlite(place):
    with contextlib.closing(sqlite3.connect(place.path, timeout=0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
            busy, left, moved = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError as error:
            return [f"the database: {error}"]
    return [f"a snapshot of the database: {left - moved} pages of its journal"] if busy else []


def _held_server(place):
    with place.asked() as cursor:
        if place.address.startswith("postgresql"):
            cursor.execute(
                "SELECT pid, state, query FROM pg_stat_activity WHERE application_name = %s",
                (parse_qs(urlsplit(place.address).query)["application_name"][0],),
            )
        else:
            cursor.execute(
                "SELECT id, command, info FROM information_schema.processlist"
                " WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
        return [f"a connection: {row}" for row in cursor.fetchall()]

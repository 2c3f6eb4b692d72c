"""Files of rows go in whole but for what is damaged; and again, and after a kill, nothing changes."""

import csv
import gzip
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from f1mon_core import Monitor, Prediction
from f1mon_core.cli import f1mon
from f1mon_core.recording import plans

NAMES = ["request_id", "answer", "score", "made", "age", "note", "country"]
DAMAGES = {"confidence": ("score", "high"), "prediction_id": ("request_id", ""),
           "predicted_outcome": ("answer", "maybe"), "at": ("made", "2026-02-31 00:00:00")}  # fmt: skip
OPTIONS = ["--column", "prediction_id=request_id", "--column", "predicted_outcome=answer",
           "--column", "confidence=score", "--column", "at=made", "--model-version", "m",
           "--label", "yes=1", "--label", "no=0", "--time-zone", "Europe/Berlin",
           "--features", "age,note", "--segments", "country"]  # fmt: skip


def rows_of(count, damaged=20):
    """Rows of requests, and which of them are damaged in which field."""
    dice = random.Random(16)
    every = count // damaged
    for number in range(count):
        row = {
            "request_id": f"r{number}",
            "answer": dice.choice(["yes", "no"]),
            "score": f"{0.5 + dice.random() / 2:.6f}",
            "made": f"2026-{1 + number % 4:02}-{1 + number % 28:02} {number % 24:02}:{number % 60:02}:00",
            "age": dice.choice([str(dice.randrange(20, 80)), ""]),
            "note": 'a "quoted"\r\nnote, of two lines' if number % 50 == 0 else "x",
            "country": dice.choice(["DE", "FR", "IT"]),
        }
        field = None
        if number % every == every // 2:
            field = list(DAMAGES)[number // every % len(DAMAGES)]
            column, wrong = DAMAGES[field]
            row[column] = wrong
        yield row, field


def write_csv(path, count):
    """A CSV as spreadsheets write it, with a BOM and CRLF; the places of the damaged rows and their fields."""
    damaged = []
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.DictWriter(file, NAMES)
        writer.writeheader()
        line = 2
        for row, field in rows_of(count):
            if field:
                damaged.append((line, field))
            writer.writerow(row)
            line += 1 + row["note"].count("\n")
    return damaged


def typed(row):
    """The same row with the types that JSON and Parquet have."""
    score = row["score"]
    return (
        row
        | {"age": int(row["age"]) if row["age"] else None, "request_id": row["request_id"] or None}
        | ({} if score == "high" else {"score": float(score)})
    )


def write_jsonl(path, count):
    damaged = []
    with path.open("w") as file:
        for place, (row, field) in enumerate(rows_of(count), 1):
            damaged += [(place, field)] if field else []
            file.write(json.dumps(typed(row)) + "\n")
    return damaged


def write_parquet(path, count):
    damaged = []
    made = []
    for place, (row, field) in enumerate(rows_of(count), 1):
        damaged += [(place, field)] if field else []
        row = typed(row)  # noqa: PLW2901 - the same row
        made.append(row | {"score": 7.5 if field == "confidence" else row["score"]})  # of one type in a column
    parquet.write_table(pa.Table.from_pylist(made), path)
    return damaged


WRITERS = {"rows.csv": write_csv, "rows.jsonl": write_jsonl, "rows.parquet": write_parquet}


def set_aside(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [(int(row["line"]), row["field"]) for row in csv.DictReader(file)]


def kept(url):
    """All predictions of a store but when it took them."""
    with Monitor.open(url) as monitor:
        return [
            (one.key, one.predicted_outcome, one.confidence, one.at, one.features, one.segments)
            for one in monitor.predictions()
        ]


@pytest.mark.parametrize("name", WRITERS)
def test_all_rows_but_the_damaged_are_in_and_those_are_named_by_line_and_field(run, tmp_path, name):
    damaged = WRITERS[name](tmp_path / name, 1_000)
    arguments = ("--url", f"sqlite:///{tmp_path}/f1mon.db", "import", "predictions", name, *OPTIONS)
    aside = ("--set-aside", "bad.csv", "--json")
    first = json.loads(run(*arguments, *aside, code=6).stdout)
    assert (first["rows"], first["new"], first["set_aside"], first["complete"]) == (1_000, 980, 20, False)
    assert set_aside(tmp_path / "bad.csv") == damaged
    again = json.loads(run(*arguments, *aside, code=6).stdout)
    assert (again["new"], again["repeated"], again["set_aside"]) == (0, 980, 20)
    stored = kept(f"sqlite:///{tmp_path}/f1mon.db")
    write_csv(tmp_path / "same.csv", 1_000)
    run("--path", "journal", "import", "predictions", "same.csv", *OPTIONS, "--set-aside", "other.csv", code=6)
    assert kept(f"jsonl:///{tmp_path}/journal") == stored  # whatever the format, and whatever the store


def _import_until(url, name, aside, batches):
    """Import in a process of its own, which is killed as soon as so many batches are in."""
    append, done = plans.append, 0

    def counted(batch):
        nonlocal done
        appended = yield from append(batch)
        done += 1
        if done == batches:
            os.kill(os.getpid(), signal.SIGKILL)
        return appended

    plans.append = counted
    f1mon.main(["--url", url, "import", "predictions", name, *OPTIONS, "--set-aside", aside], prog_name="f1mon")


def killed(tmp_path, name, count, kills):
    """Write a file and import it in processes that are killed after so many batches; the store, and what is damaged."""
    damaged = WRITERS[name](tmp_path / name, count)
    url = f"sqlite:///{tmp_path}/f1mon.db"
    processes = multiprocessing.get_context("fork")
    for batches in kills:
        one = processes.Process(target=_import_until, args=(url, name, "bad.csv", batches))
        one.start()
        one.join()
        assert one.exitcode == -signal.SIGKILL
        assert not (tmp_path / "bad.csv").exists()
    return url, damaged


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_three_times_and_started_again_the_result_is_the_same(run, tmp_path):
    url, damaged = killed(tmp_path, "rows.csv", 20_000, kills=(1, 2, 3))
    run("--url", url, "import", "predictions", "rows.csv", *OPTIONS, "--set-aside", "bad.csv", code=6)
    assert set_aside(tmp_path / "bad.csv") == damaged
    stored = kept(url)
    whole = sorted(row["request_id"] for row, field in rows_of(20_000) if not field)
    assert sorted(one[0][0] for one in stored) == whole
    assert len(whole) == 19_980


MEASURED = """
import atexit, pathlib, sys
atexit.register(lambda: sys.stderr.write(pathlib.Path("/proc/self/status").read_text()))
from f1mon_core.cli import main
main()
"""
"""The command, which says at its end how much memory it took at most; a parent would be told of its own, too."""


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("name", WRITERS)
def test_half_a_million_rows_take_less_than_300_mebibytes_and_survive_three_kills(tmp_path, name):
    url, damaged = killed(tmp_path, name, 500_000, kills=(10, 30, 60))
    command = ["--url", url, "import", "predictions", name, *OPTIONS, "--set-aside", "bad.csv", "--json"]
    done = subprocess.run([sys.executable, "-c", MEASURED, *command], capture_output=True, text=True, check=False)
    told, (mebibytes,) = json.loads(done.stdout), [int(line.split()[1]) / 1024 for line in done.stderr.splitlines()
                                                   if line.startswith("VmHWM")]  # fmt: skip
    print(name, mebibytes, "MiB", told)  # noqa: T201 - the numbers are the point
    assert done.returncode == 6
    assert mebibytes < 300
    assert told["new"] + told["repeated"] == 499_980
    assert told["repeated"] == 300_000  # the 60 batches of whoever came furthest
    assert set_aside(tmp_path / "bad.csv") == damaged
    with Monitor.open(url) as monitor:
        (model,) = monitor.models()
        assert model.predictions == 499_980
        assert monitor.storage.check().ok


def outcomes(run, tmp_path, text, *options, code=0):
    (tmp_path / "labels.csv").write_text(text)
    return json.loads(run("--path", "store", "import", "outcomes", "labels.csv", *options, "--json", code=code).stdout)


def test_labels_as_pandas_writes_them_are_integers_and_those_not_known_yet_are_skipped(run, tmp_path):
    told = outcomes(run, tmp_path, "prediction_id,actual_outcome\n1,1.0\n2,\n3,0.0\n4,True\n")
    assert (told["rows"], told["new"], told["skipped"], told["complete"]) == (4, 3, 1, True)
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        assert {one.prediction_id: one.actual_outcome for one in monitor.outcomes()} == {"1": 1, "3": 0, "4": 1}


def test_two_labels_of_one_item_without_a_time_are_told_and_never_take_turns(run, tmp_path):
    text = "prediction_id,actual_outcome\na,0\nb,1\na,1\na,0\n"
    for new in (2, 0):
        told = outcomes(run, tmp_path, text, "--set-aside", "bad.csv", code=6)
        assert (told["new"], told["repeated"], told["set_aside"]) == (new, 3 - new, 1)
    assert set_aside(tmp_path / "bad.csv") == [(4, "actual_outcome")]
    timed = "prediction_id,actual_outcome,known_at\na,0,2026-05-01T12:00Z\na,1,2026-05-02T12:00Z\n"
    assert outcomes(run, tmp_path, timed)["new"] == 2


def test_a_row_that_the_store_refuses_is_set_aside_alone(run, tmp_path):
    with Monitor.open("jsonl", path=tmp_path / "store") as monitor:
        monitor.record_prediction("r3", "m", 1, 0.25)
    (tmp_path / "rows.csv").write_text(
        "prediction_id,model_version,predicted_outcome,confidence\n" + "".join(f"r{n},m,1,0.75\n" for n in range(9))
    )
    arguments = ("--path", "store", "import", "predictions", "rows.csv", "--json")
    assert json.loads(run(*arguments, "--set-aside", "bad.csv", code=6).stdout)["new"] == 8
    assert set_aside(tmp_path / "bad.csv") == [(5, "prediction_id")]
    stopped = run(*arguments, code=1).stderr
    assert "rows.csv, line 5" in stopped
    assert "--set-aside FILE" in stopped


def test_without_a_set_aside_file_the_first_bad_row_ends_it_by_name(run, tmp_path):
    (tmp_path / "l.csv").write_text("prediction_id,label\na,1\nb,0.37\n")
    said = run("--path", "s", "import", "outcomes", "l.csv", "--column", "actual_outcome=label", code=1).stderr
    assert "l.csv, line 3, column 'label': actual_outcome: must be a class label: is this a score?" in said
    assert "Traceback" not in said


def test_json_lines_have_types_and_the_rest_goes_where_it_is_asked_also_what_came_later(run, tmp_path):
    same = {"model_version": "m", "predicted_outcome": "cat", "confidence": 0.5}
    rows = [
        {"prediction_id": 7, **same, "grid": [1, float("nan")]},
        *({"prediction_id": f"n{number}", **same} for number in range(1_000)),
        {"prediction_id": "late", **same, "new": {"deep": None}},
    ]
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as file:
        file.write("\n\n".join(map(json.dumps, rows)))
    told = json.loads(
        run("--path", "s", "import", "predictions", "rows.jsonl.gz", "--features", "rest", "--json").stdout
    )
    assert (told["new"], told["nulled"]) == (1_002, 2)
    with Monitor.open("jsonl", path=tmp_path / "s") as monitor:
        assert monitor.prediction("7").features == {"grid": [1, None]}
        assert monitor.prediction("late").features == {"new": {"deep": None}}


@pytest.mark.parametrize(
    ("cell", "options", "at"),
    [
        ("2026-05-01 12:00:00.123456789+02:00", [], datetime(2026, 5, 1, 10, 0, 0, 123456, UTC)),
        ("2026-05-01", ["--time-zone", "UTC"], datetime(2026, 5, 1, tzinfo=UTC)),
        ("2026-05-01T12:00Z", ["--time-zone", "Europe/Berlin"], datetime(2026, 5, 1, 12, tzinfo=UTC)),
        ("1777636800.25", ["--time-format", "unix"], datetime(2026, 5, 1, 12, 0, 0, 250_000, UTC)),
        ("1777636800250", ["--time-format", "unix-ms"], datetime(2026, 5, 1, 12, 0, 0, 250_000, UTC)),
        ("01.05.2026 12:00", ["--time-format", "%d.%m.%Y %H:%M", "--time-zone", "Europe/Berlin"],
         datetime(2026, 5, 1, 10, tzinfo=UTC)),
        ("2026-05-01 12:00", [], "give --time-zone"),
        ("1777636800", [], "--time-format unix"),
        ("2026-03-29 02:30", ["--time-zone", "Europe/Berlin"], "left it out"),
        ("yesterday", [], "ISO 8601"),
        ("NaT", [], "is missing"),
        ("99999999999999", ["--time-format", "unix"], "must be a time"),
    ],
)  # fmt: skip
def test_times_are_read_as_they_are_said_to_be_written_or_refused(run, tmp_path, cell, options, at):
    (tmp_path / "l.csv").write_text(f"prediction_id,actual_outcome,known_at\na,1,{cell}\n")
    arguments = ("--path", "s", "import", "outcomes", "l.csv", *options)
    if isinstance(at, str):
        said = run(*arguments, code=1).stderr
        assert at in said
        assert "line 2" in said
        assert "known_at" in said
    else:
        run(*arguments)
        with Monitor.open("jsonl", path=tmp_path / "s") as monitor:
            assert [one.known_at for one in monitor.outcomes()] == [at]


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("rows.dat", "a", [], "--format"),
        ("rows.csv", "", [], "is empty"),
        ("rows.csv", "id;label\n1;2\n", [], "--delimiter ';'"),
        ("rows.csv", "prediction_id,x,x\n", [], "columns of one name: 'x'"),
        ("rows.csv", "prediction_id,lable\n", [], "actual_outcome: needs a column"),
        ("rows.csv", "prediction_id,actual_outcome\n", ["--column", "known_at=knwon"], "must be a column of the table"),
        ("rows.csv", "prediction_id,actual_outcome\n", ["--column", "label=x"], "must name fields of an outcome"),
        ("rows.csv", "prediction_id,actual_outcome\n", ["--text", "ag"], "no such column"),
        ("rows.csv", "prediction_id,actual_outcome\n", ["--time-zone", "Mars/Base"], "is no time zone"),
        ("rows.csv", "prediction_id,actual_outcome\n", ["--encoding", "utf-7000"], "--encoding utf-7000"),
        ("rows.csv", "prediction_id,actual_outcome\n", ["--set-aside", "kept.csv"], "name another"),
        ("rows.jsonl", "[1]\n", [], "no JSON object"),
        ("rows.parquet", "PAR1", [], "cannot be read as Parquet"),
    ],
)
def test_what_is_no_such_file_or_asks_for_what_it_has_not_is_wrong_usage(run, tmp_path, name, text, options, said):
    (tmp_path / name).write_text(text)
    (tmp_path / "kept.csv").write_text("somebody,else's\n")
    result = run("--path", "s", "import", "outcomes", name, *options, code=2)
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "kept.csv").read_text() == "somebody,else's\n"


def test_lines_that_are_no_csv_are_named_and_the_others_are_in(run, tmp_path):
    (tmp_path / "rows.csv").write_bytes(b'prediction_id,actual_outcome\na,1\n"b"x,1\nc,1,2\n\nd\xff,1\ne,1\n"f,1\n')
    run("--path", "s", "import", "outcomes", "rows.csv", "--set-aside", "bad.csv", code=6)
    assert set_aside(tmp_path / "bad.csv") == [(3, "row"), (4, "row"), (6, "prediction_id"), (8, "row")]
    with Monitor.open("jsonl", path=tmp_path / "s") as monitor:
        assert [one.prediction_id for one in monitor.outcomes()] == ["a", "e"]


def test_a_probability_of_the_positive_class_and_those_of_all_become_the_confidence(run, tmp_path):
    (tmp_path / "p.csv").write_text("prediction_id,predicted_outcome,probability\na,sick,0.75\nb,well,0.25\n")
    run("--path", "s", "import", "predictions", "p.csv", "--model-version", "m", "--positive", "sick")
    (tmp_path / "q.csv").write_text("prediction_id,predicted_outcome,p_sick,p_well\nc,sick,0.9,0.1\nd,well,0.3,0.7\n")
    pairs = ("--column", "probabilities.sick=p_sick", "--column", "probabilities.well=p_well")
    run("--path", "s", "import", "predictions", "q.csv", "--model-version", "m", *pairs)
    with Monitor.open("jsonl", path=tmp_path / "s") as monitor:
        stored = {one.prediction_id: one.confidence for one in monitor.predictions()}
    assert stored == {"a": 0.75, "b": 0.75, "c": 0.9, "d": 0.7}


def test_cells_of_features_are_numbers_where_they_are_spelled_as_such(run, tmp_path):
    (tmp_path / "p.csv").write_text(
        "prediction_id,predicted_outcome,confidence,a,b,c,d,e,f,g,zip\nx,1,0.5,1,1.50,007,inf,,True,1e3,01234\n"
    )
    run("--path", "s", "import", "predictions", "p.csv", "--model-version", "m", "--features", "rest", "--text", "a")
    with Monitor.open("jsonl", path=tmp_path / "s") as monitor:
        assert monitor.prediction("x").features == {
            "a": "1",
            "b": 1.5,
            "c": "007",
            "d": None,
            "e": None,
            "f": True,
            "g": 1000.0,
            "zip": "01234",
        }


def test_times_without_a_column_are_the_stores(run, tmp_path):
    (tmp_path / "p.csv").write_text("prediction_id,predicted_outcome,confidence\nx,1,0.5\n")
    before = datetime.now(UTC) - timedelta(seconds=1)
    for _ in range(2):
        run("--path", "s", "import", "predictions", "p.csv", "--model-version", "m")
    with Monitor.open("jsonl", path=Path("s")) as monitor:
        (one,) = monitor.predictions()
    assert isinstance(one, Prediction)
    assert before <= one.at
    assert not one.at_given

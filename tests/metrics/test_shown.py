"""Results as a person sees them: a line where they are printed, a plain table in a notebook, a frame to go on with."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from f1mon_core import Listed, Monitor

from ..factories import raised

MONDAY = datetime(2026, 4, 27, tzinfo=UTC)
DAY = timedelta(days=1)
HOSTILE = '<img src=x onerror="alert(1)">&\n\x1b[2J'


@pytest.fixture
def monitor():
    """Four days of two models over the same items; of the second day nothing, of the fourth no label."""
    with Monitor.open("memory", clock=lambda: MONDAY) as opened:
        for model, right in (("a", 6), (HOSTILE, 9)):
            for day in (4, 2, 1):
                for number in range(10):
                    at = MONDAY - day * DAY
                    country = "MC" if number % 2 else HOSTILE
                    item = f"{day}-{number}"
                    opened.record_prediction(
                        item, model, int(number < right), 0.8, at=at, segments={"country": country}
                    )
        for day in (4, 2):
            for number in range(10):
                opened.record_outcome(f"{day}-{number}", 1, known_at=MONDAY - (day - 0.5) * DAY)
        opened.create_alert(**raised(title=HOSTILE, model_version=HOSTILE))
        yield opened


ASKED = {
    "performance": lambda monitor: monitor.performance("a"),
    "of a hostile name": lambda monitor: monitor.performance(HOSTILE, where={"country": HOSTILE}),
    "of nothing": lambda monitor: monitor.performance("nobody"),
    "of no metric": lambda monitor: monitor.performance("a", metrics=()),
    "trend": lambda monitor: monitor.trend(HOSTILE, every="day"),
    "empty trend": lambda monitor: monitor.trend("nobody", every="day"),
    "comparison": lambda monitor: monitor.compare("a", HOSTILE),
    "paired": lambda monitor: monitor.compare("a", HOSTILE, paired=True, basis="prediction"),
    "slices": lambda monitor: monitor.performance("a", by="country"),
    "trends of slices": lambda monitor: monitor.trend("a", every="day", by="country"),
    "comparisons of slices": lambda monitor: monitor.compare("a", HOSTILE, by="country"),
    "no slices": lambda monitor: monitor.trend("nobody", every="day", by="country"),
    "delay": lambda monitor: monitor.label_delay("a"),
    "no delay": lambda monitor: monitor.label_delay("nobody"),
    "models": lambda monitor: monitor.models(),
    "alerts": lambda monitor: monitor.alerts(),
    "no alerts": lambda monitor: monitor.alerts(severity="critical"),
    "incidents": lambda monitor: monitor.incidents(),
    "health": lambda monitor: Listed([monitor.capture_health("a", last=4 * DAY)]),
}


class Read(HTMLParser):
    """Tables and paragraphs, and nothing else; the text of the cells."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.rows, self.texts = set(), [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        assert {name for name, _ in attrs} <= {"style", "scope"}

    def handle_data(self, data):
        self.texts.append(data)
        if self.rows:
            self.rows[-1].append(data)


@pytest.mark.parametrize("asked", ASKED)
def test_it_is_one_short_line_where_it_is_printed(monitor, asked):
    line = str(ASKED[asked](monitor))
    assert 0 < len(line) < 400
    assert line.isprintable()


@pytest.mark.parametrize("asked", ASKED)
def test_it_is_a_table_of_text_in_a_notebook(monitor, asked):
    read = Read(ASKED[asked](monitor)._repr_html_())
    assert read.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td", "p"}
    assert {"table", "caption", "thead"} <= read.tags
    assert all(text.isprintable() for text in read.texts)


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "polars"])
@pytest.mark.parametrize("asked", ASKED)
def test_it_is_a_frame_to_go_on_with(monitor, asked, library):
    found = ASKED[asked](monitor)
    frame = found.to_frame(library)
    assert type(frame).__module__.partition(".")[0] in library
    expected = {
        "trend": 4,
        "trends of slices": 8,
        "no slices": 0,
        "empty trend": 0,
        "paired": 1,
        "slices": 2,
        "no delay": 0,
        "models": 2,
        "alerts": 1,
    }
    assert len(frame) == expected.get(asked, len(frame))


def test_a_line_says_what_the_number_rests_on(monitor):
    assert str(monitor.performance("a", since=MONDAY - 4 * DAY, until=MONDAY)) == (
        "a, [2026-04-23 00:00, 2026-04-27 00:00) UTC, by prediction time: "
        "accuracy 0.6000 [0.3866, 0.7812], 20 of 30 labelled (66.7%)"
    )
    assert str(monitor.performance("nobody")) == (
        "nobody, [the beginning, the present) UTC, by prediction time: accuracy none (no predictions), 0 of 0 labelled"
    )
    matured = monitor.performance("a", last=2 * DAY, basis="matured", horizon=DAY, where={"country": "MC"})
    assert str(matured).startswith(
        "a, [2026-04-24 00:00, 2026-04-26 00:00) UTC, matured predictions (at least 1 day, 0:00:00 old), country=MC: "
    )
    assert "as of 2026-04-25 00:00" in str(monitor.performance("a", as_of=MONDAY - 2 * DAY))
    assert str(monitor.trend("a", every="day")) == (
        "a, [2026-04-23 00:00, 2026-04-27 00:00) UTC, by prediction time: 4 buckets, 2 with a value; "
        "newest accuracy 0.6000 [0.3127, 0.8318], 10 of 10 labelled (100.0%)"
    )
    assert str(monitor.compare("a", HOSTILE)).endswith(
        "minus a: accuracy differs by +0.3000 [+0.0294, +0.5253]; "
        "20 of 30 labelled (66.7%) and 20 of 30 labelled (66.7%)"
    )
    assert str(monitor.label_delay("a")).startswith("labels: 50% within 13:00:00, 90% within")
    assert str(monitor.alerts()) == "1 Alert, 2026-04-27 00:00 to 2026-04-27 00:00 UTC"
    assert str(monitor.alerts(severity="critical")) == "nothing found"


def test_a_gap_says_why_in_a_table(monitor):
    rows = Read(monitor.trend("a", every="day")._repr_html_()).rows
    assert [row[7] for row in rows[1:]][1].startswith("no predictions")
    assert rows[2][5] == "\N{EN DASH}"
    assert rows[4][7].startswith("no labelled predictions")


def test_a_long_list_says_what_is_not_there(monitor):
    long = monitor.trend("a", every=timedelta(minutes=10))
    html = long._repr_html_()
    assert html.count("<tr>") == 201
    assert f"The last 200 of {len(long)} rows: to_frame() has them all." in html
    many = Listed(monitor.alerts() * 201)
    assert "200 of 201: to_frame() has them all." in many._repr_html_()
    assert len(many.to_frame()) == 201


def test_the_numbers_of_a_table_are_those_of_the_api(monitor):
    measured = monitor.performance("a")
    rows = {row[0]: row for row in Read(measured._repr_html_()).rows[1:]}
    accuracy = measured.accuracy
    assert rows["accuracy"][1:4] == [f"{accuracy.value:.4f}", f"[{accuracy.low:.4f}, {accuracy.high:.4f}]", "20"]
    assert rows["roc_auc"][4].startswith("one class only")
    frame = measured.to_frame().set_index("metric")
    assert frame.loc["accuracy", "high"] == accuracy.high
    assert frame.loc["roc_auc", "reason"] == "one class only"

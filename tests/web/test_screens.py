"""Every screen on a store of hostile names, and its numbers beside those of the API."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest

from f1mon_core.web import report

from .conftest import HOSTILE, NOW, PLAIN, addresses

KIB = 1024


class Page(HTMLParser):
    """What a browser makes of a page: its elements, its links, and its tables by their class."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.links, self.tables, self.said = [], [], [], {}, []
        self._rows = self._cell = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "table":
            self._rows = self.tables.setdefault(given.get("class") or given.get("id"), [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in {"td", "th"} and self._rows:
            self._cell = []
        elif tag == "data" and self._cell is not None:
            self._cell.append(float(given["value"]))

    def handle_endtag(self, tag):
        if tag in {"td", "th"} and self._cell is not None:
            numbers = [one for one in self._cell if isinstance(one, float)]
            self._rows[-1].append(numbers or "".join(map(str, self._cell)).strip())
            self._cell = None
        elif tag == "table":
            self._rows = None

    def handle_data(self, data):
        self.said.append(data)
        if self._cell is not None:
            self._cell.append(data)


def test_every_screen_is_shown_and_nothing_gets_out_of_its_place(client, hostile):
    asked = client(hostile)
    for path, words in addresses(hostile):
        answer = asked.get(f"/{path}", **words)
        assert answer.status == 200, (path, words, answer.text)
        assert len(answer.text.encode()) <= 150 * KIB, (path, words)
        page = Page(answer.text)
        assert not {"script", "iframe", "object", "embed", "style"} & set(page.tags), (path, words)
        names = {name for _, name, _ in page.attributes}
        assert not {name for name in names if name == "style" or name.startswith("on")}, (path, words)
        assert "49" not in [one.strip() for one in page.said if "7*7" in one]
        assert "\u202e" not in "".join(page.said), (path, words)
        assert [one for one in page.links if not one.startswith(("/", "#"))] == [], (path, words)


def test_links_lead_to_what_they_name(client, hostile):
    asked = client(hostile)
    page = Page(asked.get("/").text)
    wanted = [parse_qs(urlsplit(one).query)["name"][0] for one in page.links if urlsplit(one).path == "/model"]
    assert wanted == sorted([HOSTILE, PLAIN])
    alerts = Page(asked.get("/alerts").text)
    for link in [one for one in alerts.links if urlsplit(one).path == "/incident"][:6]:
        words = {name: one[0] for name, one in parse_qs(urlsplit(link).query).items()}
        assert asked.get("/incident", **words).status == 200


def test_mounted_under_a_prefix_every_address_has_it(client, hostile):
    asked = client(hostile, root="/f1mon")
    for path, words in addresses(hostile)[:12]:
        page = Page(asked.get(f"/{path}", **words).text)
        values = [value for _, name, value in page.attributes if name in {"href", "src", "action"} and value]
        assert [one for one in values if not one.startswith(("/f1mon/", "#"))] == []


def test_the_numbers_of_a_model_are_those_of_the_api(client, hostile):
    page = Page(client(hostile).get("/model", name=HOSTILE, window="all").text)
    measured = hostile.performance(HOSTILE)
    rows = {row[0]: row[1:] for row in page.tables["metrics"][1:]}
    assert rows.keys() == measured.metrics.keys() - {"num_predictions", "num_labelled", "coverage"}
    for name, (value, interval, n) in rows.items():
        metric = measured[name]
        assert value == ([metric.value] if metric.value is not None else value)
        assert interval == ([metric.low, metric.high] if metric.low is not None else "\N{EN DASH}")
        assert n == [metric.n]
    bins = page.tables["bins"][1:]
    assert [row[1:3] for row in bins] == [[[one.total], [one.labelled]] for one in measured.bins]
    assert [row[4] for row in bins if isinstance(row[4], list)] == [
        [one.accuracy] for one in measured.bins if one.accuracy is not None
    ]
    confusion = [[cell[0] for cell in row[1:]] for row in page.tables["confusion"][1:]]
    assert confusion == [list(row) for row in measured.confusion.counts]


def test_the_course_is_the_trend(client, hostile):
    page = Page(client(hostile).get("/model", name=PLAIN, window="90d").text)
    trend = [one for one in hostile.trend(PLAIN, every="day", since=NOW - (NOW - NOW.replace(day=3))) if one.total]
    rows = page.tables["course"][1:]
    by_n = sum(row[5][0] for row in rows)
    assert by_n == hostile.performance(PLAIN).total
    assert all(
        row[2] == [one.accuracy.value] for row, one in zip(rows[-len(trend) :], trend, strict=True) if one.labelled
    )
    assert [row[6][0] + row[7][0] + row[8][0] for row in rows] == [row[5][0] for row in rows]
    assert sum(row[8][0] for row in rows) > 0  # labels that never came are no pending ones


def test_the_first_screen_counts_what_the_models_do(client, hostile):
    page = Page(client(hostile).get("/").text)
    rows = page.tables["models"][1:]
    for row, one in zip(rows, hostile.models(), strict=True):
        assert row[1] == [one.predictions]
        measured = hostile.performance(one.name)  # a season this short is one window
        assert row[2] == [measured.labelled, measured.total]
        assert row[3:5] == [[measured.accuracy.value], [measured.accuracy.low, measured.accuracy.high]]


def test_segments_and_comparison_are_those_of_the_api(client, hostile):
    asked = client(hostile)
    page = Page(asked.get("/segments", name=HOSTILE, by="country", window="all").text)
    slices = hostile.performance(HOSTILE, by="country", worst=50)
    assert [row[3:5] for row in page.tables["slices"][2:]] == [
        [[one.accuracy.value], [one.accuracy.low, one.accuracy.high]] for one in slices.values()
    ]
    compared = hostile.compare(PLAIN, HOSTILE)
    table = Page(asked.get("/compare", first=PLAIN, second=HOSTILE, window="all").text).tables["comparison"][1:]
    found = {row[0]: row[3] for row in table}
    assert found["accuracy"] == [compared["accuracy"].value]
    assert found["brier_score"] == [compared["brier_score"].value]


def test_alerts_are_counted_listed_and_paged(client, hostile):
    asked = client(hostile)
    page = Page(asked.get("/alerts").text)
    still = hostile.alerts(acknowledged=False)
    assert len(page.tables["alerts open"]) - 1 == len(still)
    assert [row[4] for row in page.tables["alerts open"][1:]] == [[one.metric_value] for one in still]
    statistics = hostile.alert_statistics()
    components = {row[0]: row[1][0] for row in page.tables["components"][1:]}
    assert sum(components.values()) == statistics.total


def test_older_alerts_are_a_page_further(client, writable):
    for number in range(120):
        writable.create_alert("info", f"alert {number}", "", "accuracy", 0.5, 0.7, "people", PLAIN)
    asked, seen, words = client(writable), [], {"state": "open"}
    while words is not None:
        page = Page(asked.get("/alerts", **words).text)
        seen += [parse_qs(urlsplit(one).query)["id"][0] for one in page.links if one.startswith("/incident")
                 and "alerts open" in page.tables]  # fmt: skip
        older = [one for one in page.links if "open_after" in one]
        words = {name: one[0] for name, one in parse_qs(urlsplit(older[0]).query).items()} if older else None
    listed = [one.alert_id for one in writable.alerts(acknowledged=False)]
    assert list(dict.fromkeys(one for one in seen if one in listed))[-1] == listed[-1]
    assert set(listed) <= set(seen)


def test_what_is_not_known_has_its_reason(client, writable):
    writable.record_prediction("one", "young", predicted_outcome="yes", confidence=0.9, at=NOW)
    page = Page(client(writable).get("/model", name="young").text)
    rows = {row[0]: row[1] for row in page.tables["metrics"][1:]}
    assert "no labelled predictions" in rows["accuracy"]
    assert rows["avg_confidence"] == [0.9]


def test_the_default_window_is_the_newest_that_holds_data(client, writable):
    for number in range(400):
        at = NOW.replace(year=2020, second=0, microsecond=number)
        writable.record_prediction(f"old-{number}", "old", predicted_outcome=1, confidence=0.9, at=at)
    text = client(writable).get("/model", name="old").text
    assert "newest with data (1h)" in text
    assert '<data value="400">400</data>' in text


def test_an_empty_store_has_pages_too(client, tmp_path):
    from f1mon_core import Monitor  # noqa: PLC0415 - one more

    with Monitor.open("memory") as monitor:
        asked = client(monitor)
        for path in ("", "compare", "segments", "drift", "settling", "alerts", "rules", "silences", "deliveries"):
            assert asked.get(f"/{path}").status == 200, path
        assert "No prediction of this model" in asked.get("/model", name="nobody").text
        assert report(monitor).startswith("<!doctype html>")


def test_one_answer_serves_all_who_ask_at_once(client, hostile, monkeypatch):
    asked, calls = client(hostile), []
    tally = hostile.storage.tally
    monkeypatch.setattr(hostile.storage, "tally", lambda query: calls.append(query) or tally(query))
    first = asked.get("/model", name=PLAIN)
    once = len(calls)
    assert once > 0
    assert asked.get("/model", name=PLAIN).text == first.text
    assert len(calls) == once


def test_an_action_is_seen_at_once(client, writable):
    asked = client(writable)
    alert = writable.alerts(acknowledged=False, limit=1)[0]
    page = asked.get("/incident", id=alert.alert_id).text
    assert "Nobody has taken it on" in page
    token = page.partition('name="token" value="')[2].partition('"')[0]
    asked.post("/acknowledge", {"alert_id": alert.alert_id, "by": "me", "token": token})
    assert "Nobody has taken it on" not in asked.get("/incident", id=alert.alert_id).text


def test_no_address_puts_words_into_a_pages_mouth(client, hostile):
    assert "Call this number" not in client(hostile).get("/", done="Call this number").text


# The report ---------------------------------------------------------------------------------------------------------


def test_a_report_is_the_same_for_the_same_clock_and_asks_for_nothing(hostile):
    text = report(hostile)
    assert text == report(hostile)
    page = Page(text)
    assert not {"script", "link", "iframe", "form", "img"} & set(page.tags)
    assert [one for one in page.links if not one.startswith("#")] == []
    (policy,) = [
        value for tag, name, value in page.attributes if tag == "meta" and name == "content" and "src" in value
    ]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "\u202e" not in text
    assert not re.search(
        r"\son[a-z]+=|style=", re.sub(r"&[^;]+;", "", text.partition("</style>")[2]).replace("option", "")
    )


def test_a_report_has_the_numbers_of_the_api(hostile, tmp_path):
    out = tmp_path / "report.html"
    report(hostile, out, window="all", model_versions=[HOSTILE], title="For the boss <b>")
    page = Page(out.read_text(encoding="utf-8"))
    rows = {row[0]: row[1] for row in page.tables["metrics"][1:]}
    assert rows["accuracy"] == [hostile.performance(HOSTILE).accuracy.value]
    assert "For the boss <b>" in "".join(page.said)
    assert len(page.tables["models"]) == 2


@pytest.mark.parametrize(
    ("options", "kind"), [({"window": "1y"}, ValueError), ({"model_versions": ["x"]}, LookupError)]
)
def test_a_report_that_cannot_be_made_says_why(hostile, options, kind):
    with pytest.raises(kind):
        report(hostile, **options)

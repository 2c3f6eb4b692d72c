"""A real Chromium on every screen: nothing on the console, nothing asked of anybody else, and actions to their end.

What it saw is kept as pictures where F1MON_SCREENSHOTS names a directory.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlencode

import pytest

from f1mon_core import Monitor
from f1mon_core.web import report

from .conftest import PLAIN, Clock, addresses, filled, opened, served

KEPT = os.environ.get("F1MON_SCREENSHOTS")
SIZES = [(width, scheme) for width in (400, 1400) for scheme in ("light", "dark")]


class Visitor:
    """A page of the browser that notes what it should not have seen."""

    def __init__(self, browser, base, width=1400, scheme="light", **options):
        self.base = base
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        self.page = self.context.new_page()
        self.wrong = []
        self.page.on("console", lambda message: self.wrong.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("request", self._asked)

    def _asked(self, request):
        if not request.url.startswith((self.base, "data:")):
            self.wrong.append(f"asked: {request.url}")

    def _failed(self, request):
        if "ERR_ABORTED" not in (request.failure or ""):  # the visitor had gone on before it was there
            self.wrong.append(f"failed: {request.url}: {request.failure}")

    def see(self, path, words=None):
        answer = self.page.goto(f"{self.base}/{path}" + (f"?{urlencode(words)}" if words else ""))
        assert answer is None or answer.status == 200, (path, words)

    def keep(self, name):
        if KEPT:
            Path(KEPT).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(KEPT) / f"{name}.png", full_page=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


def screens(monitor):
    """Each screen once, with the hostile names where there is a choice."""
    found = {}
    for path, words in addresses(monitor):
        found.setdefault(path, words)
    return found


def looked_at(browser, monitor, name, sizes):
    with served(monitor) as base:
        for width, scheme in sizes:
            with Visitor(browser, base, width, scheme) as visitor:
                for path, words in screens(monitor).items():
                    visitor.see(path, words)
                    beyond = visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                    assert beyond <= 0, (path, width)
                    visitor.keep(f"{name}-{path or 'models'}-{width}-{scheme}")
                assert visitor.wrong == [], (width, scheme)


def test_every_screen_on_hostile_names_is_quiet_and_fits(browser, hostile):
    looked_at(browser, hostile, "hostile", [SIZES[0], SIZES[3]])


@pytest.mark.soak
def test_every_screen_in_every_size_and_light(browser, hostile, formula1):
    looked_at(browser, hostile, "hostile", SIZES)
    looked_at(browser, formula1, "formula1", SIZES)


@pytest.fixture(scope="module")
def formula1(shared_data, tmp_path_factory):
    """The log of the old system, adopted, with the outcomes that came."""
    import csv  # noqa: PLC0415 - for this alone
    from datetime import UTC, datetime  # noqa: PLC0415

    from f1mon_core.legacy.adoption import adopt  # noqa: PLC0415

    path = tmp_path_factory.mktemp("formula1") / "store"
    with Monitor.open("jsonl", path=str(path)) as monitor:
        adopt(monitor.storage, shared_data / "legacy")
        with (shared_data / "f1_outcomes.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        monitor.record_outcomes(
            (row["prediction_id"], int(row["actual_outcome"]), datetime.fromtimestamp(float(row["known_at"]), UTC))
            for row in rows
        )
        yield monitor


def test_every_screen_on_the_formula_1_log_is_quiet_and_fits(browser, formula1):
    looked_at(browser, formula1, "formula1", [SIZES[1], SIZES[2]])


def test_no_screen_has_a_serious_fault_of_accessibility(browser, axe, hostile):
    faults = []
    with served(hostile) as base:
        for scheme in ("light", "dark"):
            with Visitor(browser, base, 1400, scheme) as visitor:
                for path, words in screens(hostile).items():
                    visitor.see(path, words)
                    visitor.page.evaluate(axe)
                    found = visitor.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
                    faults += [
                        (path, scheme, one["id"], one["nodes"][0]["html"][:200])
                        for one in found["violations"]
                        if one["impact"] in {"serious", "critical"}
                    ]
    assert faults == []


def test_the_report_needs_no_network(browser, hostile, tmp_path):
    out = tmp_path / "report.html"
    report(hostile, out)
    with Visitor(browser, f"file://{tmp_path}", offline=True) as visitor:
        visitor.see("report.html")
        assert visitor.wrong == []
        assert visitor.page.locator("table").count() > 5
        assert visitor.page.evaluate("getComputedStyle(document.querySelector('.panel')).borderTopStyle") == "solid"
        visitor.keep("report")


@pytest.mark.parametrize(
    "store", ["jsonl", "sqlite", pytest.param("postgresql", marks=pytest.mark.servers)]
)  # fmt: skip
def test_what_is_done_on_a_page_is_done(browser, store, request, tmp_path):
    where = {"jsonl": lambda: f"jsonl://{tmp_path}/s", "sqlite": lambda: f"sqlite:///{tmp_path}/s.db",
             "postgresql": lambda: request.getfixturevalue("postgresql_url")}[store]()  # fmt: skip
    with opened(where) as monitor:
        filled(monitor, PLAIN)
        with served(monitor, root="/f1mon") as base, Visitor(browser, base) as visitor:
            page = visitor.page
            incident = monitor.incidents()[0]
            alert_id = incident.alert_ids[-1]

            visitor.see("incident", {"id": alert_id})
            page.get_by_label("Your name").first.fill("engineer")
            page.get_by_label("Note").fill("looking <i>into</i> it")
            page.get_by_role("button", name="Acknowledge").click()
            assert page.get_by_role("status").inner_text() == "Acknowledged."
            taken = monitor.acknowledgements([alert_id])[alert_id]
            assert (taken.by, taken.note) == ("engineer", "looking <i>into</i> it")
            assert "looking <i>into</i> it" in page.content().replace("&lt;", "<").replace("&gt;", ">")

            page.get_by_role("link", name="Silence alerts like it").click()
            assert re.search(r"0 of \d+ open alerts match now", page.locator("main").inner_text())
            page.get_by_label("For so many hours").fill("2")
            page.get_by_label("Why").fill("known")
            page.get_by_role("button", name="Silence").click()
            (made,) = [one for one in monitor.silences() if one.comment == "known"]
            assert made.match == {"rule_id": incident.rule_id, "model_version": PLAIN}
            before = len(monitor.silences())
            page.get_by_role("button", name="Lift").first.click()
            assert "lifted" in page.get_by_role("status").inner_text()
            assert len(monitor.silences()) == before - 1

            dead = len(monitor.dead_letters())
            assert dead >= 2
            visitor.see("deliveries")
            page.get_by_role("button", name="Retry").first.click()
            assert page.get_by_role("status").inner_text() == "On its way again."
            assert (len(monitor.dead_letters()), len(monitor.deliveries())) == (dead - 1, 1)
            page.get_by_label("Reason").first.fill("nobody reads it")
            page.get_by_role("button", name="Discard").first.click()
            assert "Given up" in page.get_by_role("status").inner_text()
            assert len(monitor.dead_letters()) == dead - 2

            visitor.see("incident", {"id": incident.incident_id})
            page.get_by_label("Reason").fill("the sensor was broken")
            page.get_by_role("button", name="Resolve").click()
            assert page.get_by_role("status").inner_text().startswith("Resolved")
            assert monitor.incidents() == []
            assert visitor.wrong == []


def test_the_keyboard_reaches_every_row_and_not_every_dot(browser, hostile):
    with served(hostile) as base, Visitor(browser, base) as visitor:
        visitor.see("model", {"name": PLAIN})
        assert visitor.page.locator(".picture a").count() > 5
        assert visitor.page.locator(".picture a:not([tabindex='-1'])").count() == 0
        visitor.page.keyboard.press("Tab")
        assert visitor.page.evaluate("document.activeElement.textContent") == "To the content"


def test_the_clock_of_the_store_is_said(browser, hostile):
    with served(hostile) as base, Visitor(browser, base) as visitor:
        visitor.see("")
        assert f"{Clock().now:%Y-%m-%d %H:%M:%S}" in visitor.page.locator("footer").inner_text()

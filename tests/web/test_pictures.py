"""Pictures: what is drawn, what is not, and that nothing of unknown origin gets out of its text."""

import re
from xml.etree import ElementTree as ET

import pytest

from f1mon_core import pictures
from f1mon_core.pictures import Alarm, Bin, Cell, Mark, Point, Threshold

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "</title><script>alert(1)</script>\" onload='x' ]]> \u202e \x07 &amp;"
DAY = 86_400.0


def points(*values, start=0.0, width=DAY):
    made = []
    for place, value in enumerate(values):
        edges = {} if value is None else {"low": max(0, value - 0.1), "high": min(1, value + 0.1)}
        begin = start + place * width
        made.append(Point(start=begin, end=begin + width, value=value, labelled=10, said=f"day {place}", **edges))
    return made


def drawn(svg, name, class_):
    return [one for one in ET.fromstring(svg).iter(f"{SVG}{name}") if (one.get("class") or "").split()[0:1] == [class_]]


def test_a_line_joins_what_touches_and_leaves_gaps_open():
    svg = pictures.series(points(0.8, 0.7, 0.9, None, None, 0.6, 0.7, None, 0.5), "course")
    assert [one.get("d").count("L") + 1 for one in drawn(svg, "path", "line")] == [3, 2]
    assert len(drawn(svg, "path", "band")) == 2
    assert len(drawn(svg, "line", "whisker")) == 1  # of the one that stands alone
    assert len(drawn(svg, "circle", "dot")) == 6


def test_stretches_of_time_that_do_not_touch_are_not_joined():
    apart = points(0.8) + points(0.7, start=20 * DAY)
    assert drawn(pictures.series(apart, "course"), "path", "line") == []


def test_without_an_interval_there_is_no_band():
    bare = [Point(start=place * DAY, end=(place + 1) * DAY, value=0.5) for place in range(3)]
    svg = pictures.series(bare, "course")
    assert drawn(svg, "path", "band") == []
    assert len(drawn(svg, "path", "line")) == 1


@pytest.mark.parametrize(("values", "end"), [((0.2, 0.3), "1"), ((0.2, 3.4), "5")])
def test_the_axis_is_the_unit_interval_or_ends_at_a_round_number(values, end):
    made = [Point(start=place * DAY, end=(place + 1) * DAY, value=value) for place, value in enumerate(values)]
    ticks = [one.text for one in drawn(pictures.series(made, "course", counts=False), "text", "tick")]
    assert ticks[:5][-1] == end
    assert ticks[0] == "0"


def test_labelled_pending_and_never_are_bars_of_their_own():
    made = [Point(start=0, end=DAY, value=None, labelled=6, pending=3, never=1)]
    svg = pictures.series(made, "course")
    high = {name: float(drawn(svg, "rect", name)[0].get("height")) for name in ("labelled", "pending", "never")}
    assert high["labelled"] == pytest.approx(2 * high["pending"], abs=0.2)
    assert high["pending"] == pytest.approx(3 * high["never"], abs=0.2)


def test_severity_is_a_shape_and_taking_on_is_said():
    alarms = [Alarm(0.5 * DAY, name, name, taken=name == "info") for name in ("info", "warning", "critical")]
    svg = pictures.series(points(0.5, 0.5), "course", alarms=alarms)
    classes = [one.get("class") for one in ET.fromstring(svg).iter() if "alarm" in (one.get("class") or "")]
    assert classes == ["alarm info taken", "alarm warning", "alarm critical"]
    shapes = {one.get("d").count("L") for one in drawn(svg, "path", "alarm")}
    assert shapes == {2, 3}  # a triangle, a diamond


def test_what_lies_outside_the_time_shown_is_not_marked():
    svg = pictures.series(points(0.5), "course", alarms=[Alarm(99 * DAY, "critical", "late")])
    assert "late" not in svg


ALL = {
    "series": lambda text: pictures.series(
        [Point(start=0, end=DAY, value=0.5, said=text, href=f"/x?y={text}")],
        text,
        thresholds=[Threshold(0.4, text, "critical")],
        alarms=[Alarm(1.0, "warning", text, href="javascript:alert(1)" if not text else f"/i?{text}")],
    ),
    "reliability": lambda text: pictures.reliability(
        [Bin(begin=0, end=1, labelled=1, unlabelled=1, confidence=0.5, accuracy=0.5, low=0.1, high=0.9, said=text)],
        text,
    ),
    "histogram": lambda text: pictures.histogram([Bin(begin=0, end=1, labelled=1, unlabelled=2, said=text)], text),
    "heat": lambda text: pictures.heat([text], [text], [Cell(row=0, column=0, hit=True, said=text)], text),
    "time_line": lambda text: pictures.time_line(
        [text],
        [Mark(row=0, at=1.0, sort=sort, said=text, until=2.0) for sort in ("silence", "resolved", "critical", "info")],
        0.0,
        DAY,
        text,
    ),
    "spark": lambda text: pictures.spark([0.5, None, 0.6, 0.7], text),
    "share": lambda text: pictures.share(1, 3, text),
    "difference": lambda text: pictures.difference(pictures.Difference(0.1, -0.1, 0.3), text),
}


@pytest.mark.parametrize("name", ALL)
def test_a_picture_is_xml_without_script_or_style_whatever_it_says(name):
    svg = ALL[name](HOSTILE)
    root = ET.fromstring(svg)
    assert root.get("aria-label")
    assert root.find(f"{SVG}title").text.startswith("</title><script>")
    assert not [one for one in root.iter() if one.tag in {f"{SVG}script", f"{SVG}style"}]
    assert not [key for one in root.iter() for key in one.attrib if key == "style" or key.startswith("on")]
    assert "\u202e" not in svg
    assert not re.search(r"url\(|href=\"http", svg)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_drawn_of_numbers_that_are_none(name):
    assert not re.search(r"nan|inf\b|None", ALL[name]("plain"))


def test_an_empty_picture_is_one_too():
    for svg in (pictures.series([], "nothing"), pictures.spark([], "nothing"), pictures.heat([], [], [], "nothing")):
        assert ET.fromstring(svg).find(f"{SVG}title").text == "nothing"


def test_a_difference_that_is_none_is_hollow():
    assert "hollow" in pictures.difference(pictures.Difference(0.1, -0.1, 0.3), "d")
    assert "hollow" in pictures.difference(pictures.Difference(0.1), "d")
    assert "hollow" not in pictures.difference(pictures.Difference(0.2, 0.1, 0.3), "d")


@pytest.mark.parametrize("span", [3_600, 86_400, 40 * DAY, 700 * DAY, 40_000 * DAY, 2_900_000 * DAY])
def test_ticks_of_time_are_few_and_in_order(span):
    from f1mon_core.pictures.scales import times  # noqa: PLC0415 - beside its pictures

    found = times(1_000_000.0, 1_000_000.0 + span, 8)
    assert len(found) <= 10
    assert [at for at, _ in found] == sorted(at for at, _ in found)

"""A file is one noun or one verb: what is written by hand fits on a few screens."""

from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"
MOST = 500


def test_no_file_written_by_hand_has_more_than_500_lines():
    files = {path.relative_to(SOURCES).as_posix(): path.read_text().splitlines() for path in SOURCES.rglob("*.py")}
    by_hand = {name: lines for name, lines in files.items() if "generated" not in "\n".join(lines[:5]).lower()}
    assert len(by_hand) > 100
    assert {name: len(lines) for name, lines in by_hand.items() if len(lines) > MOST} == {}

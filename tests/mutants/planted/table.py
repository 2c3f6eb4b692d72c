"""The table of faults and the laws that catch them; run as a script it writes README.md."""

import sys
from itertools import groupby
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from planted.registry import faults

README = Path(__file__).parents[1] / "README.md"

HEAD = """# Planted faults

{total} stores with one fault each, and the law of the contract kit that catches it. `test_mutants.py` shows every line:
the broken store fails the law, the store it was planted in keeps it. Every law of the kit catches one at least.
"""


def table():
    """The text of README.md."""
    planted = sorted(faults().values(), key=lambda fault: fault.room)
    lines = [HEAD.format(total=len(planted))]
    for room, members in groupby(planted, key=lambda fault: fault.room):
        lines += [f"## {room}\n", "| fault | over | caught by |", "|---|---|---|"]
        lines += [f"| {one.name} | {one.over.name} | {one.law.replace('_', ' ')} |" for one in members]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    README.write_text(table(), encoding="utf-8")

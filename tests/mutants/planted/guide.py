"""The code of the guide to writing a backend, read from its text."""

import re
import sys
import types
from functools import cache
from pathlib import Path

GUIDE = Path(__file__).parents[3] / "docs" / "write-a-backend.md"


def sections():
    """The text under each heading of the guide."""
    parts = re.split(r"^## (.+)$", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def blocks(language, *, of):
    """The code blocks in a language under a heading."""
    return re.findall(rf"^```{language}\n(.*?)^```$", sections()[of], re.DOTALL | re.MULTILINE)


def module_text():
    """The example module as a reader would put it together: every block before the one that proves it."""
    headings = list(sections())
    return "\n\n".join(
        block for heading in headings[: headings.index("Proving it")] for block in blocks("python", of=heading)
    )


def load_bearing_lines():
    """The rows of the guide's table: a piece of a line, what to write instead, the law that fails."""
    rows = re.findall(r"^\| `(.+?)` \| `(.+?)` \| (\w+) \|$", sections()["The lines that bear the load"], re.MULTILINE)
    return [tuple(row) for row in rows]


def module_of(text, name):
    """A module of this text, importable by its name while the process lives."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    exec(compile(text, f"{GUIDE}::{name}", "exec"), module.__dict__)
    return module


@cache
def onefile():
    """The guide's module."""
    return module_of(module_text(), "f1mon_onefile")

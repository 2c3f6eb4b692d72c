"""Lets the tests of this folder, and the processes they start, import its stores and the modules of two pages."""

import re
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
MODULES = {"f1mon_table": "backend-on-keys.md", "f1mon_redis": "backend-on-redis.md"}
_written = tempfile.TemporaryDirectory(prefix="f1mon-pages-")


def module_text(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return "\n\n".join(blocks)


for _name, _page in MODULES.items():
    (Path(_written.name) / f"{_name}.py").write_text(module_text(_page), encoding="utf-8")
sys.path[:0] = [str(Path(__file__).parent / "importable"), _written.name]

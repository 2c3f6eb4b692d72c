"""The examples of the documentation run as tests, each page in an empty directory and without the user's settings."""

import os
import tempfile
from contextlib import ExitStack, chdir
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

SETTINGS = ("F1MON_BACKEND", "F1MON_URL", "MONITORING_DB_")


def _begin(namespace: dict[str, Any]) -> None:
    page = namespace["_page"] = ExitStack()
    page.enter_context(chdir(page.enter_context(tempfile.TemporaryDirectory())))
    kept = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(SETTINGS)}
    page.callback(os.environ.update, kept)


def _end(namespace: dict[str, Any]) -> None:
    namespace["_page"].close()


pytest_collect_file = Sybil(
    parsers=[SkipParser(), PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md"],
    # Their backends are put to the contract by tests of their own.
    excludes=["docs/write-a-backend.md", "docs/backend-on-keys.md", "docs/backend-on-redis.md"],
    setup=_begin,
    teardown=_end,
).pytest()

"""Empty directories beside a store, for those who try the backend out."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from f1mon_jsonl.opening import directory_of


@contextmanager
def fresh_jsonl(
    *, path: str | os.PathLike[str] | None = None, url: str | None = None, **options: Any
) -> Iterator[Mapping[str, Any]]:
    """Options that open an empty directory beside the one named, on the same file system; it is removed again."""
    named = Path(directory_of(url) if url is not None else path or ".").absolute()
    beside = next(parent for parent in named.parents if parent.is_dir())
    with tempfile.TemporaryDirectory(prefix="f1mon-", dir=beside) as directory:
        yield {**options, "path": f"{directory}/store"}

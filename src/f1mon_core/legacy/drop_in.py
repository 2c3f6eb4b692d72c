"""Opening the store that the drop-in classes work on, with the old files of their directory adopted."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from f1mon_core.delivery.channels import Channels
from f1mon_core.legacy.adoption import Account, adopt
from f1mon_core.monitor import Monitor
from f1mon_core.storage.environment import from_environment
from f1mon_core.storage.registry import open_storage


class DropIn:
    """A store that the environment chooses; with no variable set, files in `data_dir`.

    `data_dir` does not choose the backend: it says where the old system's files are, which are adopted, and where the
    file backend lives. Closing is optional, as it was: what is recorded is kept at once.

    Attributes:
        data_dir: The directory.
        monitor: The store as f1mon's own interface.
        adopted: What became of the old files this time.
    """

    def __init__(
        self, data_dir: Path | str = "data/monitoring", channel_config: Mapping[str, Any] | None = None
    ) -> None:
        self.data_dir = Path(data_dir)
        name, options = from_environment(os.environ, str(self.data_dir))
        channels = Channels(channel_config, directory=self.data_dir)
        self.monitor = Monitor(open_storage(name, **options), channels=channels)
        self._finalizer = weakref.finalize(self, self.monitor.close)
        try:
            self.adopted: Account = adopt(self.monitor.storage, self.data_dir)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the store; again is a no-op."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

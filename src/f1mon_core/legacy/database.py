"""DatabaseManager for start-up code that calls it: thin over the store that the environment names."""

from __future__ import annotations

import logging
import os
from typing import Any

from f1mon_core.errors import F1monError
from f1mon_core.monitor import Monitor
from f1mon_core.storage.environment import database_enabled
from f1mon_core.storage.registry import open_storage, upgrade_storage

_log = logging.getLogger("f1mon.legacy")


class DatabaseManager:
    """The old system's start-up calls. Nothing here is needed any more; nothing here breaks code that calls it."""

    @classmethod
    def initialize(cls, config: Any = None) -> None:  # noqa: ARG003 - the old signature; the environment decides
        """Open the store that the environment names and close it again, so that a wrong setting shows at start-up.

        Raises:
            F1monError: If it cannot be opened.
        """
        if cls.is_enabled():
            open_storage().close()

    @classmethod
    def create_all_tables(cls) -> None:
        """Create the tables, or bring them up to date.

        Raises:
            F1monError: If the database cannot be opened or upgraded.
        """
        if cls.is_enabled():
            upgrade_storage()

    @classmethod
    def is_enabled(cls) -> bool:
        """Whether `MONITORING_DB_ENABLED` asks for a database."""
        return database_enabled(os.environ)

    @classmethod
    def health_check(cls) -> bool:
        """Whether the store that the environment names can be opened and read; why not goes to the log."""
        try:
            with Monitor.open() as monitor:
                monitor.alert_statistics()
        except F1monError:
            _log.exception("the store cannot be read")
            return False
        return True

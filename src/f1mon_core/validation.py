"""Moved to `f1mon_core.records.fields` and `f1mon_core.records.json_text`; this name stays until 1.0."""

from f1mon_core.records.fields import *  # noqa: F403
from f1mon_core.records.json_text import *  # noqa: F403

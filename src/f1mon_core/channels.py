"""Moved to `f1mon_core.delivery.channels`; this name stays until 1.0."""

from f1mon_core.delivery.channels import *  # noqa: F403

"""Channels of this machine: the console, a log file, a function."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import attrs

from f1mon_core.delivery.messages import Message
from f1mon_core.errors import DeliveryError
from f1mon_core.records.kinds import Alert
from f1mon_core.text import one_line

LOG_NAME = "alert_log.txt"


@attrs.define
class ConsoleChannel:
    """Writes each message to a stream, the process's stderr if None; what it cannot encode is escaped."""

    stream: TextIO | None = None

    def send(self, message: Message) -> None:
        """Write the message's text."""
        stream = self.stream or sys.stderr
        if stream is None:
            raise DeliveryError("this process has no console", retry=False)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(f"{message.text}\n\n".encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


@attrs.define
class FileChannel:
    """Appends one line for each alert of a message to a log file, whose directory is made when it is needed."""

    path: Path = attrs.field(converter=Path)

    def send(self, message: Message) -> None:
        """Append the lines in one write, so that those of several processes do not mix."""
        if message.alerts:
            lines = [_log_line(alert, one) for alert, one in zip(message.alerts, message.lines, strict=False)]
        else:
            lines = [_log_line(message.alert, message.subject)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = os.open(self.path, flags, 0o644)
        try:
            left = "".join(lines).encode()
            while left:
                left = left[os.write(descriptor, left) :]
        finally:
            os.close(descriptor)


def _log_line(alert: Alert, subject: str) -> str:
    parts = (
        "" if alert.at is None else alert.at.isoformat(),
        subject,
        one_line(alert.message),
        one_line(f"model {alert.model_version}"),
        one_line(f"alert {alert.alert_id}"),
    )
    return f"{' | '.join(parts)}\n"


@attrs.define
class CallbackChannel:
    """Calls a function of this process with the alert."""

    callback: Callable[[Alert], Any]

    def send(self, message: Message) -> None:
        """Call it; what it raises counts as a failed delivery."""
        self.callback(message.alert)

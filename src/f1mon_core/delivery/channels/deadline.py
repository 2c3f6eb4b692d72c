"""An end for one send: timeouts go by socket operation, and a server that drips a byte at a time meets each of them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self


class Deadline:
    """Cuts the connections it watches when its time is over; a context manager around one send.

    A cut connection fails the send with an error of its own kind; `passed` says that the time was the reason.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._watched: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    @property
    def passed(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._end

    def watch(self, connection: socket.socket) -> socket.socket:
        """Watch a connection that has just been made, before TLS is spoken on it. Raises `TimeoutError` if too late."""
        with self._lock:
            # A duplicate stays valid when TLS takes the socket over, and is never another file's descriptor.
            self._watched.append(connection.dup())
        if self.passed:
            connection.close()
            raise TimeoutError(f"not done after {self._seconds:g} seconds")
        return connection

    def _cut(self) -> None:
        with self._lock:
            for one in self._watched:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for one in self._watched:
                one.close()
            self._watched.clear()

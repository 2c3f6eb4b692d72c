"""A TCP proxy that loses the answer to a COMMIT, so that the client cannot know whether it happened."""

from __future__ import annotations

import random
import socket
import threading
from contextlib import suppress
from typing import Literal, Self

Cut = Literal["before", "after"]


class CuttingProxy:
    """Forwards to a server, and cuts the connection around some of the commits it sees.

    Attributes:
        cuts: How often it cut before the server saw the commit, and after it had answered.
    """

    def __init__(self, host: str, port: int, *, rate: float, seed: int = 0) -> None:
        """Listen on a free loopback port; `rate` of the commits are cut, drawn with `seed`."""
        self.target = (host, port)
        self.rate = rate
        self.cuts: dict[Cut, int] = {"before": 0, "after": 0}
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._shut(self._listener)
        with self._lock:
            open_sockets = list(self._sockets)
        for one in open_sockets:
            self._shut(one)
        for thread in self._threads:
            thread.join(10)

    def _spawn(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    @staticmethod
    def _shut(one: socket.socket) -> None:
        with suppress(OSError):  # where it was not connected any more, that is what we want
            one.shutdown(socket.SHUT_RDWR)
        one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the listener was closed
            server = socket.create_connection(self.target)
            with self._lock:
                self._sockets |= {client, server}
            answer_lost = threading.Event()
            self._spawn(self._to_server, client, server, answer_lost)
            self._spawn(self._to_client, client, server, answer_lost)

    def _drawn(self) -> Cut | None:
        with self._lock:
            if self._random.random() >= self.rate:
                return None
            cut: Cut = self._random.choice(["before", "after"])
            self.cuts[cut] += 1
            return cut

    def _to_server(self, client: socket.socket, server: socket.socket, answer_lost: threading.Event) -> None:
        try:
            while piece := client.recv(65536):
                cut = self._drawn() if b"COMMIT" in piece.upper() else None
                if cut == "before":
                    break
                if cut == "after":
                    answer_lost.set()
                server.sendall(piece)
                if cut == "after":
                    return  # the other direction cuts once the server has answered
        except OSError:
            pass  # either side is gone: so is the connection
        self._shut(client)
        self._shut(server)

    def _to_client(self, client: socket.socket, server: socket.socket, answer_lost: threading.Event) -> None:
        try:
            while piece := server.recv(65536):
                if answer_lost.is_set():
                    break
                client.sendall(piece)
        except OSError:
            pass  # either side is gone: so is the connection
        self._shut(client)
        self._shut(server)

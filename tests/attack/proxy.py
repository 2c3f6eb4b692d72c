"""A TCP proxy that cuts connections when it is told to, in the midst of whatever is said."""

import contextlib
import random
import socket
import struct
import threading


class Proxy:
    """Forwards what comes to a port of its own; `cut` resets one of the connections that are open."""

    def __init__(self, host, port, seed):
        self._target = (host, port)
        self._chosen = random.Random(seed)
        self._pairs = set()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listening.accept()
                pair = client, socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                self._pairs.add(pair)
            for source, sink in (pair, pair[::-1]):
                threading.Thread(target=self._forward, args=(source, sink, pair), daemon=True).start()

    def _forward(self, source, sink, pair):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
        self._close(pair)

    def _close(self, pair):
        with self._lock:
            if pair not in self._pairs:
                return False
            self._pairs.discard(pair)
        for one in pair:
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        return True

    def cut(self):
        """Reset one connection; whether there was one."""
        with self._lock:
            pairs = sorted(self._pairs, key=id)
        return bool(pairs) and self._close(self._chosen.choice(pairs))

    def close(self):
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        while self.cut():
            pass

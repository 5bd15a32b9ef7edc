"""A server that goes away and comes back when told: its listener is closed and every connection with it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class OutageServer:
    """Answers every request with 200 while it is there; a thread for each connection."""

    def __init__(self) -> None:
        self._lock, self._clients, self._threads = threading.Lock(), set[socket.socket](), list[threading.Thread]()
        self._listener: socket.socket | None = None
        self.port = 0

    def come_back(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=512)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def go_away(self) -> None:
        with self._lock:
            listener, self._listener = self._listener, None
            for client in self._clients:
                with suppress(OSError):
                    client.shutdown(socket.SHUT_RDWR)
        if listener:
            listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _start(self, what: Callable[[socket.socket], None], sock: socket.socket) -> None:
        thread = threading.Thread(target=what, args=(sock,), name="outage server")
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                with self._lock:
                    if self._listener is not listener:
                        client.close()
                        return
                    self._clients.add(client)
                self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        """Answer requests one by one; none has a body, and no client sends one before the last was answered."""
        with client, suppress(OSError):
            while client.recv(65536):
                client.sendall(ANSWER)
        with self._lock:
            self._clients.discard(client)


@contextmanager
def outage_server() -> Iterator[OutageServer]:
    """Serve until the block ends."""
    server = OutageServer()
    server.come_back()
    try:
        yield server
    finally:
        server.go_away()
        server.join()

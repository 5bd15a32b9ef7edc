"""`python -m scripts.benchmarks.chat_server PORT STAMPS`: streamed chat completions on a timetable, on one core.

Every stream has CHUNKS chunks, GAP apart, the first one GAP after the request; the last brings the end of the stream.
The chunks are prebuilt bytes, and each goes out by a send(2) of its own. On SIGTERM the server writes to STAMPS, for
each stream that came to its end, CHUNKS + 1 numbers (int64): the number in the request's `content`, and the
CLOCK_MONOTONIC time in ns just before each send. No event loop but epoll: the server must not be what is measured.
"""

from __future__ import annotations

import re
import select
import signal
import socket
import sys
from array import array
from collections import deque
from pathlib import Path
from time import monotonic_ns

CHUNKS = 20
GAP = 20_000_000  # ns
NS = 1_000_000_000
_NUMBER = re.compile(rb'"content": ?"(\d+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: ?(\d+)", re.IGNORECASE)
_EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"bench",'
    b'"choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":%s}]}\n\n'
)
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _framed(data: bytes) -> bytes:
    """Return one chunk of RFC 9112, section 7.1."""
    return b"%x\r\n%s\r\n" % (len(data), data)


_FIRST = _HEAD + _framed(_EVENT % b"null")
_MIDDLE = _framed(_EVENT % b"null")
_LAST = _framed(_EVENT % b'"stop"' + b"data: [DONE]\n\n") + b"0\r\n\r\n"
PARTS = (_FIRST, *[_MIDDLE] * (CHUNKS - 2), _LAST)


class Stream:
    """One connection, and the stream it has out."""

    __slots__ = ("number", "rest", "send", "socket", "stamps")

    def __init__(self, connection: socket.socket) -> None:
        self.socket, self.send = connection, connection.send
        self.rest, self.number = b"", 0
        self.stamps: list[int] = []


class Server:
    """Everything the process has."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._epoll = select.epoll()
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._streams: dict[int, Stream] = {}
        self._due: list[deque[tuple[int, Stream]]] = [deque() for _ in PARTS]  # sorted: all keep one timetable
        self._running = True
        self.stamps = array("q")

    def stop(self, *_: object) -> None:
        """End `serve` (a signal handler)."""
        self._running = False

    def serve(self) -> None:
        """Answer until stopped."""
        while self._running:
            self._wait()
            for descriptor, _ in self._epoll.poll(0):
                if stream := self._streams.get(descriptor):
                    self._read(stream)
                else:
                    self._accept()
            self._send_due()

    def _wait(self) -> None:
        """Sleep until a request or the next chunk; select(2) counts microseconds where epoll_wait(2) rounds to ms."""
        next_due = min((queue[0][0] for queue in self._due if queue), default=monotonic_ns() + NS // 10)
        left = next_due - monotonic_ns()
        if left > 0:
            select.select([self._epoll], [], [], left / NS)

    def _accept(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._streams[connection.fileno()] = Stream(connection)
                self._epoll.register(connection.fileno(), select.EPOLLIN)
        except BlockingIOError:
            return

    def _read(self, stream: Stream) -> None:
        data = self._received(stream)
        if not data:
            self._close(stream)
            return
        stream.rest += data
        head, end, body = stream.rest.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or not length or len(body) < int(length[1]):
            return
        stream.rest = b""
        number = _NUMBER.search(body)
        stream.number = int(number[1]) if number else -1
        self._due[0].append((monotonic_ns() + GAP, stream))

    @staticmethod
    def _received(stream: Stream) -> bytes:
        try:
            return stream.socket.recv(65536)
        except ConnectionError:
            return b""

    def _send_due(self) -> None:
        """Send what is due, the latest chunk of the oldest stream first."""
        for part in reversed(range(CHUNKS)):
            queue = self._due[part]
            now = monotonic_ns()
            while queue and queue[0][0] <= now:
                due, stream = queue.popleft()
                now = monotonic_ns()
                stream.stamps.append(now)
                try:
                    stream.send(PARTS[part])
                except OSError:  # the client went away
                    continue
                if part + 1 < CHUNKS:
                    self._due[part + 1].append((due + GAP, stream))
                else:
                    self._ended(stream)

    def _ended(self, stream: Stream) -> None:
        self.stamps.append(stream.number)
        self.stamps.extend(stream.stamps)
        stream.stamps.clear()

    def _close(self, stream: Stream) -> None:
        del self._streams[stream.socket.fileno()]
        self._epoll.unregister(stream.socket.fileno())
        stream.socket.close()


def main() -> None:
    """Serve until SIGTERM, then write the stamps."""
    server = Server(int(sys.argv[1]))
    signal.signal(signal.SIGTERM, server.stop)
    server.serve()
    Path(sys.argv[2]).write_bytes(server.stamps.tobytes())


if __name__ == "__main__":
    main()

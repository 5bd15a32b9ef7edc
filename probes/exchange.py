"""A connection of `wire` that keeps what it receives: the head of an answer, and its body piece by piece.

The token of each request is an `Exchange`. Whoever waits for it holds the body back by not reading: above HIGH bytes
that nobody took, the connection stops to read from the socket, and TCP tells the server.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum, auto
from time import monotonic_ns
from typing import cast

import httptools

from probes.endpoint import Endpoint
from probes.errors import ErrorKind
from probes.timer import Deadlines
from probes.wire import Connection, Owner

HIGH, LOW = 256 * 1024, 64 * 1024  # bytes


class Origin:
    """A place that requests go to, and the connections to it that lie idle, the one used last at the end."""

    __slots__ = ("endpoint", "idle")

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.idle: dict[ExchangeConnection, None] = {}


class Upload(Enum):
    """How it stands with a body that is made while it is sent."""

    NONE = auto()
    """There is none, or all of it is sent."""
    ON = auto()
    CUT_SHORT = auto()
    """The answer was an error, and the rest is not sent: the connection can't be used again."""


class Exchange:
    """One request and its answer. The attributes of the head are there once `head` is done; it never has an exception.

    `error` is None until the answer is complete (OK) or broken off. `changed` is set while somebody waits for more.
    `head_only`: it is a HEAD; `resent`: it was sent before, on a connection that turned out to be closed.
    """

    __slots__ = (
        "cause", "changed", "chunks", "error", "head", "head_only", "headers", "reason", "resent", "status", "unread",
        "upload", "version",
    )  # fmt: skip

    def __init__(
        self, loop: asyncio.AbstractEventLoop, head_only: bool, upload: Upload = Upload.NONE, resent: bool = False
    ) -> None:
        self.head_only, self.upload, self.resent = head_only, upload, resent
        self.head: asyncio.Future[None] = loop.create_future()
        self.changed: asyncio.Future[None] | None = None
        self.chunks: deque[bytes] = deque()
        self.headers: list[tuple[bytes, bytes]] = []
        self.error: ErrorKind | None = None
        self.cause: BaseException | None = None
        self.reason, self.version = b"", "1.1"
        self.status = self.unread = 0

    def end(self, error: ErrorKind, cause: BaseException | None) -> None:
        """Take note of how it ended, and of the exception behind that."""
        self.error, self.cause = error, cause
        self.wake()

    def wake(self) -> None:
        """Let whoever waits look again."""
        if not self.head.done() and (self.status or self.error is not None):
            self.head.set_result(None)
        if self.changed is not None and not self.changed.done():
            self.changed.set_result(None)


class ExchangeConnection(Connection):
    """A connection whose tokens are exchanges. `idle_since` (ns) is for its users to set.

    `writable` is set while the socket takes no more, and done once it does again, or the connection is gone.
    """

    __slots__ = ("_deadlines", "_paused", "exchange", "idle_since", "made", "origin", "writable")

    def __init__(self, origin: Origin, owner: Owner) -> None:
        super().__init__(origin.endpoint, owner)
        self.origin, self.idle_since = origin, 0
        self.exchange: Exchange
        self.made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writable: asyncio.Future[None] | None = None
        self._deadlines: Deadlines[ExchangeConnection] | None = None
        self._paused = False

    def exchange_for(self, request: bytes, exchange: Exchange) -> None:
        """Send a request, whose answer goes into an exchange."""
        self.exchange, self.head_only = exchange, exchange.head_only
        self.send(request, exchange, monotonic_ns())

    # --- reading ------------------------------------------------------------------------------------------------------

    def watch(self, deadlines: Deadlines[ExchangeConnection] | None) -> None:
        """Give it until a deadline, which every packet sets back; None is no deadline."""
        self._deadlines = deadlines
        if deadlines is not None:
            deadlines.add(self, monotonic_ns())

    def unwatch(self) -> None:
        """Wait for no deadline any more."""
        if self._deadlines is not None:
            self._deadlines.discard(self)
            self._deadlines = None

    def data_received(self, data: bytes) -> None:
        """Take a packet; it came in time."""
        super().data_received(data)
        if self._deadlines is not None:  # it is still waited for
            self._deadlines.discard(self)
            self._deadlines.add(self, monotonic_ns())

    def on_message_begin(self) -> None:
        """Forget the head of an interim answer (httptools calls this)."""
        if not self.exchange.status:
            self.exchange.headers, self.exchange.reason = [], b""

    def on_status(self, reason: bytes) -> None:
        """Keep the reason phrase, which may come in parts (httptools calls this)."""
        if not self.exchange.status:
            self.exchange.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are not kept (httptools calls this)."""
        if not self.exchange.status:
            self.exchange.headers.append((name, value.rstrip(b" \t")))  # RFC 9112, section 5.1

    def on_headers_complete(self) -> None:
        """Hand the head over, unless it is an interim one (httptools calls this)."""
        parser, exchange = cast("httptools.HttpResponseParser", self._parser), self.exchange
        status = parser.get_status_code()
        if status >= 200 and not exchange.status:
            exchange.status, exchange.version = status, parser.get_http_version()
            exchange.wake()
        super().on_headers_complete()

    def on_body(self, data: bytes) -> None:
        """Keep a piece of the body (httptools calls this)."""
        if self._complete:  # of a second answer to one request
            return
        exchange = self.exchange
        exchange.chunks.append(data)
        exchange.unread += len(data)
        if exchange.unread > HIGH and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        exchange.wake()

    def take(self, exchange: Exchange) -> bytes:
        """Return the next piece of an exchange's body, of which there must be one."""
        data = exchange.chunks.popleft()
        exchange.unread -= len(data)
        if self._paused and exchange.unread < LOW and exchange is self.token:
            self.resume()
        return data

    def resume(self) -> None:
        """Read from the socket again, if it does not."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        self._paused = False

    # --- writing ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Tell who waits to write."""
        super().connection_made(transport)
        if not self.made.done():
            self.made.set_result(None)

    def write(self, data: bytes) -> None:
        """Send more of a request that was begun."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def uploaded(self) -> None:
        """Take note that the body is sent: where the answer was complete before that, only now it is free again."""
        self.exchange.upload = Upload.NONE
        if self.token is None and not self._gone:
            self._owner.idle(self)

    def pause_writing(self) -> None:
        """Note that the socket takes no more for now (asyncio calls this)."""
        self.writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Note that it does (asyncio calls this)."""
        self._wake_writer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nobody wait for a connection that is gone."""
        super().connection_lost(exc)
        self._wake_writer()

    def _wake_writer(self) -> None:
        if self.writable is not None and not self.writable.done():
            self.writable.set_result(None)
        self.writable = None

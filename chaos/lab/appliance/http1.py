"""HTTP/1.1 over asyncio.Protocol and httptools: the server side and the client side that every part shares.

The server gives each request to a handler as an `Exchange`, which the handler answers whole (`respond`) or in chunks
(`start`, `send`, `end`), now or later. The client keeps connections in a `Pool` and reports an answer's pieces to a
`Receiver`. Framing follows RFC 9112; llhttp, below httptools, refuses what is ambiguous.

The decision a reader would question: callbacks instead of `await` on the path of a request. A task costs more than all
the rest of what the gateway does for one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol, cast

import httptools

log = logging.getLogger(__name__)

MAX_HEAD = 32 * 1024
MAX_BODY = 4 * 1024 * 1024
MAX_UNREAD = 1024 * 1024
"""Bytes. A client that lets this much of its answers lie unread is cut off."""
MAX_PIPELINED = 16
IDLE_TIMEOUT = 75.0
"""s that a server connection may be silent. Longer than POOL_IDLE: a client should be the one to close an idle one."""
REQUEST_TIMEOUT = 20.0
"""s that a request may take to arrive."""
POOL_IDLE = 60.0

Headers = list[tuple[bytes, bytes]]
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


def _status_line(status: int) -> bytes:
    return _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


class Refused(Exception):
    """A request that is answered with an error before a handler sees it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


# --- server -----------------------------------------------------------------------------------------------------------


class Exchange:
    """One request and its answer. Header names are as they came; the `headers` of an answer are rendered lines."""

    __slots__ = ("_chunked", "_connection", "body", "headers", "keep_alive", "method", "on_gone", "path")

    def __init__(
        self, connection: ServerConnection, method: str, path: str, headers: Headers, body: bytes, keep_alive: bool
    ) -> None:
        self._connection = connection
        self._chunked = False
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.keep_alive = keep_alive
        self.on_gone: Callable[[], None] | None = None
        """Called when the client's connection is lost before the answer is complete."""

    def respond(self, status: int, body: bytes, headers: bytes = b"content-type: application/json\r\n") -> None:
        """Answer whole."""
        shown = b"" if self.method == "HEAD" else body
        length = b"content-length: %d\r\n" % len(body)
        self._write(b"".join((self._head(status), headers, length, b"\r\n", shown)))
        self._connection.finish(self)

    def start(self, status: int, headers: bytes) -> None:
        """Begin an answer of unknown length."""
        self._chunked = self._connection.speaks_chunked
        self.keep_alive = self.keep_alive and self._chunked
        framing = b"transfer-encoding: chunked\r\n\r\n" if self._chunked else b"\r\n"
        self._write(b"".join((self._head(status), headers, framing)))

    def send(self, data: bytes) -> None:
        """Send a piece of an answer that was started; `data` is not empty."""
        self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def end(self) -> None:
        """Complete an answer that was started."""
        if self._chunked:
            self._write(b"0\r\n\r\n")
        self._connection.finish(self)

    def abort(self) -> None:
        """Cut the connection: the client sees that the answer it was getting is not complete."""
        self._connection.abort()

    def _head(self, status: int) -> bytes:
        if not self.keep_alive or self._connection.server.draining:
            self.keep_alive = False
            return _status_line(status) + self._connection.server.date + b"connection: close\r\n"
        return _status_line(status) + self._connection.server.date

    def _write(self, data: bytes) -> None:
        self._connection.write(data)


class ServerConnection(asyncio.Protocol):
    """A client's connection: parses, queues pipelined requests, and lets one exchange at a time run.

    A client that closes its sending half counts as gone, as with most servers: it can't be told from one that left.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.heard = server.now
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[Exchange] = deque()
        self._current: Exchange | None = None
        self._refusal: Refused | None = None
        self._receiving = self._serving = self._paused = False

    @property
    def speaks_chunked(self) -> bool:
        """Whether the client knows chunked framing (HTTP/1.1)."""
        return self._parser.get_http_version() != "1.0"

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return self._current is not None

    def write(self, data: bytes) -> None:
        """Write, unless the client is gone; cut off one that does not read."""
        transport = self._transport
        if transport is None:
            return
        transport.write(data)
        if transport.get_write_buffer_size() > MAX_UNREAD:
            transport.abort()

    def finish(self, exchange: Exchange) -> None:
        """Let the next exchange run: this one's answer is complete."""
        self._current = None
        self.heard = self.server.now
        if not exchange.keep_alive:
            self.close()
        elif not self._serving:
            self._serve()

    def close(self) -> None:
        """Close when what was written is sent."""
        self._queue.clear()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close now."""
        if self._transport is not None:
            self._transport.abort()

    def overdue(self, now: float) -> bool:
        """Whether the client has been silent too long, between requests or within one."""
        return not self.busy and now - self.heard > (REQUEST_TIMEOUT if self._receiving else IDLE_TIMEOUT)

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the server's connections."""
        self._transport = cast(asyncio.Transport, transport)
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave, and tell whoever is working on an answer."""
        del exc
        self._transport = None
        self.server.connections.discard(self)
        self._queue.clear()
        current, self._current = self._current, None
        if current is not None and current.on_gone is not None:
            current.on_gone()

    def data_received(self, data: bytes) -> None:
        """Parse, then serve what is complete."""
        if self._refusal is not None:
            return
        if not self._receiving:
            self.heard = self.server.now
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if not isinstance(cause, Refused):
                raise
            self._refusal = cause
        except httptools.HttpParserUpgrade:
            self._refusal = Refused(501, "the protocol can't be changed on this connection")
        except httptools.HttpParserError as error:
            self._refusal = Refused(400, f"not a request: {error}")
        if not self._serving:
            self._serve()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """Make room for a request."""
        self._receiving, self._in_head = True, True
        self._url, self._headers, self._body, self._size = b"", cast(Headers, []), b"", 0

    def on_url(self, url: bytes) -> None:
        """Collect the target; it may come in pieces."""
        self._url += url
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; a trailer only counts."""
        if self._in_head:
            self._headers.append((name, value))
        self._grow(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """Answer `Expect: 100-continue`."""
        self._in_head = False
        if any(name.lower() == b"expect" for name, _ in self._headers) and not self.busy:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Collect a piece of the body."""
        if len(self._body) + len(data) > MAX_BODY:
            raise Refused(413, f"a body is {MAX_BODY} bytes at most")
        self._body = self._body + data if self._body else data

    def on_message_complete(self) -> None:
        """Queue the request: the handler must not run inside the parser."""
        self._receiving = False
        if self._parser.should_upgrade():
            return
        method, path = self._parser.get_method().decode("latin-1"), self._url.partition(b"?")[0].decode("latin-1")
        keep_alive = self._parser.should_keep_alive()
        self._queue.append(Exchange(self, method, path, self._headers, self._body, keep_alive))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_HEAD:
            raise Refused(431, f"request line and headers are {MAX_HEAD} bytes at most")

    def _serve(self) -> None:
        """Run queued exchanges until one does not answer at once; a loop, for a client may have pipelined thousands."""
        self._serving = True
        while self._current is None and self._queue:
            self._current = exchange = self._queue.popleft()
            self.server.run(exchange)
        self._serving = False
        if self._transport is not None:
            self._settle(self._transport)

    def _settle(self, transport: asyncio.Transport) -> None:
        if self._paused != (len(self._queue) > MAX_PIPELINED):
            self._paused = not self._paused
            (transport.pause_reading if self._paused else transport.resume_reading)()
        if self._current is None and self._refusal is not None:
            self._refuse(self._refusal)
        elif self._current is None and self.server.draining:
            self.close()

    def _refuse(self, refusal: Refused) -> None:
        body = self.server.render_error(refusal.status, refusal.message)
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.write(_status_line(refusal.status) + self.server.date + head + body)
        self.close()


class Server:
    """Listens, and gives each request to `handle`; an exception there is logged and cuts the connection."""

    def __init__(self, handle: Callable[[Exchange], None], render_error: Callable[[int, str], bytes]) -> None:
        self._handle, self.render_error = handle, render_error
        self.connections: set[ServerConnection] = set()
        self.draining = False
        self.now = time.monotonic()
        self.date = b""
        self._tick()

    async def serve(self, stopped: asyncio.Event, drain: Callable[[], float], **where: object) -> None:
        """Serve until `stopped`, then give requests in progress `drain()` s. `where`: as asyncio's create_server."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(lambda: ServerConnection(self), backlog=1024, **where)  # type: ignore[call-overload]
        ticking = asyncio.create_task(self._keep_ticking())
        await stopped.wait()
        listener.close()
        await self._drain(drain())
        ticking.cancel()

    def run(self, exchange: Exchange) -> None:
        """Let the handler have an exchange."""
        try:
            self._handle(exchange)
        except Exception:
            log.exception("%s %s", exchange.method, exchange.path)
            exchange.abort()

    async def _keep_ticking(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self._tick()

    def _tick(self) -> None:
        """Once a second: the Date header's text, and the end of connections that only lie there."""
        self.now = time.monotonic()
        self.date = time.strftime("date: %a, %d %b %Y %H:%M:%S GMT\r\n", time.gmtime()).encode()
        for connection in [c for c in self.connections if c.overdue(self.now)]:
            connection.abort()

    async def _drain(self, seconds: float) -> None:
        self.draining = True
        for connection in [c for c in self.connections if not c.busy]:
            connection.close()
        deadline = time.monotonic() + seconds
        while self.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(0)  # so that the transports close before the loop does


# --- client -----------------------------------------------------------------------------------------------------------


class Receiver(Protocol):
    """Who gets an answer. After `on_end` or `on_lost` nothing more comes."""

    def on_head(self, status: int, headers: Headers) -> None:
        """The status and the headers."""

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""

    def on_end(self) -> None:
        """The answer is complete."""

    def on_lost(self, why: str) -> None:
        """The connection ended, or what came was no HTTP, before the answer was complete."""


class ClientConnection(asyncio.Protocol):
    """A connection to a server, with one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._receiver: Receiver | None = None
        self._headers: Headers = []
        self.idle_since = 0.0

    def send(self, request: bytes, receiver: Receiver) -> None:
        """Send a whole request; its answer goes to the receiver."""
        assert self._transport is not None
        self._receiver = receiver
        self._transport.write(request)

    @property
    def usable(self) -> bool:
        """Whether the connection is open, as far as this side knows."""
        return self._transport is not None and not self._transport.is_closing()

    def abort(self) -> None:
        """Cut the connection; its receiver hears nothing more."""
        self._receiver = None
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver, if there is one."""
        self._transport = None
        self._pool.forget(self)
        self._lose(f"connection lost: {exc or 'closed by the other side'}")

    def data_received(self, data: bytes) -> None:
        """Parse; anything that no request asked for ends the connection."""
        try:
            if self._receiver is None:
                raise httptools.HttpParserError("data without a request")
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if isinstance(error, httptools.HttpParserCallbackError):
                log.error("while taking an answer", exc_info=error.__context__)
            self._lose(f"not an answer: {error}")
            self.abort()

    def on_message_begin(self) -> None:
        """Make room for an answer."""
        self._headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Hand on the head, unless it is an interim one (1xx)."""
        status = self._parser.get_status_code()
        if self._receiver is not None and status >= 200:
            self._receiver.on_head(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """Hand on a piece."""
        if self._receiver is not None:
            self._receiver.on_body(data)

    def on_message_complete(self) -> None:
        """Go back to the pool, then tell the receiver."""
        receiver = self._receiver
        if receiver is None or self._parser.get_status_code() < 200:
            return
        self._receiver = None
        if self._parser.should_keep_alive():
            self._pool.give_back(self)
        else:
            self.abort()
        receiver.on_end()

    def _lose(self, why: str) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.on_lost(why)


class Pool:
    """Connections to one server. `take` gives a kept one at once; `connect` makes one."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self.authority = (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()
        """The value of the Host header."""
        self._idle: list[ClientConnection] = []
        self._open: set[ClientConnection] = set()

    def take(self) -> ClientConnection | None:
        """Return the kept connection used last, or None; one that may have gone stale is closed instead."""
        oldest = time.monotonic() - POOL_IDLE
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    async def connect(self, timeout: float) -> ClientConnection:
        """Open a connection within `timeout` s; raises OSError (TimeoutError among them)."""
        connecting = asyncio.get_running_loop().create_connection
        try:
            async with asyncio.timeout(timeout):
                _, connection = await connecting(lambda: ClientConnection(self), self._host, self._port)
        except TimeoutError:
            raise TimeoutError(f"no connection within {timeout:g} s") from None
        if not connection.usable:
            raise ConnectionResetError("closed by the other side as soon as it was open")
        self._open.add(connection)
        return connection

    def give_back(self, connection: ClientConnection) -> None:
        """Keep a connection whose answer is complete, unless `drop_idle` came since it was opened."""
        if connection in self._open:
            connection.idle_since = time.monotonic()
            self._idle.append(connection)
        else:
            connection.abort()

    def forget(self, connection: ClientConnection) -> None:
        """Strike off a connection that ended."""
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def drop(self) -> None:
        """Close what is idle and keep nothing that is in use now: the server is no longer to be trusted."""
        idle, self._idle = self._idle, []
        self._open.clear()
        for connection in idle:
            connection.abort()

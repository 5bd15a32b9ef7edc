"""One HTTP/1.1 connection: bytes of a request in, the times and the fate of its answer out.

The owner (the load's open loop) makes a `Connection`, gives it one request at a time and is called back: `idle` when it
can take a request, `ended` when the request it holds has its outcome, `closed` once when it takes no more, also when
it never opened. Nothing here retries, waits for a free connection, or keeps a timer: the owner says `give_up`.

Times are stamped when the bytes are handed to this process: `sent` as the owner began (before connecting, where the
connection had to be opened for it: connecting is part of the target's service), `first` and `end` on the first and
last packet of the answer. `received` counts all bytes of the answer as they came, head included.

`stale_connection` is told from a server that died over a request by asking the kernel what the other side had
acknowledged (TCP_INFO, tcp(7)): a server that closes an idle connection just as a request is on its way never
acknowledges it. Clients commonly guess here, by "reused and no byte came back", which would excuse a crashed server.
A reset without a FIN before it is a `reset` in any case: the kernel does not say what it had acknowledged by then.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
import ssl
import struct
import sys
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any, Protocol, cast

import httptools

from probes.endpoint import Endpoint
from probes.errors import ErrorKind

_FRAMED = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)
_LOCAL = {errno.EADDRNOTAVAIL, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_TCP_INFO_BYTES = 232
# struct tcp_info of linux/tcp.h (its layout is fixed; fields are only ever added): tcpi_bytes_acked at 120 (Linux 4.1),
# tcpi_bytes_sent and tcpi_bytes_retrans at 200 (Linux 4.19).
_BYTES_ACKED, _BYTES_SENT = struct.Struct("@Q"), struct.Struct("@QQ")


class Owner(Protocol):
    """Who uses connections."""

    def idle(self, connection: Connection) -> None:
        """Take note that the connection can be given a request."""

    def ended(self, connection: Connection, error: ErrorKind) -> None:
        """Read the outcome of the request from the connection's attributes; they last until its next request."""

    def closed(self, connection: Connection) -> None:
        """Take note that the connection is gone; called once for each."""


class Connection(asyncio.Protocol):
    """One connection, from before it is opened until it is gone. `token` is the owner's, for the request it holds.

    `first_token`, `tokens` and `chunks` stay empty here; `streams` fills them. `cause` is the exception behind an
    error, where there is one; `stamp` is when the packet that is being read came.
    """

    __slots__ = (
        "_complete",
        "_connecting",
        "_endpoint",
        "_gone",
        "_head",
        "_in_head",
        "_keep",
        "_kept_alive",
        "_limit",
        "_owner",
        "_parser",
        "_request",
        "_transport",
        "cause",
        "chunks",
        "end",
        "first",
        "first_token",
        "head_only",
        "received",
        "sent",
        "stamp",
        "status",
        "token",
        "tokens",
    )

    def __init__(self, endpoint: Endpoint, owner: Owner, *, head_only: bool = False, limit: int = sys.maxsize) -> None:
        """`head_only`: requests are HEAD, whose answers have no body whatever their Content-Length says.

        `limit`: the most bytes of an answer, head included.
        """
        self._endpoint, self._owner, self.head_only, self._limit = endpoint, owner, head_only, limit
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._request: bytes | None = None
        self._kept_alive = self._complete = self._keep = self._in_head = self._gone = False
        self._head = b""
        self.token: Any = None
        self.sent = self.first = self.end = self.received = self.status = self.first_token = self.tokens = 0
        self.stamp = 0
        self.chunks: Sequence[int] = ()
        self.cause: BaseException | None = None

    # --- what the owner calls -----------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begin to connect. A request given before that is through is sent as soon as it is."""
        self._connecting = asyncio.get_running_loop().create_task(self._connect())

    def send(self, request: bytes, token: object, now: int) -> None:
        """Send one request; `token` (not None) is kept for the owner until `ended`, `now` becomes `sent`."""
        self.token, self.sent = token, now
        self.first = self.end = self.received = self.status = 0
        self._complete, self._in_head, self._head = False, True, b""
        self._kept_alive = self._transport is not None
        if self._transport is None:
            self._request = request
        else:
            self._transport.write(request)

    def give_up(self, error: ErrorKind) -> None:
        """End the request it holds, if any, with this error, and close."""
        self._end(error, monotonic_ns())
        if self._transport is not None:
            self._abort()
        elif self._connecting is not None:
            self._connecting.cancel()
            self._retire()  # now: a task that is cancelled before its first step runs nothing

    @property
    def opened(self) -> bool:
        """Whether connecting is over, well or badly."""
        return self._gone or self._transport is not None

    def extra(self, name: str) -> Any:
        """Return what asyncio knows of an open connection (BaseTransport.get_extra_info); None of one that is not."""
        return None if self._transport is None else self._transport.get_extra_info(name)

    # --- connecting ---------------------------------------------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            await self._endpoint.connect(self)
        except (OSError, ValueError, OverflowError, asyncio.CancelledError) as error:  # of hosts and ports as well
            self.cause = error.with_traceback(None)  # whose frames would hold this connection in a cycle
            self._not_connected(why_not_connected(error))
        self._connecting = None

    def _not_connected(self, error: ErrorKind) -> None:
        if self._transport is None:  # else connection_lost says so
            self._end(error, monotonic_ns())
            self._retire()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request that waited for this, or offer the connection."""
        self._transport = cast("asyncio.Transport", transport)
        if self._gone:  # given up in the very moment it was made
            self._transport.abort()
            return
        self._parser = httptools.HttpResponseParser(self)
        request, self._request = self._request, None
        if request is not None:
            self._transport.write(request)
        elif self.token is None:
            self._owner.idle(self)

    # --- the answer ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Stamp and parse; whatever comes while no request is out makes the connection useless."""
        self.stamp = now = monotonic_ns()
        if self.token is None or self._parser is None:
            self._abort()
            return
        if not self.first:
            self.first = now
        self.received += len(data)
        if self._in_head:
            self._head += data
        self._feed(data, now)

    def _feed(self, data: bytes, now: int) -> None:
        clean = True
        try:
            cast("httptools.HttpResponseParser", self._parser).feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            clean = False
        if self._complete:  # what came behind a complete answer spoils the connection, not the answer
            self._finish(now, keep=clean and self._keep)
        elif not clean:
            self._break_off(ErrorKind.MALFORMED, now)
        elif self.received > self._limit:
            self._break_off(ErrorKind.TOO_LARGE, now)

    def on_headers_complete(self) -> None:
        """Stop keeping the head (httptools calls this)."""
        self._in_head = False
        if self.head_only:
            self.on_message_complete()

    def on_message_complete(self) -> None:
        """Note a final answer; 1xx are interim ones (httptools calls this)."""
        parser = cast("httptools.HttpResponseParser", self._parser)
        status = parser.get_status_code()
        if status < 200:
            self._in_head, self._head = True, self._head.partition(b"\r\n\r\n")[2]
        elif not self._complete:
            self._complete, self.status, self._keep = True, status, parser.should_keep_alive()
        elif not self.head_only:  # a second answer to one request
            self._keep = False

    def _finish(self, now: int, keep: bool) -> None:
        self._end(self.complete(), now)
        if not keep:
            self._abort()
            return
        if self.head_only:  # its parser still waits for the body that a HEAD does not have
            self._parser = httptools.HttpResponseParser(self)
        self._owner.idle(self)

    def complete(self) -> ErrorKind:
        """Return what an answer that is framed completely comes to; whoever reads bodies may know better."""
        return ErrorKind.OK

    def _break_off(self, error: ErrorKind, now: int) -> None:
        self._end(error, now)
        self._abort()

    def _end(self, error: ErrorKind, now: int) -> None:
        """Report the outcome of the request it holds, if it holds one."""
        if self.token is not None:
            self.end = now
            self._owner.ended(self, error)
            self.token = None

    # --- the end of the connection ------------------------------------------------------------------------------------

    def eof_received(self) -> None:
        """Take the server's FIN: it ends an answer that has no length, and breaks off any other."""
        if self.token is not None:
            self._end_at_eof(monotonic_ns())
        self._retire()

    def _end_at_eof(self, now: int) -> None:
        if self.first and not self._in_head and not _FRAMED.search(self._head.partition(b"\r\n\r\n")[0]):
            self.status = cast("httptools.HttpResponseParser", self._parser).get_status_code()
            self._end(self.complete(), now)
        else:
            self._end(self._why_closed(ErrorKind.CLOSED_EARLY), now)

    def connection_lost(self, exc: Exception | None) -> None:
        """Report what is still out, and let go of everything: with the collector off, a cycle would stay for good."""
        if self.token is not None:
            self.cause = exc
            self._end(self._why_closed(_why_lost(exc)), monotonic_ns())
        self._retire()
        self._transport = self._parser = None

    def _why_closed(self, otherwise: ErrorKind) -> ErrorKind:
        fresh = self._transport is None or not self._kept_alive or self.first
        if otherwise is not ErrorKind.CLOSED_EARLY or fresh:
            return otherwise
        if self._endpoint.unix_socket is not None:  # EPIPE: it was closed before; else what was sent may have been read
            unread = isinstance(self.cause, BrokenPipeError)
        else:
            unread = _unacknowledged(self.extra("socket"))
        return ErrorKind.STALE_CONNECTION if unread else otherwise

    def _abort(self) -> None:
        """Close at once; connection_lost follows."""
        self._retire()
        if self._transport is not None:
            self._transport.abort()

    def _retire(self) -> None:
        """Tell the owner, once, that this connection takes no request any more."""
        if not self._gone:
            self._gone = True
            self._owner.closed(self)


def why_not_connected(error: BaseException) -> ErrorKind:
    """Return the kind of a connection attempt that failed; the first match counts."""
    kinds: tuple[tuple[type[BaseException], ErrorKind], ...] = (
        (asyncio.CancelledError, ErrorKind.CANCELLED),
        (socket.gaierror, ErrorKind.DNS_FAILED),
        (UnicodeError, ErrorKind.DNS_FAILED),  # a name that IDNA can't encode
        (ssl.SSLError, ErrorKind.TLS_FAILED),
        (ConnectionRefusedError, ErrorKind.CONNECT_REFUSED),
        (TimeoutError, ErrorKind.CONNECT_TIMEOUT),
    )
    for kind, meaning in kinds:
        if isinstance(error, kind):
            return meaning
    local = isinstance(error, OSError) and error.errno in _LOCAL
    return ErrorKind.LOCAL_RESOURCES if local else ErrorKind.CONNECT_FAILED


def _why_lost(exc: Exception | None) -> ErrorKind:
    if exc is None or isinstance(exc, BrokenPipeError):  # EPIPE: a FIN had come before the RST that our bytes met
        return ErrorKind.CLOSED_EARLY
    return ErrorKind.RESET if isinstance(exc, ConnectionError) else ErrorKind.CONNECTION_LOST


def _unacknowledged(connected: socket.socket | None) -> bool:
    """Return whether bytes that were sent were never acknowledged; yes where the kernel does not say.

    Under TLS the socket may be gone before its owner hears of the end, and can't be asked then. tcpi_bytes_acked counts
    the SYN as one byte.
    """
    info = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES) if connected else b""
    if len(info) < 216:
        return True
    (acked,) = _BYTES_ACKED.unpack_from(info, 120)
    sent, again = _BYTES_SENT.unpack_from(info, 200)
    return bool(sent - again > acked - 1)

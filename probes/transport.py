"""`WireTransport`: the connections of `wire` under httpx's own interface.

    async with httpx.AsyncClient(transport=WireTransport()) as client:
        response = await client.get("http://gateway:8080/healthz")

It does what httpx.AsyncHTTPTransport does for HTTP/1.1 on asyncio: the same limits, timeouts, certificates and errors,
an answer that is streamed as it comes, a body that is streamed as it is made. It does not speak HTTP/2, does not go
through proxies, and takes no `trace` extension: httpx's own transport does.

A request that met a connection which the server had just closed is sent again, once, on a new one, where the kernel
says that the server never had it (`wire`), and its body can be had again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from functools import lru_cache
from time import monotonic_ns
from typing import Any, NamedTuple

import httpx

from probes.errors import ErrorKind
from probes.exchange import Exchange, ExchangeConnection, Origin
from probes.pool import Deadline, Pool
from probes.wire import Endpoint

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)
"""What httpx allows itself by default."""
_NO_TIMEOUTS: Mapping[str, float | None] = {}
_PORTS = {"http": 80, "https": 443}
_BACKOFF = 0.5  # s before the second attempt to connect, doubled for each one after it, as httpx does


class _Outgoing(NamedTuple):
    """A request, taken apart once.

    `body` is None where it is yet to be made; `timeouts` are httpx's connect, read, write and pool, in s or None.
    """

    request: httpx.Request
    origin: Origin
    head: bytes
    body: bytes | None
    timeouts: Mapping[str, float | None]


class WireTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 for `httpx.AsyncClient`; the arguments are those of httpx.AsyncHTTPTransport.

    `verify` is a context, or True for the system's authorities (False verifies nothing); `cert` one PEM file, or
    (certificate, key) or (certificate, key, password); `uds` the path of a unix socket; `retries` how often connecting
    is tried again.
    """

    def __init__(
        self,
        verify: ssl.SSLContext | bool = True,
        cert: str | tuple[str, str] | tuple[str, str, str] | None = None,
        trust_env: bool = True,
        limits: httpx.Limits = LIMITS,
        uds: str | None = None,
        retries: int = 0,
    ) -> None:
        self._verify, self._cert, self._trust_env = verify, cert, trust_env
        self._limits, self._uds, self._retries = limits, uds, retries
        self._context: ssl.SSLContext | None = None
        self._origins: dict[tuple[bytes, bytes, int | None, Any], Origin] = {}
        self._last_pool: Pool | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request and return its answer, whose body is still to be read.

        Raises the errors of httpx (httpx.TransportError).
        """
        pool = self._pool()
        outgoing = _Outgoing(
            request, self._origin(request), encode_head(request), buffered_body(request),
            request.extensions.get("timeout", _NO_TIMEOUTS),
        )  # fmt: skip
        for attempt in range(self._retries):
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await _exchanged(pool, outgoing)
            await asyncio.sleep(_BACKOFF * 2 ** (attempt - 1) if attempt else 0)
        return await _exchanged(pool, outgoing)

    async def aclose(self) -> None:
        """Close every connection."""
        if self._last_pool is not None:
            self._last_pool.close()
            self._last_pool = None

    def _pool(self) -> Pool:
        """Return the connections of the running loop; those of a loop that has ended are of no use."""
        if self._last_pool is None or self._last_pool.loop is not asyncio.get_running_loop():
            limits = self._limits
            self._origins = {}
            self._last_pool = Pool(limits.max_connections, limits.max_keepalive_connections, limits.keepalive_expiry)
        return self._last_pool

    def _origin(self, request: httpx.Request) -> Origin:
        """Return where a request goes; the same object for the same place, so that comparing is quick."""
        url, name = request.url, request.extensions.get("sni_hostname")
        key = (url.raw_scheme, url.raw_host, url.port, name)
        found = self._origins.get(key)
        if found is None:
            found = self._origins[key] = Origin(self._endpoint(request, name))
        return found

    def _endpoint(self, request: httpx.Request, server_name: Any) -> Endpoint:
        url = request.url
        if url.scheme not in _PORTS:
            what = f"scheme {url.scheme!r}" if url.scheme else "no scheme"
            raise httpx.UnsupportedProtocol(f"http and https can be sent; {url} has {what}", request=request)
        tls = self._tls() if url.scheme == "https" else None
        name = server_name.decode() if isinstance(server_name, bytes) else server_name
        host = url.raw_host.decode("ascii").strip("[]")
        return Endpoint(host, url.port or _PORTS[url.scheme], tls, self._uds, name)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = httpx.create_ssl_context(verify=self._verify, cert=self._cert, trust_env=self._trust_env)
            self._context.set_alpn_protocols(["http/1.1"])
        return self._context


async def _exchanged(pool: Pool, outgoing: _Outgoing) -> httpx.Response:
    """Send a request and return its answer with the body still to come."""
    connection = pool.connection(outgoing.origin) or await _waited_for(pool, outgoing)
    exchange = await _answered(pool, connection, outgoing)
    if exchange.error is ErrorKind.STALE_CONNECTION and outgoing.body is not None:
        connection = pool.fresh(outgoing.origin)
        exchange = await _answered(pool, connection, outgoing)
    if not exchange.status:
        raise error_of(exchange.error, exchange.cause, outgoing.request)
    return httpx.Response(
        exchange.status,
        headers=exchange.headers,
        stream=_body(pool, connection, exchange, outgoing),
        extensions={
            "http_version": b"HTTP/1.1" if exchange.version == "1.1" else b"HTTP/1.0",
            "reason_phrase": exchange.reason,
            "network_stream": NetworkStream(connection),
        },
    )


async def _waited_for(pool: Pool, outgoing: _Outgoing) -> ExchangeConnection:
    limit = outgoing.timeouts.get("pool")
    try:
        return await asyncio.wait_for(pool.wait_connection(outgoing.origin), limit)
    except TimeoutError as error:
        raise httpx.PoolTimeout(f"no connection was free within {limit:g} s", request=outgoing.request) from error


async def _answered(pool: Pool, connection: ExchangeConnection, outgoing: _Outgoing) -> Exchange:
    """Send a request; return when the head of the answer is there, or the exchange has failed."""
    exchange, body, timeouts = Exchange(pool.loop), outgoing.body, outgoing.timeouts
    connection.head_only = outgoing.request.method == "HEAD"
    fresh = not connection.opened
    connection.exchange_for(outgoing.head + body if body else outgoing.head, exchange)
    try:
        if fresh:
            await _connected(pool, connection, exchange, timeouts.get("connect"))
        if body is None:
            await _upload(connection, exchange, outgoing)
        if not exchange.head.done():
            connection.watch(pool.reads(timeouts.get("read")))
            await exchange.head
    except BaseException:  # cancelled, or the body's own error: what was half sent can't be used again
        connection.give_up(ErrorKind.CANCELLED)
        raise
    connection.unwatch()  # the body's time is counted while somebody waits for it
    return exchange


async def _connected(pool: Pool, connection: ExchangeConnection, exchange: Exchange, limit: float | None) -> None:
    """Return once it is open, or has failed, which the exchange then says."""
    deadlines = pool.connects(limit)
    if deadlines is not None:
        deadlines.add(connection, monotonic_ns())
    await asyncio.wait((connection.made, exchange.head), return_when=asyncio.FIRST_COMPLETED)
    if deadlines is not None:
        deadlines.discard(connection)


async def _upload(connection: ExchangeConnection, exchange: Exchange, outgoing: _Outgoing) -> None:
    """Send a body as it is made, for as long as there is no answer; a body cut short spoils the connection."""
    request, limit = outgoing.request, outgoing.timeouts.get("write")
    assert isinstance(request.stream, httpx.AsyncByteStream), "httpx's AsyncClient sees to that"
    chunked = request.headers.get("transfer-encoding", "").lower() == "chunked"
    connection.uploading = True
    async for data in request.stream:
        if exchange.head.done():
            return
        if data:
            connection.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
        try:
            await asyncio.wait_for(connection.drain(), limit)
        except TimeoutError as error:
            raise httpx.WriteTimeout(f"the server took nothing for {limit:g} s", request=request) from error
    if chunked:
        connection.write(b"0\r\n\r\n")
    connection.uploading = False


def _body(pool: Pool, connection: ExchangeConnection, exchange: Exchange, outgoing: _Outgoing) -> httpx.AsyncByteStream:
    """Return the body of an answer: as it is where all of it came with the head, else as it comes."""
    if exchange.error is ErrorKind.OK:
        return httpx.ByteStream(b"".join(exchange.chunks))
    reads = pool.reads(outgoing.timeouts.get("read"))
    return _Body(connection, exchange, reads, outgoing.request)


class _Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(
        self, connection: ExchangeConnection, exchange: Exchange, reads: Deadline | None, request: httpx.Request
    ) -> None:
        self._connection, self._exchange, self._reads, self._request = connection, exchange, reads, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        exchange = self._exchange
        while True:
            while exchange.chunks:
                yield self._connection.take(exchange)
            if exchange.error is ErrorKind.OK:
                return
            if exchange.error is not None:
                raise error_of(exchange.error, exchange.cause, self._request)
            await self._more()

    async def aclose(self) -> None:
        """Give the rest up, if there is any."""
        if self._exchange.error is None:
            self._connection.give_up(ErrorKind.CANCELLED)

    async def _more(self) -> None:
        exchange, connection = self._exchange, self._connection
        exchange.changed = asyncio.get_running_loop().create_future()
        connection.watch(self._reads)
        try:
            await exchange.changed
        finally:
            exchange.changed = None
            if connection.token is exchange:
                connection.unwatch()


class NetworkStream:
    """What httpx promises as `response.extensions["network_stream"]`, as far as it tells of a connection."""

    def __init__(self, connection: ExchangeConnection) -> None:
        self._connection = connection

    def get_extra_info(self, info: str) -> Any:
        """Return `client_addr`, `server_addr`, `socket` or `ssl_object`; None for what is not known."""
        names = {"client_addr": "sockname", "server_addr": "peername", "ssl_object": "ssl_object", "socket": "socket"}
        return self._connection.extra(names[info]) if info in names else None


def encode_head(request: httpx.Request) -> bytes:
    """Return the request line and the header fields. Raises LocalProtocolError for what would not be one request."""
    method, target = _start(request.method, request.extensions.get("target", request.url.raw_path))
    fields = request.headers.raw
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join([b"%b: %b\r\n" % field for field in fields]))
    if head.count(b"\n") != len(fields) + 2 or head.count(b"\r") != len(fields) + 2 or b"\0" in head:
        raise httpx.LocalProtocolError("a header field holds a line end or NUL, which would end it", request=request)
    return head


@lru_cache(maxsize=256)
def _start(method: str, target: bytes) -> tuple[bytes, bytes]:
    """Return the parts of a request line. Raises LocalProtocolError where a blank would make them others."""
    encoded = method.encode("ascii", "replace")
    if not encoded or not target or any(not 0x21 <= byte < 0x7F for byte in encoded + target):
        raise httpx.LocalProtocolError(f"{method!r} {target!r} can't stand in a request line")
    return encoded, target


def buffered_body(request: httpx.Request) -> bytes | None:
    """Return a body that is in memory, or None for one that is yet to be made."""
    try:
        return request.content
    except httpx.RequestNotRead:
        return None


_CONNECTING = frozenset(
    {
        ErrorKind.CONNECT_REFUSED,
        ErrorKind.CONNECT_FAILED,
        ErrorKind.TLS_FAILED,
        ErrorKind.DNS_FAILED,
        ErrorKind.LOCAL_RESOURCES,
    }
)
_ERRORS: dict[ErrorKind, tuple[type[httpx.TransportError], str]] = {
    **dict.fromkeys(_CONNECTING, (httpx.ConnectError, "all connection attempts failed")),
    ErrorKind.CONNECT_TIMEOUT: (httpx.ConnectTimeout, "no connection was made in time"),
    ErrorKind.TIMEOUT: (httpx.ReadTimeout, "nothing was received in time"),
    ErrorKind.FIRST_BYTE_TIMEOUT: (httpx.ReadTimeout, "nothing was received in time"),
    ErrorKind.STALE_CONNECTION: (httpx.RemoteProtocolError, "Server disconnected without sending a response."),
    ErrorKind.CLOSED_EARLY: (httpx.RemoteProtocolError, "peer closed connection before the response was complete"),
    ErrorKind.MALFORMED: (httpx.RemoteProtocolError, "what was received is not HTTP/1.1"),
    ErrorKind.TOO_LARGE: (httpx.RemoteProtocolError, "the response is larger than is allowed"),
    ErrorKind.STREAM_INCOMPLETE: (httpx.RemoteProtocolError, "the stream ended before its end"),
    ErrorKind.RESET: (httpx.ReadError, "the connection was reset"),
    ErrorKind.CONNECTION_LOST: (httpx.ReadError, "the connection was lost"),
    ErrorKind.CANCELLED: (httpx.ReadError, "the transport was closed"),
    ErrorKind.UNSENT: (httpx.WriteError, "the request was never sent"),
}


def error_of(kind: ErrorKind | None, cause: BaseException | None, request: httpx.Request) -> httpx.TransportError:
    """Return the error of httpx that says the same."""
    error, text = _ERRORS[kind or ErrorKind.CANCELLED]
    found = error(f"{text}: {cause}" if cause is not None and str(cause) else text, request=request)
    found.__cause__ = cause
    return found

"""`WireTransport`: the connections of `wire` under httpx's own interface.

    async with httpx.AsyncClient(transport=WireTransport()) as client:
        response = await client.get("http://gateway:8080/healthz")

It does what httpx.AsyncHTTPTransport does for HTTP/1.1 on asyncio: the same limits, timeouts, certificates and errors,
an answer that is streamed as it comes, a body that is streamed as it is made. It does not speak HTTP/2, does not go
through proxies, does not switch protocols (CONNECT, 101), and takes no `trace` extension: httpx's own transport does.
Other than there, an upload ends as soon as the answer is an error; a body that all came with its head is read at once.

A request that met a connection which the server had just closed is sent again, once, on a new one, where the kernel
says that the server never had it (`wire`), and its body can be had again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from time import monotonic_ns
from typing import Any, NamedTuple

import httpx

from probes.endpoint import Endpoint
from probes.errors import ErrorKind
from probes.exchange import Exchange, ExchangeConnection, Origin, Upload
from probes.head import buffered_body, check_length, chunk, encode_head, framed, is_chunked
from probes.pool import Deadline, Outgoing, Pool, drop

LIMITS = httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=5.0)
"""What httpx allows itself by default."""
_PORTS = {"http": 80, "https": 443}
_BACKOFF = 0.5  # s before the second attempt to connect, doubled for each one after it, as httpx does


class _Call(NamedTuple):
    """A request, taken apart once.

    `data` is the head, and the body where that is in memory (`buffered`). `timeouts` are httpx's connect, read, write
    and pool, in s or None.
    """

    request: httpx.Request
    origin: Origin
    data: bytes
    buffered: bool
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
        head, body = encode_head(request), buffered_body(request)
        data, timeouts = head if body is None else framed(request, head, body), request.extensions.get("timeout", {})
        call = _Call(request, self._origin(request), data, body is not None, timeouts)
        for attempt in range(self._retries):
            with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                return await _response(pool, call)
            await asyncio.sleep(_BACKOFF * 2 ** (attempt - 1) if attempt else 0)
        return await _response(pool, call)

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


async def _response(pool: Pool, call: _Call) -> httpx.Response:
    """Send a request and return its answer with the body still to come."""
    head_only = call.request.method == "HEAD"
    exchange = Exchange(pool.loop, head_only, Upload.NONE if call.buffered else Upload.ON)
    connection = await _answered(pool, call, exchange)
    if exchange.error is ErrorKind.STALE_CONNECTION and call.buffered:
        exchange = Exchange(pool.loop, head_only, resent=True)
        connection = await _answered(pool, call, exchange)
    if not exchange.status:
        raise error_of(exchange.error, exchange.cause, call.request)
    return httpx.Response(
        exchange.status,
        headers=exchange.headers,
        stream=_body(pool, connection, exchange, call),
        extensions={
            "http_version": b"HTTP/1.1" if exchange.version == "1.1" else b"HTTP/1.0",
            "reason_phrase": exchange.reason,
            "network_stream": NetworkStream(connection),
        },
    )


async def _answered(pool: Pool, call: _Call, exchange: Exchange) -> ExchangeConnection:
    """Send a request; return when the head of the answer is there, or the exchange has failed."""
    first, timeouts = Outgoing(call.origin, call.data, exchange), call.timeouts
    connection = pool.send(first) or await _sent_in_turn(pool, call, first)
    try:
        if not connection.opened:
            await _connected(pool, connection, exchange, timeouts.get("connect"))
        if connection.writable is not None:
            await _drained(connection, call, exchange)
        if exchange.upload is Upload.ON and exchange.error in (None, ErrorKind.OK):
            await _upload(connection, call, exchange)
        if not exchange.head.done():
            connection.watch(pool.reads(timeouts.get("read")))
            await exchange.head
    except BaseException:  # cancelled, too late, or the body's own error
        drop(connection, exchange)
        raise
    if connection.token is exchange:  # it may be another's already
        connection.unwatch()  # the body's time is counted while somebody waits for it
    return connection


async def _sent_in_turn(pool: Pool, call: _Call, first: Outgoing) -> ExchangeConnection:
    limit = call.timeouts.get("pool")
    connection = await pool.wait_and_send(first, limit)
    if connection is not None:
        return connection
    if first.exchange.error is not None:
        raise error_of(first.exchange.error, None, call.request)
    raise httpx.PoolTimeout(f"no connection was free within {limit:g} s", request=call.request)


async def _connected(pool: Pool, connection: ExchangeConnection, exchange: Exchange, limit: float | None) -> None:
    """Return once it is open, or has failed, which the exchange then says."""
    deadlines = pool.connects(limit)
    if deadlines is not None:
        deadlines.add(connection, monotonic_ns())
    try:
        await asyncio.wait((connection.made, exchange.head), return_when=asyncio.FIRST_COMPLETED)
    finally:
        if deadlines is not None:
            deadlines.discard(connection)


async def _drained(connection: ExchangeConnection, call: _Call, exchange: Exchange) -> None:
    """Return once the socket takes more, the connection is gone, or there is an answer. Raises WriteTimeout."""
    limit, writable = call.timeouts.get("write"), connection.writable
    if writable is None:
        return
    either = {writable} if exchange.head.done() else {writable, exchange.head}
    done, _ = await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        raise httpx.WriteTimeout(f"the server took nothing for {limit:g} s", request=call.request)


async def _upload(connection: ExchangeConnection, call: _Call, exchange: Exchange) -> None:
    """Send a body as it is made, unless the answer is an error: what is cut short spoils the connection."""
    async for data in _pieces(call.request):
        if exchange.status >= 400 or exchange.error not in (None, ErrorKind.OK):
            exchange.upload = Upload.CUT_SHORT
            if exchange.error is not None:
                connection.give_up(ErrorKind.CANCELLED)
            return
        connection.write(data)
        await _drained(connection, call, exchange)
    connection.uploaded()


async def _pieces(request: httpx.Request) -> AsyncIterator[bytes]:
    """Give a body as it goes over the wire. Raises LocalProtocolError if it is not as long as its head said."""
    assert isinstance(request.stream, httpx.AsyncByteStream), "httpx's AsyncClient sees to that"
    if is_chunked(request):
        async for data in request.stream:
            if data:
                yield chunk(data)
        yield b"0\r\n\r\n"
        return
    length = 0
    async for data in request.stream:
        length += len(data)
        check_length(request, length, complete=False)
        yield data
    check_length(request, length)


def _body(pool: Pool, connection: ExchangeConnection, exchange: Exchange, call: _Call) -> httpx.AsyncByteStream:
    """Return the body of an answer: as it is where all of it came with the head, else as it comes."""
    if exchange.error is ErrorKind.OK:
        return httpx.ByteStream(b"".join(exchange.chunks))
    reads = pool.reads(call.timeouts.get("read"))
    return _Body(connection, exchange, reads, call.request)


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

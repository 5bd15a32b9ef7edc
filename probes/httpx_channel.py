"""Requests by httpx's own transport, for what `wire` does not speak: HTTP/2, over TLS or by prior knowledge.

A channel takes one request at a time like a connection of `wire`, and many channels share the connections of one
client. It is slower by an order of magnitude, and knows less: `received` counts the body alone, as it was on the wire
but for the framing, and what httpx does not tell apart is not told apart here.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from time import monotonic_ns
from typing import Any

import httpx

from probes.completion import Completion
from probes.errors import ErrorKind
from probes.open_loop import ChannelOwner
from probes.plan import LoadPlan
from probes.wire import why_not_connected

_HEAD_END = b"\r\n\r\n"


def http2_client(plan: LoadPlan, tls: ssl.SSLContext | None) -> httpx.AsyncClient:
    """Return a client that speaks HTTP/2 alone, with no limit on connections, and takes nothing from the environment.

    `tls` is None where the URL is not https: then HTTP/2 is spoken by prior knowledge.
    """
    transport = httpx.AsyncHTTPTransport(
        verify=tls if tls is not None else False,
        http1=False,
        http2=True,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
        trust_env=False,
        uds=plan.unix_socket,
    )
    timeout = httpx.Timeout(None, connect=plan.connect_timeout)  # the rest is the load's own
    return httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False)


class HttpxChannel:
    """See `open_loop.Channel`; it is open from the start, as connecting is httpx's affair."""

    opened = True

    def __init__(self, client: httpx.AsyncClient, plan: LoadPlan, owner: ChannelOwner) -> None:
        self._client, self._plan, self._owner = client, plan, owner
        self._task: asyncio.Task[None] | None = None
        self._gone = False
        self.token: Any = None
        self.sent = self.first = self.end = self.received = self.status = self.first_token = self.tokens = 0
        self.chunks: Sequence[int] = ()

    def open(self) -> None:
        """Offer itself, unless it is given a request before that."""
        asyncio.get_running_loop().call_soon(self._offer)

    def send(self, request: bytes, token: object, now: int) -> None:
        """Send one request, encoded as for HTTP/1.1: its body is taken, its head is the plan's."""
        self.token, self.sent = token, now
        self.first = self.end = self.received = self.status = self.first_token = self.tokens = 0
        self.chunks = ()
        body = request.partition(_HEAD_END)[2]
        self._task = asyncio.get_running_loop().create_task(self._exchange(body))

    def give_up(self, error: ErrorKind) -> None:
        """End the request it holds, if any, with this error, and take no more."""
        self._end(error)
        if self._task is not None:
            self._task.cancel()
        self._retire()

    def _offer(self) -> None:
        if self.token is None and not self._gone:
            self._owner.idle(self)

    async def _exchange(self, body: bytes) -> None:
        try:
            error = await self._receive(body)
        except (httpx.HTTPError, OSError) as failure:
            error = kind_of(failure)
        if self._gone:
            return
        self._task = None
        self._end(error)
        self._owner.idle(self)

    async def _receive(self, body: bytes) -> ErrorKind:
        plan, completion = self._plan, Completion() if self._plan.stream else None
        defaults = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "gameday-probes"}
        request = self._client.build_request(
            plan.method, plan.url, content=body or None, headers=defaults | dict(plan.headers)
        )
        response = await self._client.send(request, stream=True)
        try:
            self.first = monotonic_ns()
            async for data in response.aiter_raw():
                self.received += len(data)
                if self.received > plan.response_limit:
                    return ErrorKind.TOO_LARGE
                if completion is not None:
                    self._watch(completion, data)
            self.status = response.status_code
        finally:
            await response.aclose()
        cut_off = completion is not None and response.is_success and not completion.complete
        return ErrorKind.STREAM_INCOMPLETE if cut_off else ErrorKind.OK

    def _watch(self, completion: Completion, data: bytes) -> None:
        completion.feed(data, monotonic_ns())
        self.chunks, self.tokens = completion.received, completion.tokens
        self.first_token = completion.received[0] if completion.received else 0

    def _end(self, error: ErrorKind) -> None:
        if self.token is not None:
            self.end = monotonic_ns()
            self._owner.ended(self, error)
            self.token = None

    def _retire(self) -> None:
        if not self._gone:
            self._gone = True
            self._owner.closed(self)


def kind_of(error: BaseException) -> ErrorKind:
    """Return what an exception of httpx comes to; the system's own error behind it says more where there is one."""
    if isinstance(error, httpx.ConnectTimeout):
        return ErrorKind.CONNECT_TIMEOUT
    if isinstance(error, httpx.ConnectError):
        return why_not_connected(_root(error))
    if isinstance(error, httpx.TimeoutException):
        return ErrorKind.TIMEOUT
    if isinstance(error, httpx.RemoteProtocolError):
        return ErrorKind.CLOSED_EARLY if "disconnect" in str(error).lower() else ErrorKind.MALFORMED
    return ErrorKind.RESET if isinstance(error, httpx.NetworkError) else ErrorKind.CONNECTION_LOST


def _root(error: BaseException) -> BaseException:
    """Return the exception that led to this one in the first place; the first of several."""
    cause = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    return error if cause is None else _root(cause)

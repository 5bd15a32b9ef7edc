"""The gateway: one address for all workers; picks one for each request, and keeps the unfit out.

Takes `POST /v1/chat/completions`, checks the token bucket (429) and the requests in progress (503), and passes the
request on; the answer comes back whole, or piece by piece where the worker streams it. Without a fit worker: 503. With
one that can't be connected to, or breaks off: 502. With one that is silent for `upstream_timeout`: 504, or, when the
client has part of the answer already, a cut connection, so that half an answer never passes for a whole one.

The decision a reader would question: a request is tried on a second worker only if the first could not be connected
to. Once it has been written to a connection it may have been acted on, and it is not idempotent (RFC 9110, 9.2.2), so
what a dying worker had in hand is lost, visibly.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter

from chaos.lab.appliance.balancer import BALANCERS
from chaos.lab.appliance.health import watch
from chaos.lab.appliance.http1 import ClientConnection, Exchange, Headers
from chaos.lab.appliance.metrics import Histogram, Page
from chaos.lab.appliance.service import Service, refuse
from chaos.lab.appliance.settings import GatewaySettings
from chaos.lab.appliance.token_bucket import TokenBucket
from chaos.lab.appliance.upstream import Upstream

_HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade expect host content-length date".split()
)
"""RFC 9110, 7.6.1, and what this end writes itself."""
CLIENT_GONE = 499
"""nginx's status for a client that left before its answer; it is counted, nobody receives it."""


class Gateway(Service):
    """Routes, the workers, admission, and the numbers of `/metrics`."""

    def __init__(self, name: str, settings: GatewaySettings, workers: list[tuple[str, str, int]]) -> None:
        super().__init__(name, settings)
        self.settings = settings
        self.upstreams = [Upstream(*worker, settings, self._health_changed) for worker in workers]
        self.inflight = 0
        self.retries = 0
        self.rejected = Counter({"rate_limited": 0, "overloaded": 0, "no_healthy_worker": 0})
        self._healthy: list[Upstream] = []
        self._balancer = BALANCERS[settings.balancer]()
        self._bucket = TokenBucket()
        self._statuses: Counter[int] = Counter()
        self._durations = Histogram()
        self._watching: list[asyncio.Task[None]] = []
        self.routes["/healthz"] = {"GET": self._healthz}
        self.routes["/v1/chat/completions"] = {"POST": self._chat}

    def open(self) -> None:
        """Begin to check the workers."""
        self._watching = [asyncio.create_task(watch(u.health, u.pool, self.settings)) for u in self.upstreams]

    def close(self) -> None:
        """Check no more."""
        for task in self._watching:
            task.cancel()

    def settings_changed(self) -> None:
        """Take the balancer that is set now, and check at the interval that is set now."""
        self._balancer = BALANCERS[self.settings.balancer]()
        self.close()
        self.open()

    def pick(self, tried: Upstream | None = None) -> Upstream | None:
        """Return a fit worker other than `tried`, or None."""
        candidates = self._healthy if tried is None else [u for u in self._healthy if u is not tried]
        return self._balancer.pick(candidates) if candidates else None

    def ended(self, status: int, began: float) -> None:
        """Count a request that was let in and has ended."""
        self.inflight -= 1
        self._statuses[status] += 1
        self._durations.observe(time.monotonic() - began)

    def _health_changed(self) -> None:
        self._healthy = [u for u in self.upstreams if u.health.healthy]

    def _healthz(self, exchange: Exchange) -> None:
        workers = {u.name: "healthy" if u.health.healthy else "ejected" for u in self.upstreams}
        status = "ok" if self._healthy else "no healthy worker"
        exchange.respond(200 if self._healthy else 503, json.dumps({"status": status, "workers": workers}).encode())

    def _chat(self, exchange: Exchange) -> None:
        settings = self.settings
        if self.inflight >= settings.max_inflight:
            message = f"{self.inflight} requests are in progress, allowed: {settings.max_inflight}; try again later"
            self._reject(exchange, 503, "overloaded", message, 1.0)
        elif settings.token_rate and (wait := self._take_token()):
            message = f"more than {settings.token_rate:g} requests a second; try again in {wait:.3f} s"
            self._reject(exchange, 429, "rate_limited", message, wait)
        else:
            self.inflight += 1
            Forward(self, exchange).begin()

    def _take_token(self) -> float:
        return self._bucket.take(time.monotonic(), self.settings.token_rate, self.settings.token_burst)

    def _reject(self, exchange: Exchange, status: int, reason: str, message: str, wait: float) -> None:
        self.rejected[reason] += 1
        self._statuses[status] += 1
        refuse(exchange, status, message, f"retry-after: {math.ceil(wait)}\r\n")

    def metrics(self) -> bytes:
        """Return the page of `/metrics`."""
        page = Page({})
        statuses = [({"code": str(code)}, number) for code, number in self._statuses.items()]
        page.counter("gateway_requests_total", "Requests that have ended, by status (499: client gone).", *statuses)
        page.histogram("gateway_request_duration_seconds", "From request to the end of its answer.", self._durations)
        page.gauge("gateway_requests_in_progress", "Requests let in that have not ended.", ({}, self.inflight))
        rejected = [({"reason": reason}, number) for reason, number in self.rejected.items()]
        page.counter("gateway_requests_rejected_total", "Requests that no worker was asked for.", *rejected)
        page.counter("gateway_retries_total", "Requests tried on a second worker.", ({}, self.retries))
        self._upstream_metrics(page)
        page.process()
        return page.encode()

    def _upstream_metrics(self, page: Page) -> None:
        healthy = [({"worker": u.name}, float(u.health.healthy)) for u in self.upstreams]
        page.gauge("gateway_upstream_healthy", "1 while the worker gets requests.", *healthy)
        outstanding = [({"worker": u.name}, u.outstanding) for u in self.upstreams]
        page.gauge("gateway_upstream_outstanding", "Requests that a worker has in hand.", *outstanding)
        outcomes = [({"worker": u.name, "outcome": o}, n) for u in self.upstreams for o, n in u.outcomes.items()]
        page.counter("gateway_upstream_requests_total", "Tries, by status or how there came to be none.", *outcomes)
        ejections = [({"worker": u.name, "cause": c}, n) for u in self.upstreams for c, n in u.ejections.items()]
        page.counter("gateway_ejections_total", "Ejections, by failed checks or failed requests.", *ejections)


class Forward:
    """One request on its way through a worker; the `Receiver` of the worker's answer."""

    __slots__ = (
        "_began",
        "_body",
        "_connecting",
        "_connection",
        "_exchange",
        "_gateway",
        "_headers",
        "_heard",
        "_request",
        "_retried",
        "_status",
        "_streaming",
        "_timer",
        "_upstream",
    )

    def __init__(self, gateway: Gateway, exchange: Exchange) -> None:
        self._gateway, self._exchange = gateway, exchange
        self._began = self._heard = time.monotonic()
        self._upstream: Upstream | None = None
        self._connection: ClientConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._request = _request_bytes(exchange)
        self._streaming = self._retried = False
        self._status, self._headers, self._body = 0, b"", b""
        exchange.on_gone = self._client_gone

    def begin(self) -> None:
        """Pick a worker and try it."""
        upstream = self._gateway.pick()
        if upstream is None:
            self._no_worker()
        else:
            self._try(upstream)

    def _try(self, upstream: Upstream) -> None:
        """Send the request, on a new connection where none is free."""
        self._upstream = upstream
        upstream.outstanding += 1
        connection = upstream.pool.take()
        if connection is not None:
            self._send(connection)
        else:
            self._connecting = asyncio.get_running_loop().create_task(self._connect(upstream))

    async def _connect(self, upstream: Upstream) -> None:
        try:
            connection = await upstream.pool.connect(self._gateway.settings.connect_timeout)
        except OSError as error:
            self._unreachable(upstream, str(error) or type(error).__name__)
        else:
            self._send(connection)

    def _unreachable(self, upstream: Upstream, why: str) -> None:
        self._leave("connect_failed", why)
        other = None if self._retried else self._gateway.pick(upstream)
        if other is None:
            self._fail(502, f"can't connect to {upstream.name}: {why}")
        else:
            self._retried = True
            self._gateway.retries += 1
            self._try(other)

    def _send(self, connection: ClientConnection) -> None:
        self._connecting, self._connection = None, connection
        self._heard = time.monotonic()
        connection.send(self._request, self)
        self._arm(self._gateway.settings.upstream_timeout)

    def _arm(self, delay: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(delay, self._check_silence)

    def _check_silence(self) -> None:
        limit = self._gateway.settings.upstream_timeout
        left = self._heard + limit - time.monotonic()
        if left > 0.001:
            self._arm(left)
            return
        assert self._connection is not None
        self._connection.abort()
        self._break_off("timeout", 504, f"silent for {limit:g} s")

    # the worker's answer

    def on_head(self, status: int, headers: Headers) -> None:
        """Begin to stream, or wait for the whole where its length is told."""
        self._heard = time.monotonic()
        self._status, self._headers = status, _end_to_end(headers)
        self._streaming = not any(name.lower() == b"content-length" for name, _ in headers)
        if self._streaming:
            self._exchange.start(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """Pass a piece on, or keep it."""
        self._heard = time.monotonic()
        if self._streaming:
            self._exchange.send(data)
        else:
            self._body = self._body + data if self._body else data

    def on_end(self) -> None:
        """Complete the answer."""
        failed = self._status >= 500 and self._status != 503
        self._leave(str(self._status), f"answered {self._status}" if failed else "")
        self._gateway.ended(self._status, self._began)
        if self._streaming:
            self._exchange.end()
        else:
            self._exchange.respond(self._status, self._body, self._headers)

    def on_lost(self, why: str) -> None:
        """Say that the worker broke off."""
        self._break_off("lost", 502, why)

    # other ends

    def _break_off(self, outcome: str, status: int, why: str) -> None:
        assert self._upstream is not None
        name = self._upstream.name
        self._leave(outcome, why)
        if self._streaming:
            self._gateway.ended(status, self._began)
            self._exchange.on_gone = None
            self._exchange.abort()
        else:
            self._fail(status, f"{name}: {why}")

    def _no_worker(self) -> None:
        self._gateway.rejected["no_healthy_worker"] += 1
        self._gateway.ended(503, self._began)
        refuse(self._exchange, 503, "no healthy worker; /healthz shows them", "retry-after: 1\r\n")

    def _fail(self, status: int, message: str) -> None:
        assert self._upstream is not None
        self._gateway.ended(status, self._began)
        refuse(self._exchange, status, message, f"x-worker: {self._upstream.name}\r\n")

    def _client_gone(self) -> None:
        """Take the request back: for HTTP/1.1 that means to cut the connection it went out on."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.abort()
        self._leave("abandoned", None)
        self._gateway.ended(CLIENT_GONE, self._began)

    def _leave(self, outcome: str, failure: str | None) -> None:
        """Let the worker go, and tell its health: a failure, "" for none, None for nothing that says anything of it."""
        upstream = self._upstream
        assert upstream is not None
        upstream.outstanding -= 1
        upstream.outcomes[outcome] += 1
        if self._timer is not None:
            self._timer.cancel()
        if failure:
            upstream.health.request_failed(time.monotonic(), failure)
        elif failure is not None:
            upstream.health.request_passed()


def _request_bytes(exchange: Exchange) -> bytes:
    line = b"%b %b HTTP/1.1\r\nhost: worker\r\nvia: 1.1 gateway\r\n" % (
        exchange.method.encode(),
        exchange.path.encode(),
    )
    length = b"content-length: %d\r\n\r\n" % len(exchange.body)
    return b"".join((line, _end_to_end(exchange.headers), length, exchange.body))


def _end_to_end(headers: Headers) -> bytes:
    """Render the headers that a proxy passes on."""
    dropped: frozenset[bytes] = _HOP_BY_HOP
    for name, value in headers:
        if name.lower() == b"connection":
            dropped = dropped.union(token.strip().lower() for token in value.split(b","))
    return b"".join([b"%b: %b\r\n" % header for header in headers if header[0].lower() not in dropped])

"""Connections kept for reuse, by origin, and at most so many of them: what `transport` sends through.

The connection used last is used first. Taking one, giving one back and waiting for one cost the same however many there
are and however many wait; a pool that looks through all of them per request is what slows httpx down under load
(measured: `scripts/bench`). Who waits is served in turn, whatever its origin: a connection of another origin that
lies idle is closed to make room. Connections that become idle in one turn of the event loop are mostly wanted again in
the next, so those above the number to be kept are closed a little later, and only where they are still idle.
"""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic_ns
from typing import NamedTuple, TypeVar, cast

from probes.errors import ErrorKind
from probes.exchange import Exchange, ExchangeConnection, Origin, Upload
from probes.timer import NS, Deadlines
from probes.wire import Connection

_GRACE = 0.1  # s
_NEVER = sys.maxsize
T = TypeVar("T")
Deadline = Deadlines[ExchangeConnection]
Turn = asyncio.Future[ExchangeConnection | None]


class Outgoing(NamedTuple):
    """What is to be sent at first, where to, and what the answer goes into."""

    origin: Origin
    data: bytes
    exchange: Exchange


class Pool:
    """The connections of one event loop. `most` open at once, `kept` of them idle, each for at most `expiry` s."""

    def __init__(self, most: int | None, kept: int | None, expiry: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._most = _NEVER if most is None else most
        self._kept = _NEVER if kept is None else kept
        self._expiry = _NEVER if expiry is None else round(expiry * NS)
        self._idle: dict[ExchangeConnection, None] = {}  # of all origins, the one idle for longest first
        self._open: set[ExchangeConnection] = set()
        self._waiting: OrderedDict[Turn, Outgoing] = OrderedDict()
        self._trimming: asyncio.TimerHandle | None = None
        self._expiring: asyncio.TimerHandle | None = None
        self._waits: dict[float, Deadlines[Turn]] = {}
        self._connects: dict[float, Deadline] = {}
        self._reads: dict[float, Deadline] = {}

    def send(self, request: Outgoing) -> ExchangeConnection | None:
        """Send on an idle connection, or on a new one that is not open yet; None where one must wait."""
        return None if self._waiting else self._at_once(request)

    async def wait_and_send(self, request: Outgoing, span: float | None) -> ExchangeConnection | None:
        """Send once there is a connection: who waits longest is served first. None if there is none within `span` s.

        None as well if the pool was closed meanwhile, which the exchange then says. A request whose exchange is
        `resent` had its turn before, and waits in front of all others.
        """
        turn: Turn = self.loop.create_future()
        self._waiting[turn] = request
        if request.exchange.resent:
            self._waiting.move_to_end(turn, last=False)
        deadlines = _deadlines(self.loop, self._waits, span, self._expired)
        if deadlines is not None:
            deadlines.add(turn, monotonic_ns())
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came too late for who waited
                drop(turn.result(), request.exchange)
            raise
        finally:
            self._waiting.pop(turn, None)
            if deadlines is not None:
                deadlines.discard(turn)

    def connects(self, span: float | None) -> Deadline | None:
        """Return what gives up a connection that is not open after `span` s; None where that is None."""
        return _deadlines(self.loop, self._connects, span, _give_up_connecting)

    def reads(self, span: float | None) -> Deadline | None:
        """Return what gives up a connection on which nothing came for `span` s; None where that is None."""
        return _deadlines(self.loop, self._reads, span, _give_up_reading)

    def close(self) -> None:
        """Close everything; what is out, or waits, ends as cancelled."""
        for timer in (self._trimming, self._expiring):
            if timer is not None:
                timer.cancel()
        while self._waiting:
            turn, request = self._waiting.popitem()
            request.exchange.end(ErrorKind.CANCELLED, None)
            turn.set_result(None)
        for connection in list(self._open):
            connection.give_up(ErrorKind.CANCELLED)
        for deadlines in (*self._connects.values(), *self._reads.values()):
            deadlines.close()
        for waits in self._waits.values():
            waits.close()

    # --- what connections report (wire.Owner) -------------------------------------------------------------------------

    def idle(self, connection: Connection) -> None:
        """Keep a connection for its next request."""
        self._give_back(cast("ExchangeConnection", connection))

    def ended(self, connection: Connection, error: ErrorKind) -> None:
        """Tell the exchange how it ended."""
        mine = cast("ExchangeConnection", connection)
        mine.unwatch()
        mine.exchange.end(error, mine.cause)

    def closed(self, connection: Connection) -> None:
        """Forget a connection; another may be opened in its place."""
        mine = cast("ExchangeConnection", connection)
        self._open.discard(mine)
        if mine in self._idle:
            del self._idle[mine], mine.origin.idle[mine]
        self._serve_next()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _at_once(self, request: Outgoing) -> ExchangeConnection | None:
        """Send on a connection that can be had without waiting, if there is one."""
        idle = request.origin.idle
        while idle and not request.exchange.resent:
            connection = idle.popitem()[0]
            del self._idle[connection]
            if monotonic_ns() - connection.idle_since <= self._expiry:
                return _sent(connection, request)
            connection.give_up(ErrorKind.CANCELLED)
        if len(self._open) >= self._most and self._idle:
            next(iter(self._idle)).give_up(ErrorKind.CANCELLED)  # of another origin, and idle for longest
        return self._sent_anew(request) if len(self._open) < self._most else None

    def _sent_anew(self, request: Outgoing) -> ExchangeConnection:
        connection = ExchangeConnection(request.origin, self)
        self._open.add(connection)
        connection.open()
        return _sent(connection, request)

    def _give_back(self, connection: ExchangeConnection) -> None:
        """Pass a connection on to who waits longest, keep it, or close it."""
        connection.resume()
        upload = connection.exchange.upload
        if upload is Upload.ON:  # it gives the connection back in its turn
            return
        turn, request = next(iter(self._waiting.items()), (None, None))
        if upload is Upload.CUT_SHORT:
            connection.give_up(ErrorKind.CANCELLED)
        elif turn is None or request is None:
            self._keep(connection)
        elif request.origin is not connection.origin or request.exchange.resent:  # closing makes room for it
            connection.give_up(ErrorKind.CANCELLED)
        else:
            del self._waiting[turn]
            turn.set_result(_sent(connection, request))

    def _serve_next(self) -> None:
        """Open connections for who waits longest, as far as there is room now."""
        while self._waiting and len(self._open) < self._most:
            turn, request = self._waiting.popitem(last=False)
            turn.set_result(self._sent_anew(request))

    def _expired(self, turn: Turn) -> None:
        if self._waiting.pop(turn, None) is not None:
            turn.set_result(None)

    def _keep(self, connection: ExchangeConnection) -> None:
        connection.idle_since = monotonic_ns()
        self._idle[connection] = connection.origin.idle[connection] = None
        if len(self._idle) > self._kept and self._trimming is None:
            self._trimming = self.loop.call_later(_GRACE, self._trim)
        if self._expiring is None:
            self._expire_in(self._expiry)

    def _trim(self) -> None:
        """Close what is idle above the number kept, the one idle for longest first."""
        self._trimming = None
        for connection in list(self._idle)[: max(len(self._idle) - self._kept, 0)]:
            connection.give_up(ErrorKind.CANCELLED)

    def _expire_in(self, span: int) -> None:
        if self._expiry < _NEVER:
            self._expiring = self.loop.call_later(span / NS + 0.001, self._expire)

    def _expire(self) -> None:
        """Close what was idle for too long."""
        self._expiring, now = None, monotonic_ns()
        while self._idle:
            oldest = next(iter(self._idle))
            left = oldest.idle_since + self._expiry - now
            if left > 0:
                self._expire_in(left)
                return
            oldest.give_up(ErrorKind.CANCELLED)


def drop(connection: ExchangeConnection | None, exchange: Exchange) -> None:
    """Break an exchange off: what was half sent or half read can't be used again. No matter where it has ended."""
    if connection is not None and (connection.token is exchange or exchange.upload is Upload.ON):
        connection.give_up(ErrorKind.CANCELLED)


def _sent(connection: ExchangeConnection, request: Outgoing) -> ExchangeConnection:
    connection.exchange_for(request.data, request.exchange)
    return connection


def _deadlines(
    loop: asyncio.AbstractEventLoop, known: dict[float, Deadlines[T]], span: float | None, expire: Callable[[T], None]
) -> Deadlines[T] | None:
    if span is None:
        return None
    found = known.get(span)
    if found is None:
        found = known[span] = Deadlines(loop, span, expire)
    return found


def _give_up_connecting(connection: ExchangeConnection) -> None:
    if not connection.opened:
        connection.give_up(ErrorKind.CONNECT_TIMEOUT)


def _give_up_reading(connection: ExchangeConnection) -> None:
    connection.give_up(ErrorKind.TIMEOUT)

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
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import cast

from probes.errors import ErrorKind
from probes.exchange import ExchangeConnection, Origin
from probes.timer import NS, Deadlines
from probes.wire import Connection

_GRACE = 0.1  # s
Deadline = Deadlines[ExchangeConnection]
Turn = asyncio.Future[ExchangeConnection]


class Pool:
    """The connections of one event loop. `most` open at once, `kept` of them idle, each for at most `expiry` s."""

    def __init__(self, most: int | None, kept: int | None, expiry: float | None) -> None:
        self.loop = asyncio.get_running_loop()
        self._most = sys.maxsize if most is None else most
        self._kept = sys.maxsize if kept is None else kept
        self._expiry = sys.maxsize if expiry is None else round(expiry * NS)
        self._idle: dict[ExchangeConnection, None] = {}  # of all origins, the one idle for longest first
        self._open: set[ExchangeConnection] = set()
        self._waiting: deque[tuple[Origin, Turn]] = deque()
        self._trimming: asyncio.TimerHandle | None = None
        self._connects: dict[float, Deadline] = {}
        self._reads: dict[float, Deadline] = {}

    def connection(self, origin: Origin) -> ExchangeConnection | None:
        """Return a connection to send on: an idle one, or a new one that is not open yet; None where one must wait."""
        return None if self._waiting else self._at_once(origin)

    async def wait_connection(self, origin: Origin) -> ExchangeConnection:
        """Return a connection once there is one: who waits longest is served first."""
        turn: Turn = self.loop.create_future()
        self._waiting.append((origin, turn))
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it came too late for who waited
                self._give_back(turn.result())
            raise

    def fresh(self, origin: Origin) -> ExchangeConnection:
        """Return a new connection, whatever is idle; it may be one more than the most for a while."""
        connection = ExchangeConnection(origin, self)
        self._open.add(connection)
        connection.open()
        return connection

    def connects(self, span: float | None) -> Deadline | None:
        """Return what gives up a connection that is not open after `span` s; None where that is None."""
        return self._of(self._connects, span, _give_up_connecting)

    def reads(self, span: float | None) -> Deadline | None:
        """Return what gives up a connection on which nothing came for `span` s; None where that is None."""
        return self._of(self._reads, span, _give_up_reading)

    def _of(
        self, known: dict[float, Deadline], span: float | None, expire: Callable[[ExchangeConnection], None]
    ) -> Deadline | None:
        if span is None:
            return None
        found = known.get(span)
        if found is None:
            found = known[span] = Deadlines(self.loop, span, expire)
        return found

    def close(self) -> None:
        """Close everything; what is out ends as cancelled."""
        if self._trimming is not None:
            self._trimming.cancel()
        for connection in list(self._open):
            connection.give_up(ErrorKind.CANCELLED)
        for deadlines in (*self._connects.values(), *self._reads.values()):
            deadlines.close()

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

    def _at_once(self, origin: Origin) -> ExchangeConnection | None:
        """Return a connection that can be had without waiting, or None."""
        while origin.idle:
            connection = origin.idle.popitem()[0]
            del self._idle[connection]
            if monotonic_ns() - connection.idle_since <= self._expiry:
                return connection
            connection.give_up(ErrorKind.CANCELLED)
        if len(self._open) >= self._most and self._idle:
            next(iter(self._idle)).give_up(ErrorKind.CANCELLED)  # of another origin, and idle for longest
        return self.fresh(origin) if len(self._open) < self._most else None

    def _give_back(self, connection: ExchangeConnection) -> None:
        """Pass a connection on to who waits longest, keep it, or close it."""
        connection.resume()
        if connection.uploading or len(self._open) > self._most:
            connection.give_up(ErrorKind.CANCELLED)
        elif self._waiting and self._waiting[0][0] is connection.origin:
            self._serve(self._waiting.popleft()[1], connection)
        elif self._waiting:  # for another origin: closing makes room
            connection.give_up(ErrorKind.CANCELLED)
        else:
            self._keep(connection)

    def _keep(self, connection: ExchangeConnection) -> None:
        connection.idle_since = monotonic_ns()
        self._idle[connection] = connection.origin.idle[connection] = None
        if len(self._idle) > self._kept and self._trimming is None:
            self._trimming = self.loop.call_later(_GRACE, self._trim)

    def _trim(self) -> None:
        """Close what is idle above the number kept, the one idle for longest first."""
        self._trimming = None
        for connection in list(self._idle)[: max(len(self._idle) - self._kept, 0)]:
            connection.give_up(ErrorKind.CANCELLED)

    def _serve_next(self) -> None:
        """Open a connection for who waits longest, if there is room now."""
        if self._waiting and len(self._open) < self._most:
            origin, turn = self._waiting.popleft()
            if turn.done():
                self._serve_next()
            else:
                turn.set_result(self.fresh(origin))

    def _serve(self, turn: Turn, connection: ExchangeConnection) -> None:
        if turn.done():
            self._give_back(connection)
        else:
            turn.set_result(connection)


def _give_up_connecting(connection: ExchangeConnection) -> None:
    if not connection.opened:
        connection.give_up(ErrorKind.CONNECT_TIMEOUT)


def _give_up_reading(connection: ExchangeConnection) -> None:
    connection.give_up(ErrorKind.TIMEOUT)

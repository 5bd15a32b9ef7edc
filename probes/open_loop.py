"""Where arrivals meet connections: the hot path of the load.

Takes a schedule, the encoders of the classes and what makes a channel (a connection of `wire` or `streams`, or one of
httpx); gives every arrival that falls due to `samples`, `chunks` and `live` exactly once.

Arrivals are sent in the order of the schedule. One that falls due takes the idle connection used last, or a new one up
to the limit. With none to be had it stays at the head of the schedule and the next connection that comes free takes
it: what waits is simply the part of the schedule that is due, and costs no memory however long a target stalls.

A request is bound to its connection: when a connection can't be opened, the arrival it was opened for fails. So
a refused connection costs exactly one request, and a half-dead target can't hide behind the connections that work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import islice
from time import monotonic_ns
from typing import Any, Protocol

from probes.errors import ErrorKind
from probes.live import WINDOW, LiveWriter, State
from probes.plan import LoadPlan
from probes.request import Encoder
from probes.samples import ChunkFile, SampleFile
from probes.schedule import Arrival
from probes.superposition import Superposition, schedule_of
from probes.timer import NS, AbsoluteTimer, Deadlines

_BATCH = 16  # sends in a row before the loop reads answers again
_AHEAD = 8  # connections opened before the first arrival...
_AHEAD_BY = NS  # ...this long before it
_TICK = 0.1  # s between flushes of the samples


class Channel(Protocol):
    """What carries one request at a time; `wire.Connection` says what each attribute and call means."""

    token: Any
    sent: int
    first: int
    end: int
    received: int
    status: int
    first_token: int
    tokens: int
    chunks: Sequence[int]

    @property
    def opened(self) -> bool:
        """Whether connecting is over, well or badly."""

    def open(self) -> None:
        """Begin to connect."""

    def send(self, request: bytes, token: object, now: int) -> None:
        """Send one request."""

    def give_up(self, error: ErrorKind) -> None:
        """End the request it holds, if any, and close."""


class ChannelOwner(Protocol):
    """Who is told what becomes of channels; `wire.Owner` for any of them."""

    def idle(self, connection: Channel) -> None:
        """Take note that it can be given a request."""

    def ended(self, connection: Channel, error: ErrorKind) -> None:
        """Read the outcome of its request."""

    def closed(self, connection: Channel) -> None:
        """Take note that it is gone."""


class OpenLoop:
    """One load, once: make it inside a running event loop, then `await run()`.

    `opened` counts the channels, `taken` the arrivals that were taken from the schedule: sent, or recorded as unsent.
    `chunks` may be None where nothing is streamed. `live` is told of as many windows as it has.
    """

    def __init__(
        self,
        plan: LoadPlan,
        schedule: Superposition,
        make_channel: Callable[[ChannelOwner], Channel],
        encoders: Sequence[Encoder],
        samples: SampleFile,
        chunks: ChunkFile | None,
        live: LiveWriter,
    ) -> None:
        self._plan, self._schedule, self._make_channel, self._encoders = plan, schedule, make_channel, encoders
        self._samples, self._chunks, self._live = samples, chunks, live
        self._slo = plan.slo
        self.opened = self.taken = 0
        self._last_due = plan.start
        self._classes = len(plan.classes)
        self._arrivals = iter(schedule)
        self._next: Arrival | None = next(self._arrivals, None)
        self._due = schedule.due()
        self._idle: dict[Channel, None] = {}
        self._open = 0
        self._saturated = False
        self._last_sent = 0
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._timer = AbsoluteTimer(self._loop, self._send_due)
        self._in_flight = Deadlines[Channel](self._loop, plan.timeout, _time_out)
        limit = plan.timeout if plan.first_byte_timeout is None else plan.first_byte_timeout
        self._unanswered = Deadlines[Channel](self._loop, limit, _time_out_unanswered)
        self._watches_first_byte = plan.first_byte_timeout is not None
        self._connecting = Deadlines[Channel](self._loop, plan.connect_timeout, _time_out_connecting)

    async def run(self) -> None:
        """Send, wait for the answers, and return when every arrival that fell due is accounted for.

        Raises OSError when the samples can't be written, and whatever went wrong inside.
        """
        self._loop.set_exception_handler(self._failed)
        self._call_at(self._plan.start - _AHEAD_BY, self._open_ahead)
        self._call_at(self._plan.start + round((self._plan.duration + self._plan.drain_or_timeout) * NS), self._drained)
        self._tick()
        self._send_due()
        try:
            await self._done
        finally:
            self._finish()

    def call_off(self, overlay: int) -> None:
        """Leave out what an overlay still had to come, from the first arrival on that was not taken yet.

        The schedule without it begins with the very arrivals that were taken, and goes on behind them.
        """
        self._plan = self._plan.called_off(overlay, self._last_due + 1 - self._plan.start if self.taken else 0)
        self._schedule = schedule_of(self._plan)
        self._arrivals = islice(self._schedule, self.taken, None)
        self._next = next(self._arrivals, None)
        self._due = self._schedule.due()
        self._live.call_off(overlay, self._schedule.per_window(WINDOW, self._live.windows))
        self._send_due()

    def stop(self) -> None:
        """Send nothing more and wait for nothing: `run` returns at once."""
        if not self._done.done():
            self._done.set_result(None)

    # --- arrivals -----------------------------------------------------------------------------------------------------

    def _send_due(self) -> None:
        """Send what is due; then wait for the next arrival, or for a connection that comes free."""
        self._saturated = False
        for _ in range(_BATCH):
            if self._next is None:
                self._check_done()
                return
            if self._next[1] > monotonic_ns():
                break
            connection = self._connection()
            if connection is None:
                self._saturated = True
                return
            self._send(connection, self._next)
            self._take()
        if self._next is not None:
            self._timer.arm(self._next[1])

    def _take(self) -> None:
        """Go on to the next arrival."""
        assert self._next is not None, "there is one to be taken"
        self.taken += 1
        self._last_due = self._next[1]
        self._next = next(self._arrivals, None)

    def _connection(self) -> Channel | None:
        """Return the idle connection used last, or a new one; None when all that may be open are busy."""
        if self._idle:
            return self._idle.popitem()[0]
        return self._new_connection() if self._open < self._plan.connections else None

    def _new_connection(self) -> Channel:
        connection = self._make_channel(self)
        self._open += 1
        self.opened += 1
        self._connecting.add(connection, monotonic_ns())
        connection.open()
        return connection

    def _send(self, connection: Channel, arrival: Arrival) -> None:
        request = self._encoders[arrival[2]](arrival[0])
        self._last_sent = now = monotonic_ns()
        self._in_flight.add(connection, now)
        if self._watches_first_byte:
            self._unanswered.add(connection, now)
        connection.send(request, arrival, now)

    # --- what connections report (wire.Owner) -------------------------------------------------------------------------

    def idle(self, connection: Channel) -> None:
        """Keep the connection, or use it at once for an arrival that waits."""
        self._idle[connection] = None
        if self._saturated:
            self._send_due()

    def ended(self, connection: Channel, error: ErrorKind) -> None:
        """Record the outcome of one request."""
        self._in_flight.discard(connection)
        self._unanswered.discard(connection)
        status, end, first_token, tokens = connection.status, connection.end, connection.first_token, connection.tokens
        _, scheduled, form = connection.token
        if self._chunks is not None:
            self._chunks.append(connection.chunks)
        self._samples.append(
            scheduled, connection.sent, connection.first, end, connection.received, status, form % self._classes, error,
            first_token, tokens, len(connection.chunks),
        )  # fmt: skip
        ok = error == 0 and 200 <= status < 400
        self._live.ended(scheduled, end, ok, ok and self._slo.met(scheduled, end, first_token, tokens))
        if self._next is None:
            self._check_done()

    def closed(self, connection: Channel) -> None:
        """Forget the connection; an arrival that waits may open another."""
        self._idle.pop(connection, None)
        self._open -= 1
        if self._saturated:
            self._send_due()

    # --- around it ----------------------------------------------------------------------------------------------------

    def _call_at(self, when: int, callback: Any) -> None:
        self._loop.call_later(max(0, when - monotonic_ns()) / NS, callback)

    def _open_ahead(self) -> None:
        for _ in range(min(_AHEAD, self._plan.connections) - self._open):
            self._new_connection()

    def _tick(self) -> None:
        """Show the gauges and pass the samples on, until the end."""
        if self._done.done():
            return
        if self._chunks is not None:
            self._chunks.flush()
        self._samples.flush()
        self._show("running" if monotonic_ns() >= self._plan.start else "ready")
        try:
            self._samples.check()
            if self._chunks is not None:
                self._chunks.check()
        except OSError as error:
            self._done.set_exception(error)
        self._loop.call_later(_TICK, self._tick)

    def _show(self, state: State) -> None:
        waiting = max(0, self._due.by(monotonic_ns()) - self.taken)
        self._live.gauge(len(self._in_flight), waiting, state)

    def _check_done(self) -> None:
        if not self._in_flight:
            self.stop()

    def _drained(self) -> None:
        """End the load, unless the last request was sent late and its drain is not over."""
        until = self._last_sent + round(self._plan.drain_or_timeout * NS)
        if self._next is None and until > monotonic_ns():
            self._call_at(until, self._drained)
        else:
            self.stop()

    def _failed(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Let an exception from a callback end the load: a request may have gone unrecorded."""
        if not self._done.done():
            self._done.set_exception(context.get("exception") or RuntimeError(context["message"]))

    def _finish(self) -> None:
        """Give everything that is still open its outcome."""
        self._timer.close()
        self._saturated = False
        self._in_flight.expire_due()
        for connection in self._in_flight.items():
            connection.give_up(ErrorKind.CANCELLED)
        self._record_unsent(monotonic_ns())
        for connection in list(self._idle):
            connection.give_up(ErrorKind.CANCELLED)
        self._in_flight.close()
        self._unanswered.close()
        self._connecting.close()
        self._show("ended")

    def _record_unsent(self, now: int) -> None:
        """Record the arrivals that fell due and were never sent; with every connection busy there may be many."""
        while self._next is not None and self._next[1] <= now:
            _, scheduled, form = self._next
            self._samples.append(scheduled, 0, 0, now, 0, 0, form % self._classes, ErrorKind.UNSENT)
            self._live.ended(scheduled, now, ok=False, good=False)
            self._take()


def _time_out(connection: Channel) -> None:
    connection.give_up(ErrorKind.TIMEOUT if connection.opened else ErrorKind.CONNECT_TIMEOUT)


def _time_out_unanswered(connection: Channel) -> None:
    if not connection.first:
        connection.give_up(ErrorKind.FIRST_BYTE_TIMEOUT)


def _time_out_connecting(connection: Channel) -> None:
    if not connection.opened:
        connection.give_up(ErrorKind.CONNECT_TIMEOUT)

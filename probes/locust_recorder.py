"""What goes on beside Locust in one of its processes: a worker's rows and counters, the master's look at its crew.

Only `probes.locust_process` may import this: Locust patches the standard library for gevent when it is imported.

A worker writes a row for each `events.request`. Locust is a closed loop: a user sends when it is ready to, so a request
is *scheduled* when it is *sent*, and time for which a slow answer kept the user from sending is in no latency. The
instant of the send is `start_time`, a Unix time that the clock now turns into CLOCK_MONOTONIC; `end` is that and the
response time that Locust measured. Success is what Locust calls so; of a failure the row says the kind of error.

The master ends the load at the plan's end, and writes how many users and workers there were.
"""

from __future__ import annotations

import locust  # isort: skip  # patches for gevent: before anything else that waits

import json
import resource
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

import gevent
import numpy as np
from numpy.typing import NDArray

from probes.errors import ErrorKind
from probes.histogram import BUCKETS, bucket_of, quantile
from probes.live import WINDOW, LiveWriter
from probes.locust_plan import LocustPlan
from probes.samples import SampleFile

NS = 1_000_000_000
_TICK = 1.0  # s between flushes
_LAG = 0.01  # s: what a greenlet asks to sleep, to see how late it wakes


def recorder(plan: LocustPlan) -> Recorder | Crew:
    """Return what goes on in this process: it listens to Locust from now on, and is to be closed."""
    return Recorder(plan) if plan.samples else Crew(plan)


class Recorder:
    """A worker's side: rows, live counters, and what this process used of its machine."""

    def __init__(self, plan: LocustPlan) -> None:
        self._plan, self._slo = plan, plan.slo_latency
        windows = ceil((plan.end - plan.start) / WINDOW) + 1
        self._last = plan.start + windows * WINDOW
        self._live = LiveWriter(Path(plan.live), plan.start, np.zeros(windows, np.int64))
        self._samples = SampleFile(Path(plan.samples), ["locust"], plan.worker)
        self._usage = _Usage()
        locust.events.request.add_listener(self.record)
        gevent.spawn(self._keep)

    def record(
        self,
        response_time: float | None = None,
        response_length: int | None = None,
        exception: BaseException | None = None,
        start_time: float | None = None,
        response: Any = None,
        **_: Any,
    ) -> None:
        """Write down one request; called by Locust as it ends, its times in ms and Unix s."""
        took = round((response_time or 0.0) * 1e6)
        now = time.monotonic_ns()
        sent = now - took if start_time is None else now - round((time.time() - start_time) * NS)
        end = sent + took
        status = getattr(response, "status_code", 0)
        status = status if isinstance(status, int) else 0
        kind = kind_of(exception)
        self._samples.append(sent, sent, 0, end, response_length or 0, status, 0, kind)
        if self._plan.start <= sent < self._last:
            self._live.sent(sent)
            self._live.ended(sent, end, kind == ErrorKind.OK, self._slo is None or took <= self._slo * NS)

    def close(self) -> None:
        """Write what is left."""
        self._live.gauge(0, 0, "ended")
        Path(self._plan.statistics).write_text(json.dumps(self._usage.summary()), encoding="utf-8")
        self._samples.close()

    def _keep(self) -> None:
        while True:
            self._usage.watch(_TICK)
            self._samples.flush()
            self._live.gauge(0, 0, "running")


@dataclass
class _Usage:
    """What this process used: its share of a core each second, and how late greenlets wake.

    The lags are counted and not kept, so that a long load takes no more memory than a short one.
    """

    began: float = field(default_factory=time.monotonic)
    busiest: float = 0.0
    longest: float = 0.0
    lags: NDArray[np.int64] = field(default_factory=lambda: np.zeros((1, BUCKETS), np.int64))

    def watch(self, seconds: float) -> None:
        """Measure for a while."""
        begin, cpu = time.monotonic(), _cpu()
        while (before := time.monotonic()) < begin + seconds:
            gevent.sleep(_LAG)
            lag = time.monotonic() - before - _LAG
            self.longest = max(self.longest, lag)
            self.lags[0, bucket_of(int(lag * 1e6))] += 1
        self.busiest = max(self.busiest, (_cpu() - cpu) / (time.monotonic() - begin))

    def summary(self) -> dict[str, Any]:
        """Return the fields of `chaos.record.usage`."""
        p50, p99 = (float(quantile(self.lags, share)[0]) if self.lags.any() else 0.0 for share in (0.5, 0.99))
        return {
            "transport": f"locust {locust.__version__}",
            "cpu_s": _cpu(),
            "wall_s": time.monotonic() - self.began,
            "busiest": self.busiest,
            "loop_lag_p50_s": p50,
            "loop_lag_p99_s": p99,
            "loop_lag_max_s": self.longest,
        }


class Crew:
    """The master's side: it sees who is there, and ends the load when its time is over."""

    def __init__(self, plan: LocustPlan) -> None:
        self._plan = plan
        self._complete: int | None = None
        self._least: int | None = None
        locust.events.init.add_listener(self._begin)
        locust.events.spawning_complete.add_listener(self._spawned)

    def close(self) -> None:
        """Write how many users there were; `complete` is None where they never all were there."""
        said = {
            "users": self._plan.users,
            "workers": self._plan.workers,
            "complete": self._complete,
            "fewest": self._least,
        }
        Path(self._plan.crew).write_text(json.dumps(said), encoding="utf-8")

    def _begin(self, environment: Any, **_: Any) -> None:
        gevent.spawn(self._watch, environment.runner)

    def _spawned(self, user_count: int, **_: Any) -> None:
        if user_count >= self._plan.users and self._complete is None:
            self._complete = time.monotonic_ns()

    def _watch(self, runner: Any) -> None:
        """Note the fewest users from the spawn's end on, as the workers' heartbeats tell; then end the load."""
        while (left := (self._plan.end - time.monotonic_ns()) / NS) > 0:
            gevent.sleep(min(left, _TICK))
            if self._complete is not None and time.monotonic_ns() < self._plan.end:
                self._least = min(runner.user_count, self._plan.users if self._least is None else self._least)
        runner.quit()


def kind_of(exception: BaseException | None) -> ErrorKind:
    """Return the kind of a failure: that of the innermost error which has one, or REJECTED."""
    if exception is None:
        return ErrorKind.OK
    return next((kind for error in _chain(exception) if (kind := _kind(error))), ErrorKind.REJECTED)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came of: clients wrap the system's error in their own, each in its own way."""
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        error = waiting.pop(0)
        if error in seen:
            continue
        seen.append(error)
        yield error
        inner = (error.__cause__, error.__context__, *error.args, *vars(error).values())
        waiting += [found for found in inner if isinstance(found, BaseException)]


_BY_NAME = {
    "ConnectTimeout": ErrorKind.CONNECT_TIMEOUT,
    "ConnectTimeoutError": ErrorKind.CONNECT_TIMEOUT,
    "ReadTimeout": ErrorKind.TIMEOUT,
    "ReadTimeoutError": ErrorKind.TIMEOUT,
    "RemoteDisconnected": ErrorKind.CLOSED_EARLY,  # a ConnectionResetError by birth, though it tells of a FIN
    "IncompleteRead": ErrorKind.CLOSED_EARLY,
    "HTTPConnectionClosed": ErrorKind.CLOSED_EARLY,
    "BadStatusLine": ErrorKind.MALFORMED,
    "HTTPParseError": ErrorKind.MALFORMED,
}
_BY_TYPE = (
    (ConnectionRefusedError, ErrorKind.CONNECT_REFUSED),
    (ConnectionResetError, ErrorKind.RESET),
    (BrokenPipeError, ErrorKind.RESET),
    (socket.gaierror, ErrorKind.DNS_FAILED),
    (ssl.SSLError, ErrorKind.TLS_FAILED),
    (TimeoutError, ErrorKind.TIMEOUT),
)


def _kind(error: BaseException) -> ErrorKind | None:
    """Return the kind of one error: by the names of its classes, since clients are many, or by the system's types."""
    named = next((_BY_NAME[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _BY_NAME), None)
    return named or next((kind for cls, kind in _BY_TYPE if isinstance(error, cls)), None)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

"""Traffic that is there already, watched by asking a Prometheus on a schedule of absolute times.

Window i of the load is what the queries say at its end, start + (i + 1) * interval: a rate() over its range is of the
time before. Asking while the run goes on, and not for the whole range afterwards, needs no comparison of Prometheus'
clock with this one's, and a gap stays a gap. A window without a value (no answer, an empty one, NaN, asked too late)
has a row that says why. Absence is no zero: a query for which it is must say `or vector(0)` itself.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from chaos.clock import NS, Clock, SystemClock
from chaos.errors import LoadFailed
from chaos.plan.existing import PlannedTraffic
from chaos.record.traffic import TRAFFIC
from chaos.run.prometheus import NoValueError, one_value, open_client
from probes.histogram import BUCKETS, bucket_of
from probes.live import Live

if TYPE_CHECKING:
    import httpx


def unanswered(load: PlannedTraffic) -> str:
    """Return why the queries can't be asked, or "" when each gives one value now."""
    with open_client(load.interval) as client:
        try:
            _ask(client, load)
        except NoValueError as error:
            return str(error)
    return ""


@dataclass
class WatchedTraffic:
    """One watch, by a thread of this process, writing into a recording's folder."""

    load: PlannedTraffic
    clock: Clock
    _begin: int
    _file: IO[str]
    _live: Live
    _told: threading.Event = field(default_factory=threading.Event, init=False)
    _failure: OSError | None = field(default=None, init=False)
    _thread: threading.Thread = field(init=False)

    @classmethod
    def start(cls, folder: Path, load: PlannedTraffic, start: int) -> WatchedTraffic:
        """Begin to watch; the first window begins at `start` (CLOCK_MONOTONIC ns)."""
        live = _nothing_yet(start, load)
        file = (folder / TRAFFIC).open("x", encoding="utf-8", buffering=1)
        watch = cls(load, SystemClock(), start, file, live)
        watch._thread = threading.Thread(target=watch._watch, name="traffic")
        watch._thread.start()
        return watch

    def live(self) -> Live:
        """Return what is known now; a window that has no value yet, or none at all, is NaN. Raises LoadFailed."""
        if self._failure:
            raise LoadFailed(f"what was watched can't be written: {self._failure}")
        return self._live

    def wait(self, timeout: float) -> int | None:
        """Return 0 once the last window was asked for; None when that takes longer than `timeout` s."""
        self._thread.join(timeout)
        return None if self._thread.is_alive() else self._status()

    def call_off(self, overlay: int) -> None:
        """There is no overlay: nothing is laid over what has no schedule."""

    def stop(self) -> int:
        """Stop asking. Return 0, or 1 where rows could not be written."""
        self._told.set()
        self._thread.join()
        self._file.close()
        return self._status()

    def _status(self) -> int:
        return 1 if self._failure else 0

    def _watch(self) -> None:
        try:
            with open_client(self.load.interval) as client:
                for window in range(len(self._live.ok)):
                    due = self._begin + (window + 1) * self._live.window
                    if self._told.wait(max(0.0, (due - self.clock.now()) / NS)):
                        return
                    self._look(client, window, due)
        except OSError as error:
            self._failure = error

    def _look(self, client: httpx.Client, window: int, due: int) -> None:
        at, values, why = self.clock.now(), {}, ""
        try:
            if at >= due + self._live.window:
                raise NoValueError("asked too late: the answer before took longer than the interval")
            values = _ask(client, self.load)
            self._show(window, values)
        except NoValueError as error:
            why = str(error)
        self._file.write(json.dumps({"window": window, "t": at, **values, **({"why": why} if why else {})}) + "\n")

    def _show(self, window: int, values: Mapping[str, float]) -> None:
        """Put the values where those of a load would stand, as counts of the window."""
        served = values["qps"] * self.load.interval
        offered = values.get("offered", values["qps"]) * self.load.interval
        live = self._live
        live.scheduled[window], live.failed[window] = offered, max(0.0, offered - served)
        live.ok[window] = live.good[window] = live.completed[window] = served
        if "latency" in values:
            live.latencies[window, bucket_of(int(values["latency"] * 1e6))] = 1


def _ask(client: httpx.Client, load: PlannedTraffic) -> dict[str, float]:
    queries = {"qps": load.query, "offered": load.offered, "latency": load.latency}
    return {name: _value(client, load.prometheus, query) for name, query in queries.items() if query is not None}


def _value(client: httpx.Client, base: str, query: str) -> float:
    value = one_value(client, base, query)
    if not math.isfinite(value) or value < 0:
        raise NoValueError(f"{query!r} gives {value}, a number from 0 on is wanted")
    return value


def _nothing_yet(start: int, load: PlannedTraffic) -> Live:
    window = round(load.interval * NS)
    count = int(load.duration / load.interval + 1e-9)
    scheduled, ok, good, failed, completed = np.full((5, count), math.nan)
    latencies = np.zeros((count, BUCKETS), np.int64)
    return Live(start, window, 0, 0, "running", scheduled, ok, good, failed, completed, latencies)

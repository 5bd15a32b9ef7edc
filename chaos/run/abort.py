"""Abort conditions, watched: one guard for a run, asked every tick, which knows when to stop it.

The guard looks as often as it is asked, every 0.25 s, so a condition whose span is over is seen within 0.3 s of when it
*can be known*:

    counters   a window (1 s of the load, or the interval of watched traffic) once it has had time to be good: the SLO's
               latency (1 s where there is none) after its end; then a request that is still out has failed the SLO
               already. It holds when each window of its span that has a value is beyond the limit.
    probe      when the check that tips it has ended, and all before it: its timeout is part of that. The probe is
               unhealthy from then, by its own thresholds, and must stay so for the span.
    query      when the answer is there (`abort_query`): asked once a second, or so often that the span ends with a
               question. Its age is Prometheus' own: the last scrape, and what the expression looks back over.

An unknown is no value: it neither makes a condition hold nor breaks off a span. But a guard that is blind is no guard:
what could not be told for its span and 2 s more (a probe: also its period and timeout) ends the run too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

import numpy as np

from chaos.clock import NS
from chaos.run.abort_query import QueryWatch
from chaos.run.broken import PATIENCE, Broken, blind
from chaos.run.health import HealthProcess
from chaos.spec.abort import AbortCondition, PlannedAbort, ProbeCondition, QueryCondition, Signal
from chaos.units import show_seconds
from probes.live import Live

_GRACE = 1.0  # s, where no SLO says how late an answer may be
_SHOWN = 5  # values are said at most
_QUANTILES: dict[Signal, float] = {"latency": 0.99, "latency_p50": 0.5, "latency_p90": 0.9, "latency_p99": 0.99}


class Watch(Protocol):
    """What watches one condition."""

    def broken(self, live: Live | None, now: int) -> Broken | None:
        """Return why to stop at `now` (ns), or None."""

    def start(self) -> None:
        """Begin what the watch does by itself, if anything."""

    def close(self) -> None:
        """End that, without waiting for it."""


class AbortGuard:
    """Watches one run, whose load begins at `start` (ns); a context, within which it may be asked. `slo` in s.

    `health` are the probes that run beside; only conditions on a probe need them.
    """

    def __init__(
        self,
        conditions: Sequence[PlannedAbort],
        slo: float | None,
        start: int,
        health: HealthProcess | None = None,
    ) -> None:
        self._start = start
        self._watches = [_watch(condition, slo, start, health) for condition in conditions]

    def __enter__(self) -> AbortGuard:
        for watch in self._watches:
            watch.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for watch in self._watches:
            watch.close()

    def broken(self, live: Live | None, now: int) -> Broken | None:
        """Return why to stop at `now` (ns), or None. `live` is None while the load has no counters."""
        if now < self._start:
            return None
        return next((broken for watch in self._watches if (broken := watch.broken(live, now))), None)


def _watch(condition: PlannedAbort, slo: float | None, start: int, health: HealthProcess | None) -> Watch:
    if isinstance(condition, QueryCondition):
        return QueryWatch(condition, start)
    if isinstance(condition, AbortCondition):
        return CounterWatch(condition, slo, start)
    assert health is not None, "a condition on a probe is of a run with probes"
    return ProbeWatch(condition, health, start)


class _Passive:
    """A watch that does nothing between questions."""

    def start(self) -> None:
        """Begin nothing."""

    def close(self) -> None:
        """End nothing."""


class CounterWatch(_Passive):
    """A condition on the live counters."""

    def __init__(self, condition: AbortCondition, slo: float | None, start: int) -> None:
        self._condition, self._begun = condition, start
        self._lag = int((slo if slo is not None else _GRACE) * NS)

    def broken(self, live: Live | None, now: int) -> Broken | None:
        """Return why to stop, or None."""
        last = 0 if live is None else min((now - self._lag - live.start) // live.window, len(live.scheduled))
        known = self._begun if live is None else _known_until(live, int(last))
        if now - known > int((self._condition.for_s + PATIENCE) * NS) + self._lag + (live.window if live else 0):
            return blind(self._condition.text, now, known, "the load's counters say nothing")
        return None if live is None else self._holding(live, int(last), now)

    def _holding(self, live: Live, last: int, now: int) -> Broken | None:
        condition = self._condition
        first = last - math.ceil(condition.for_s * NS / live.window)
        if first < 0:
            return None
        values = self._values(live, first, last)
        values = values[~np.isnan(values)]
        beyond = values < condition.limit if condition.side == "<" else values > condition.limit
        if not len(values) or not beyond.all():
            return None
        since, shown = live.start + first * live.window, tuple(values[-_SHOWN:].tolist())
        listed = ", ".join(_say(condition.signal, value) for value in shown)
        said = f"{condition.signal} was {listed} in the last windows, for {(now - since) / NS:.1f} s"
        return Broken(condition.text, said, since, shown)

    def _values(self, live: Live, first: int, last: int) -> np.ndarray:
        """Return one value a window; NaN where a window had no request to tell by."""
        signal, span = self._condition.signal, slice(first, last)
        if signal == "qps":
            return np.asarray(live.completed[span] / (live.window / NS), dtype=float)
        if signal in _QUANTILES:
            return live.latency(_QUANTILES[signal], first, last)
        counted = live.good if signal == "goodput" else live.failed
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(counted[span] / live.scheduled[span], dtype=float)


class ProbeWatch(_Passive):
    """A condition on what a health probe says."""

    def __init__(self, condition: ProbeCondition, health: HealthProcess, start: int) -> None:
        self._condition, self._health, self._begun = condition, health, start
        probe = next(p for p in health.probes if p.name == condition.probe)
        needs = float(probe.parameters["every"]) + float(probe.parameters["timeout"])
        self._patience = int((condition.for_s + needs + PATIENCE) * NS)

    def broken(self, live: Live | None, now: int) -> Broken | None:
        """Return why to stop, or None."""
        del live
        condition, state = self._condition, self._health.states().get(self._condition.probe)
        known = state.known if state and state.known else self._begun
        if now - known > self._patience:
            return blind(condition.text, now, known, f"the probe {condition.probe} has no answers")
        if state is None or state.down_since is None or now - state.down_since < condition.for_s * NS:
            return None
        last = state.last.name.lower().replace("_", " ") if state.last is not None else "nothing"
        said = f"it said so for {(now - state.down_since) / NS:.1f} s, its last check was: {last}"
        return Broken(condition.text, said, state.down_since)


def _known_until(live: Live, last: int) -> int:
    """Return the end (ns) of the last window before `last` of which anything is known."""
    known = np.flatnonzero(~np.isnan(live.scheduled[: max(last, 0)]))
    return live.start + (int(known[-1]) + 1 if len(known) else 0) * live.window


def _say(signal: Signal, value: float) -> str:
    if signal in ("goodput", "errors"):
        return f"{value * 100:.3g}%"
    return f"{value:.4g}/s" if signal == "qps" else show_seconds(value)

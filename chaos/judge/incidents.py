"""When the service left its steady state, and when it was back: an alarm opens an incident, a held band closes it.

It takes a series and its baseline, and gives incidents as half-open ranges of windows.

*Onset* is a CUSUM (Page 1954) over z = deviation / s0 with k = 1 and h = 5: the alarm is the first window whose sum
passes h, the onset the window after the sum was last 0. It watches goodput, which knows every request that was due.
Where no latency SLO is declared, a slow answer is still a good one, so there the latency p95 is watched too; where one
is declared, a latency within it is no incident.

*Recovery* is the first window from which 10 windows in a row (the hold) have a centred 5-window goodput of at least
0.90 * x0, no more errors than the baseline explains (by its upper 95 % bound, or by its own spread where errors come in
bursts), and a latency p95 of at most 1.25 * the baseline's.
Entering and leaving differ on purpose (hysteresis). Centring smears an edge by up to 2 windows, so the window found is
moved by at most 2: back while single windows are within the band, on while they are not.

Two decisions a reader would question. An alarm alone is no incident: goodput (or the latency, where it is watched) must
have left its band too, over 5 windows, or in one window by what would raise the alarm by itself. Errors only hold a
recovery off. Without this a blip a minute after the recovery would be a relapse. And a band that is regained but not
yet held when the observation ends is neither recovered nor not: the incident stays open, and `in_band_from` says since
when.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import stats

from chaos.judge.baseline import Baseline, log_latency
from chaos.judge.requests import BoolArray, FloatArray, IntArray
from chaos.judge.series import Series

K, H = 1.0, 5.0
HOLD = 10
SMOOTH = 5
REACH = SMOOTH // 2
BAND = 0.90
LATENCY_BAND = 1.25
ERROR_CHANCE = 0.005
"""A hold looks at ten windows: so rarely may a window of a service that is back break the hold by chance."""


@dataclass(frozen=True)
class Alarm:
    """Windows: where the deviation began, and where the sum passed h."""

    onset: int
    detected: int


@dataclass(frozen=True)
class Incident:
    """Windows `[onset, end)`. An open one ends with the series; `in_band_from` is where its last good spell began."""

    onset: int
    detected: int
    end: int
    recovered: bool
    in_band_from: int


def cusum(z: FloatArray, k: float = K, h: float = H) -> Alarm | None:
    """Return the first alarm of a one-sided CUSUM, S_i = max(0, S_(i-1) + z_i - k) > h, or None."""
    total, onset = 0.0, 0
    for window, deviation in enumerate(z.tolist()):
        total = max(0.0, total + deviation - k)
        if total == 0.0:
            onset = window + 1
        elif total > h:
            return Alarm(onset, window)
    return None


@dataclass(frozen=True)
class Watch:
    """The deviations that raise an alarm; where the band was left; where it is held, and in single windows."""

    deviations: tuple[FloatArray, ...]
    left: BoolArray
    held: BoolArray
    single: BoolArray

    def incidents(self, begin: int, stop: int) -> Iterator[Incident]:
        """Yield the incidents among windows `[begin, stop)` in order."""
        while begin < stop and (alarm := self._alarm(begin, stop)):
            incident = self._close(alarm, stop)
            begin = max(incident.end, alarm.detected + 1)
            if self.left[incident.onset : incident.in_band_from].any():
                yield incident

    def _alarm(self, begin: int, stop: int) -> Alarm | None:
        found = [a for z in self.deviations if (a := cusum(z[begin:stop]))]
        if not found:
            return None
        first = min(found, key=lambda a: a.detected)
        return Alarm(begin + min(a.onset for a in found if a.onset <= first.detected), begin + first.detected)

    def _close(self, alarm: Alarm, stop: int) -> Incident:
        band = self.held[alarm.onset : stop]
        spell = _first_run(band, HOLD)
        tail = stop - _length_of_tail(band)
        if spell is None:
            return Incident(alarm.onset, alarm.detected, stop, False, self._edge(tail, alarm.onset, stop))
        end = self._edge(alarm.onset + spell, alarm.onset, stop)
        return Incident(alarm.onset, alarm.detected, end, True, end)

    def _edge(self, found: int, onset: int, stop: int) -> int:
        """Move the start of a spell in the band to where single windows put it, at most as far as centring smears."""
        if found >= stop:
            return stop
        if self.single[found]:
            return found - _length_of_tail(self.single[max(onset, found - REACH) : found])
        ahead = self.single[found + 1 : min(found + REACH, stop)]
        return min(found + 1 + (int(np.argmax(ahead)) if ahead.any() else len(ahead)), stop)


def watch(series: Series, baseline: Baseline, slo_latency: float | None) -> Watch:
    """Return what to watch in a series against its baseline."""
    goodput = _deviation(baseline.goodput.x0 - series.goodput, baseline.goodput.s0)
    latency = log_latency(series.latency_p95_s)
    slower = _deviation(latency - baseline.log_latency.x0, baseline.log_latency.s0)
    low = centred_sum(series.good, SMOOTH) < BAND * baseline.goodput.x0 * centred_sum(series.scheduled, SMOOTH) - 1e-6
    slow = _centred_median(latency, SMOOTH) > _latency_limit(baseline)
    sudden = (goodput > K + H) & (series.goodput < BAND * baseline.goodput.x0)
    return Watch(
        deviations=(goodput,) if slo_latency is not None else (goodput, slower),
        left=np.asarray(low | sudden if slo_latency is not None else low | sudden | slow),
        held=_in_band(series, baseline, latency, SMOOTH),
        single=_in_band(series, baseline, latency, 1),
    )


def centred_sum(values: FloatArray | IntArray, width: int) -> FloatArray:
    """Return the sum over `width` windows about each; fewer at the ends of the series."""
    return np.convolve(values.astype(np.float64), np.ones(width), mode="full")[width // 2 : width // 2 + len(values)]


def _deviation(distance: FloatArray, s0: float) -> FloatArray:
    """Return z; a window in which nothing was due, or nothing answered, says nothing here."""
    return np.nan_to_num(distance / s0, nan=0.0)


def _in_band(series: Series, baseline: Baseline, latency: FloatArray, width: int) -> BoolArray:
    due = centred_sum(series.scheduled, width)
    good = centred_sum(series.good, width)
    failed = centred_sum(series.errors, width)
    independent = stats.binom.ppf(1 - ERROR_CHANCE, np.rint(due), baseline.error_bound)
    allowed = np.maximum(independent, baseline.error_ceiling * due)
    slow = _centred_median(latency, width) > _latency_limit(baseline)
    return np.asarray((good + 1e-6 >= BAND * baseline.goodput.x0 * due) & (np.rint(failed) <= allowed) & ~slow)


def _latency_limit(baseline: Baseline) -> float:
    """Return the limit of log latency: 1.25 times the baseline, or its own noise where that is wider."""
    return baseline.log_latency.x0 + max(math.log(LATENCY_BAND), 2 * baseline.log_latency.s0)


def _centred_median(values: FloatArray, width: int) -> FloatArray:
    """Return the median over `width` windows about each; nan where one of them has no answered request at all."""
    padded = np.pad(values, width // 2, mode="edge")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, width), axis=1))


def _first_run(mask: BoolArray, length: int) -> int | None:
    """Return where the first run of `length` true entries begins."""
    if len(mask) < length:
        return None
    full = np.lib.stride_tricks.sliding_window_view(mask, length).all(axis=1)
    return int(np.argmax(full)) if full.any() else None


def _length_of_tail(mask: BoolArray) -> int:
    """Return how many entries at the end are true."""
    return len(mask) if mask.all() else int(np.argmin(mask[::-1]))

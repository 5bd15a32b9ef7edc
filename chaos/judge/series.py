"""A run cut into windows: what every figure over time is computed from, and what the report draws.

It takes a recording and gives one entry per whole window from the start of the warm-up to the end of the observation.
Two views of the same requests stand side by side, because each sees what the other can't:

    A_i scheduled, G_i good, g_i = G_i / A_i    by the window in which a request was *due*: an open loop knows A_i
                                                exactly, so goodput carries no arrival noise
    q_i                                         answered requests by the window in which they *ended*, over the window:
                                                the QPS an operator sees, with the noise of the arrivals in it

A run that was broken off ends with the last whole window of its load; the rest of its observation did not happen.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from chaos.judge.requests import BoolArray, FloatArray, IntArray, Requests, requests_of
from chaos.record.recording import Recording
from chaos.record.samples import Samples
from chaos.record.terms import Terms
from chaos.record.traffic import read_traffic

_QUANTILES = (0.50, 0.95, 0.99)
_WATCHED = ("qps", "offered", "latency")


@dataclass(frozen=True)
class Series:
    """One entry a window in every array; `start_s` is in s from the end of the baseline.

    Counts are whole numbers, of traffic that was only watched fractions: see `watched_series`.

    Latencies are percentiles over the answered requests that were due in the window; nan where there was none.
    """

    window_s: float
    start_s: FloatArray
    scheduled: IntArray | FloatArray
    answered: IntArray | FloatArray
    good: IntArray | FloatArray
    completed: IntArray | FloatArray
    latency_p50_s: FloatArray
    latency_p95_s: FloatArray
    latency_p99_s: FloatArray

    @property
    def goodput(self) -> FloatArray:
        """g_i, the share of the requests due in the window that were good; nan where none was due."""
        nothing_due = np.full(len(self.good), np.nan)
        return np.asarray(np.divide(self.good, self.scheduled, out=nothing_due, where=self.scheduled > 0))

    @property
    def qps(self) -> FloatArray:
        """q_i, answered requests that ended in the window, per second."""
        return self.completed / self.window_s

    @property
    def errors(self) -> IntArray | FloatArray:
        """How many of the requests due in the window were never answered with success."""
        return self.scheduled - self.answered

    @property
    def first(self) -> int:
        """The window index (from zero, so at most 0) of the first entry."""
        return round(float(self.start_s[0]) / self.window_s) if len(self.start_s) else 0

    @property
    def observed(self) -> BoolArray:
        """Which windows are observation: those from zero on."""
        mask: BoolArray = np.arange(len(self.start_s)) >= -self.first
        return mask

    def index(self, time_s: float) -> int:
        """Return the entry whose window holds a time, clipped to the series."""
        entry = int(np.searchsorted(self.start_s, time_s + 1e-9, side="right")) - 1
        return min(max(entry, 0), len(self.start_s) - 1)


def series_of(recording: Recording, requests: Requests | None = None) -> Series:
    """Return the series of a recording, whose requests may be at hand; it is empty when no load was started."""
    if recording.terms.process == "watched":
        return watched_series(recording)
    requests = load_requests(recording) if requests is None else requests
    return cut(requests, recording.terms, last_window(recording, requests))


def load_requests(recording: Recording) -> Requests:
    """Return the requests of a recording."""
    return requests_of(load_samples(recording), recording.zero or 0, recording.terms)


def load_samples(recording: Recording) -> Samples:
    """Return the samples of a recording. A run that broke off before its load wrote anything has none."""
    written = recording.zero is not None and (recording.path / "samples.bin").exists()
    return recording.samples if written else _NO_SAMPLES


def last_window(recording: Recording, requests: Requests) -> int:
    """Return the window index behind the last one that was observed."""
    intended = whole_windows(recording.terms.observe, recording.terms.window)
    if any(e["outcome"] == "done" for e in recording.named("run.ended")):
        return intended
    return min(intended, int(requests.scheduled_window.max(initial=-(2**31))))


def whole_windows(span_s: float, window_s: float) -> int:
    """Return how many whole windows fit into a span; the rounding of 0.3 / 0.1 costs none."""
    return int(span_s / window_s + 1e-9)


def cut(requests: Requests, terms: Terms, last: int) -> Series:
    """Return the series of requests from the start of the warm-up up to window index `last`."""
    first = -whole_windows(terms.warmup + terms.baseline, terms.window)
    size = max(last - first, 0) if len(requests) else 0
    due = requests.scheduled_window - np.int32(first)
    ended = requests.ended_window - np.int32(first)
    p50, p95, p99 = _quantiles(requests, due, size)
    return Series(
        window_s=terms.window,
        start_s=np.arange(first, first + size, dtype=np.float64) * terms.window,
        scheduled=_count(due, size),
        answered=_count(due[requests.answered], size),
        good=_count(due[requests.good], size),
        completed=_count(ended[requests.answered], size),
        latency_p50_s=p50,
        latency_p95_s=p95,
        latency_p99_s=p99,
    )


def watched_series(recording: Recording) -> Series:
    """Return the series of traffic that was watched: fractions, NaN where a window is a gap, one latency a window.

    Where no query counts what was offered, a request is taken to be served that was seen at all.
    """
    terms, rows = recording.terms, read_traffic(recording.path)
    first = -whole_windows(terms.warmup + terms.baseline, terms.window)
    done = any(e["outcome"] == "done" for e in recording.named("run.ended"))
    size = whole_windows(terms.observe, terms.window) - first if done else len(rows)
    values = np.full((len(_WATCHED), size), np.nan)
    for row in rows[:size]:
        values[:, row["window"]] = [row.get(name, np.nan) for name in _WATCHED]
    qps, offered, latency = values
    served = np.nan_to_num(qps) * terms.window
    scheduled = np.where(np.isnan(offered), served, np.nan_to_num(offered) * terms.window)
    good = np.minimum(served, scheduled)  # a rate of one moment may be above that of the next
    nothing = np.full(size, np.nan)
    return Series(
        window_s=terms.window,
        start_s=np.arange(first, first + size, dtype=np.float64) * terms.window,
        scheduled=scheduled,
        answered=good,
        good=good,
        completed=qps * terms.window,
        latency_p50_s=nothing,
        latency_p95_s=latency,
        latency_p99_s=nothing,
    )


def _count(windows: np.ndarray[tuple[int], np.dtype[np.int32]], size: int) -> IntArray:
    inside = windows[(windows >= 0) & (windows < size)]
    return np.bincount(inside, minlength=size).astype(np.int64)[:size]


def _quantiles(requests: Requests, due: np.ndarray[tuple[int], np.dtype[np.int32]], size: int) -> FloatArray:
    """Return the latency quantiles of each window, shape (3, size): one sort by window, then one look at each."""
    inside = np.flatnonzero(requests.answered & (due >= 0) & (due < size))
    inside = inside[np.argsort(due[inside], kind="stable")]
    latency, edges = requests.latency_s[inside], np.searchsorted(due[inside], np.arange(size + 1))
    found = np.full((len(_QUANTILES), size), np.nan)
    for window, (begin, end) in enumerate(pairwise(edges.tolist())):
        if end > begin:
            found[:, window] = np.quantile(latency[begin:end], _QUANTILES)
    return found


_NO_SAMPLES = Samples(
    np.empty(
        0,
        [(n, "<i8") for n in ("scheduled", "sent", "end", "first_token", "tokens", "chunks")]
        + [(n, "<i2") for n in ("status", "error")],
    ),
    (),
    (),
)

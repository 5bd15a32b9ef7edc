"""The steady state before the fault: the levels everything after is held against, and whether they can be trusted.

It takes the last 60 windows before the injection, less a guard of 5 (a request in flight when the fault comes is due
before it and fails because of it), and gives for goodput, QPS and latency a level x0 (median) and a spread s0
(1.4826 * MAD, the standard deviation of a normal sample; scipy.stats.median_abs_deviation). A MAD of fifteen windows
comes out a third too small by luck, and 0 where every request succeeds; either makes false alarms. So s0 is at least
the sample's standard deviation, and at least what counting alone would make it.

A baseline with a trend is no baseline. The doubtful point is noise: over 15 windows at 50/s a Theil-Sen slope of pure
Poisson noise is beyond 5 % in most runs. So a trend counts only where it is beyond 5 % *and* its 99 % interval
(scipy.stats.theilslopes) leaves out zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from chaos.judge.requests import FloatArray
from chaos.judge.series import Series
from chaos.record.terms import Terms

WINDOWS = 60
GUARD = 5
FEWEST = 10
TREND = 0.05
DIP = 0.85
GOODPUT_FLOOR = 0.01
LATENCY_FLOOR = 0.10
LATENCY_RESOLUTION_S = 1e-3
"""Below a millisecond a p95 says more about the client's scheduler than about the system."""


@dataclass(frozen=True)
class Level:
    """A steady level: the median `x0`, and the spread `s0` of one window about it."""

    x0: float
    s0: float


@dataclass(frozen=True)
class Baseline:
    """The steady state over `n` windows. QPS in 1/s; `log_latency` is of log(p95 in s), see `log_latency`."""

    n: int
    goodput: Level
    qps: Level
    dispersion: float
    """The variance-to-mean ratio of answered requests per window."""
    log_latency: Level
    error_bound: float
    """Upper 95 % bound of the error ratio, errors taken as independent (Clopper and Pearson 1934)."""
    error_ceiling: float
    """The error ratio that one window in twenty passes by itself: x0 + 1.645 * s0 of the windows' own ratios."""


@dataclass(frozen=True)
class Survey:
    """What the baseline came to: its levels, where there are any, and what is wrong with it."""

    baseline: Baseline | None
    problems: tuple[str, ...] = ()


def survey(series: Series, terms: Terms, injected_s: float) -> Survey:
    """Return the baseline before `injected_s`, the time at which the first fault was begun (0 where there is none)."""
    window = _window_before(series, terms, injected_s)
    n = window.stop - window.start
    if n < FEWEST:
        needed = (FEWEST + GUARD) * series.window_s
        return Survey(
            None,
            (
                f"the baseline has {n} windows of {series.window_s:g} s before its guard of {GUARD}, "
                f"{FEWEST} are required: make timeline.baseline at least {needed:g}s",
            ),
        )
    if not series.good[window].any():
        return Survey(
            None,
            (
                "no request was good during the baseline, so there is no steady state to compare with: "
                "mend the service or the load, or raise the SLO",
            ),
        )
    return Survey(
        _levels(series, terms, window),
        (*_dips(series, window), *_trends(series, window, terms.offered_evenly(-terms.baseline, 0))),
    )


def log_latency(p95_s: FloatArray) -> FloatArray:
    """Return latency on a scale where ratios are distances, flat below the resolution of a client."""
    return np.log(p95_s + LATENCY_RESOLUTION_S)


def _window_before(series: Series, terms: Terms, injected_s: float) -> slice:
    """Return the entries of the baseline: never warm-up, never guard, never more than 60."""
    ends = series.start_s + series.window_s
    stop = int(np.sum(ends <= injected_s + 1e-9)) - GUARD
    begin = int(np.sum(series.start_s < -terms.baseline - 1e-9))
    return slice(max(begin, stop - WINDOWS), max(stop, begin))


def _levels(series: Series, terms: Terms, window: slice) -> Baseline:
    due, good = int(series.scheduled[window].sum()), int(series.good[window].sum())
    failed = int(series.errors[window].sum())
    bad = (due - good + 1) / (due + 2)
    qps = series.qps[window]
    known = series.completed[window][~np.isnan(qps)]
    counting = math.sqrt((terms.arrival_dispersion or 0.0) * float(np.nanmedian(qps)) / series.window_s)
    return Baseline(
        n=len(qps),
        goodput=_level(series.goodput[window], max(GOODPUT_FLOOR, math.sqrt(bad * (1 - bad) * len(qps) / due))),
        qps=_level(qps, max(counting, GOODPUT_FLOOR * float(np.nanmedian(qps)))),
        dispersion=float(np.var(known, ddof=1) / np.mean(known)) if known.any() else 0.0,
        log_latency=_level(log_latency(series.latency_p95_s[window]), LATENCY_FLOOR),
        error_ceiling=_ceiling(series.errors[window] / np.maximum(series.scheduled[window], 1)),
        error_bound=float(stats.beta.ppf(0.95, failed + 1, due - failed)) if failed < due else 1.0,
    )


def _level(values: FloatArray, floor: float) -> Level:
    known = values[~np.isnan(values)]
    if not len(known):
        return Level(math.nan, floor)
    spread = float(stats.median_abs_deviation(known, scale="normal"))
    deviation = float(np.std(known, ddof=1)) if len(known) > 1 else 0.0
    return Level(float(np.median(known)), max(spread, deviation, floor))


def _ceiling(ratios: FloatArray) -> float:
    level = _level(ratios, floor=0.0)
    return level.x0 + float(stats.norm.ppf(0.95)) * level.s0


def _dips(series: Series, window: slice) -> tuple[str, ...]:
    """Return the problem that a glitch in the baseline is: it would widen s0 until a real outage hid in it."""
    goodput = series.goodput[window]
    normal, lowest = float(np.nanmedian(goodput)), float(np.nanmin(goodput))
    if lowest >= DIP * normal or lowest >= normal - 5 * _robust_spread(series, window):
        return ()
    return (
        f"goodput fell to {lowest:.1%} in one window of the baseline, {normal:.1%} is its normal: the service was not "
        "steady before the fault; repeat the run",
    )


def _robust_spread(series: Series, window: slice) -> float:
    goodput = series.goodput[window]
    mad = float(stats.median_abs_deviation(goodput, scale="normal", nan_policy="omit"))
    return max(mad, 0.5 / math.sqrt(float(np.median(series.scheduled[window])) or 1.0))


def _trends(series: Series, window: slice, offered_evenly: bool) -> tuple[str, ...]:
    """Return the trends found. QPS follows what is offered: where that moves by intent, only goodput tells."""
    named = (("goodput", series.goodput), *((("QPS", series.qps),) if offered_evenly else ()))
    found = ((name, _trend(values[window])) for name, values in named)
    return tuple(
        f"{name} moved by {trend:+.0%} over the baseline, at most {TREND:.0%} is allowed: "
        "lengthen timeline.warmup until the service is steady, and repeat"
        for name, trend in found
        if abs(trend) > TREND
    )


def _trend(values: FloatArray) -> float:
    """Return the relative change over all windows (Theil 1950, Sen 1968), or 0 where noise alone would explain it."""
    known = np.flatnonzero(~np.isnan(values))
    if len(known) < FEWEST:
        return 0.0
    slope, _, low, high = stats.theilslopes(values[known], known, alpha=0.99)
    level = float(np.median(values[known]))
    if level == 0 or low <= 0 <= high:
        return 0.0
    return float(slope) * len(values) / level

"""How many of the requests that were due were served, and in how much of the time.

    goodput_ratio          sum G / sum A
    availability_requests  the same number, under the name an SLO gives it
    availability_time      share of the windows with g_i >= 0.99 * g0, g0 the goodput of the baseline
    error_ratio            share of the requests that were never answered with success, however late

All are over the observation, from the end of the baseline on. Warm-up and baseline stay out: a longer baseline would
otherwise buy a better availability for the same outage. A is what was *scheduled*, so requests that a stalled service
kept from being sent count against it (G and A: see `series`).
"""

from __future__ import annotations

import numpy as np

from chaos.judge.baseline import Baseline
from chaos.judge.finding import Findings, measured, missing
from chaos.judge.series import Series

UP = 0.99


def availability_findings(series: Series, baseline: Baseline | None) -> Findings:
    """Return the four ratios over the observation."""
    seen = series.observed
    due = int(series.scheduled[seen].sum())
    names = ("goodput_ratio", "availability_requests", "error_ratio")
    if not due:
        return {name: missing("1", "no request was due in the observation") for name in (*names, "availability_time")}
    good, failed = int(series.good[seen].sum()) / due, int(series.errors[seen].sum()) / due
    ratios = dict(zip(names, (good, good, failed), strict=True))
    return {n: measured(value, "1", n=due) for n, value in ratios.items()} | _by_time(series, baseline)


def _by_time(series: Series, baseline: Baseline | None) -> Findings:
    if baseline is None:
        return {"availability_time": missing("1", "there is no baseline to say which goodput is normal")}
    goodput = series.goodput[series.observed]
    known = goodput[~np.isnan(goodput)]
    up = float(np.mean(known >= UP * baseline.goodput.x0))
    return {"availability_time": measured(up, "1", window_s=series.window_s, n=len(known))}

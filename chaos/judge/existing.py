"""What a figure is worth where the load is not our own open loop: each says in words what it can't say in numbers.

A closed loop sends less while answers are slow, so its requests know nothing of those that were never sent. Traffic
that is only watched is known by its rates over a range, every interval, and not request by request.

Both are watched by QPS beside goodput (`rate_watch`): where every user waits, or the service takes its counter down
with it, no request is there to fail, and goodput has nothing to tell.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from chaos.judge.baseline import Baseline
from chaos.judge.finding import Finding, Findings, missing
from chaos.judge.incidents import BAND, SMOOTH, H, K, Watch, centred_sum, watch
from chaos.judge.requests import BoolArray
from chaos.judge.series import Series
from chaos.record.terms import Terms

_CLOSED = (
    "the load is a closed loop: a user who waits for an answer sends nothing meanwhile, so latency counts from the "
    "send and not from an intended schedule, and what a stall kept from being sent is in none of these figures"
)
_FROM_THE_SEND = (
    *("latency_p50_s", "latency_p90_s", "latency_p99_s"),
    *("goodput_ratio", "availability_requests", "availability_time", "error_ratio", "lost_requests"),
)
_BY_REQUEST = ("latency_p50_s", "latency_p90_s", "latency_p99_s", "lost_requests")
_BY_COUNT = ("qps_cv_raw", "qps_cv_noise", "qps_cv_real")
_BY_FAILURE = ("goodput_ratio", "availability_requests", "availability_time", "error_ratio")


def qualified(findings: Findings, terms: Terms) -> Findings:
    """Return the findings, each with its word where the load can't carry it; those of an open loop as they are."""
    if terms.is_open_loop:
        return findings
    if terms.process == "closed":
        return findings | {name: _with(findings[name], _CLOSED) for name in _FROM_THE_SEND if name in findings}
    whys = {
        **dict.fromkeys(_BY_REQUEST, "the traffic was watched by its rates, and no request was seen by itself"),
        **dict.fromkeys(
            _BY_COUNT,
            "a rate over a range is a mean of unknown counts: its fluctuation can't be told from its noise, and "
            f"nothing faster than the {terms.window:g} s between queries shows",
        ),
    }
    if not terms.offered_known:
        whys |= dict.fromkeys(_BY_FAILURE, "no query counts the requests that failed: give load.offered")
    return findings | {name: missing(findings[name].figure.unit, why) for name, why in whys.items() if name in findings}


def rate_watch(series: Series, baseline: Baseline, slo_latency: float | None) -> Watch:
    """Return what to watch where requests may stay away: as `watch`, and QPS too. A gap is no alarm, and holds none."""
    seen = watch(series, baseline, slo_latency)
    deviation = np.nan_to_num((baseline.qps.x0 - series.qps) / baseline.qps.s0, nan=0.0)
    sudden = (deviation > K + H) & (series.qps < BAND * baseline.qps.x0)
    known = ~np.isnan(series.qps)
    return replace(
        seen,
        deviations=(*seen.deviations, deviation),
        left=seen.left | sudden | (known & ~_busy(series, baseline, SMOOTH)),
        held=seen.held & _busy(series, baseline, SMOOTH),
        single=seen.single & _busy(series, baseline, 1),
    )


def _busy(series: Series, baseline: Baseline, width: int) -> BoolArray:
    """Return where QPS, a mean over `width` windows about each, is in its band; not where one of them is a gap.

    The band is that of goodput, or twice the baseline's own spread of such a mean where that is wider.
    """
    mean = centred_sum(series.qps, width) / centred_sum(np.ones(len(series.qps)), width)
    room = max((1 - BAND) * baseline.qps.x0, 2 * baseline.qps.s0 / width**0.5)
    return np.asarray(mean + 1e-9 >= baseline.qps.x0 - room)


def _with(finding: Finding, word: str) -> Finding:
    """Return a finding with a word, unless it has one of its own."""
    return replace(finding, reason=finding.reason or word)

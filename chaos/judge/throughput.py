"""QPS as an operator sees it: its mean, its low end, and its deepest dip.

    offered_rate, achieved_rate   as in `generator`
    qps_mean   mean of q_i             over the whole observation, the fault in it: what was served
    qps_p05    5th percentile of q_i   over the same windows: what was served in the worst twentieth of the time
    qps_dip    1 - min(mean of q over 5 centred windows) / x0, at least 0; x0 the median of the baseline

The dip is a minimum, and a minimum finds noise: the arrivals alone make 5-window means spread by sqrt(F0 / (5 m)), and
the lowest of a hundred lies about 3 such spreads down. A dip within that is no evidence that a limit was broken.
Where the offered rate itself changes (steps, a trace), the QPS of the baseline is no reference for that of later, and
there is no dip: goodput knows what was offered, and shows an outage all the same. A burst only adds to the rate, which
is even without it, so there QPS below that of the baseline is a dip all the same: the service then serves less than it
did when less was asked of it.
"""

from __future__ import annotations

import math

import numpy as np

from chaos.judge.baseline import Baseline
from chaos.judge.dispersion import Dispersion
from chaos.judge.finding import Finding, Findings, measured, missing
from chaos.judge.incidents import REACH, SMOOTH
from chaos.judge.series import Series
from chaos.judge.verdict import Figure, Generator
from chaos.record.terms import Terms

EXTREME = 3.0


def throughput_findings(
    series: Series, baseline: Baseline | None, generator: Generator, terms: Terms, dispersion: Dispersion | None
) -> Findings:
    """Return the rates and the dip."""
    rates = {
        "offered_rate": _offered(generator),
        "achieved_rate": measured(generator.achieved_rate, "1/s"),
    }
    return rates | _levels(series) | {"qps_dip": _dip(series, baseline, terms, dispersion)}


def _offered(generator: Generator) -> Finding:
    if generator.offered_rate is None:
        return missing("1/s", "no rate was intended, and nobody counted what was offered")
    return measured(generator.offered_rate, "1/s")


def _levels(series: Series) -> Findings:
    qps = series.qps[series.observed]
    qps = qps[~np.isnan(qps)]
    if not len(qps):
        return {name: missing("1/s", "nothing was observed") for name in ("qps_mean", "qps_p05")}
    values = {"qps_mean": float(np.mean(qps)), "qps_p05": float(np.quantile(qps, 0.05))}
    return {name: measured(value, "1/s", window_s=series.window_s, n=len(qps)) for name, value in values.items()}


def _dip(series: Series, baseline: Baseline | None, terms: Terms, dispersion: Dispersion | None) -> Finding:
    if baseline is None or dispersion is None or baseline.qps.x0 == 0:
        return missing("1", "there is no baseline to say which QPS is normal")
    if not terms.offered_evenly(-terms.baseline, terms.observe):
        return missing(
            "1", "the offered rate changes over time, so the QPS of the baseline is no reference: see goodput"
        )
    means = centred_means(series)
    if not len(means):
        return missing("1", f"the observation is shorter than the {SMOOTH} windows that are averaged")
    spread = EXTREME * math.sqrt(dispersion.f0 / (SMOOTH * baseline.qps.x0 * series.window_s))
    dip = max(0.0, 1 - float(means.min()) / baseline.qps.x0)

    def doubt(limit: float) -> str:
        if not limit < dip <= spread:
            return ""
        return (
            f"a dip of {dip:.1%} is within the {spread:.1%} that arrivals at {baseline.qps.x0:.4g}/s make by "
            "themselves: raise the rate or widen the window"
        )

    return Finding(Figure(value=dip, unit="1", window_s=series.window_s, n=len(means)), doubt=doubt)


def centred_means(series: Series) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return the mean QPS over 5 windows about each window of the observation that has them all, none of them a gap."""
    qps = series.qps[max(-series.first - REACH, 0) :]
    means = np.convolve(qps, np.ones(SMOOTH) / SMOOTH, mode="valid") if len(qps) >= SMOOTH else np.empty(0)
    return means[~np.isnan(means)]

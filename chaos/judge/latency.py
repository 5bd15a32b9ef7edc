"""Percentiles of times, and the latency: from the scheduled instant to the last byte.

They are over the requests that were answered with success: a refusal within a millisecond is no fast answer, and a
request that never ended has no latency. How many those were is `error_ratio`, and `n` is how many remain. So that the
survivors can't pass a budget for all, a percentile p with more than 1 - p of the requests unanswered counts as beyond
every limit: the p99 of *all* requests is then not a number that was measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from chaos.judge.finding import Finding, Findings, measured, missing
from chaos.judge.verdict import Figure

PERCENTILES = {"latency_p50_s": 0.50, "latency_p90_s": 0.90, "latency_p99_s": 0.99}


def latency_findings(answered_s: NDArray[np.float32], due: int) -> Findings:
    """Return the percentiles of the latencies of the answered requests (s), of `due` that were scheduled."""
    unanswered = 1 - len(answered_s) / due if due else 0.0
    nothing = f"none of {due} requests was answered with success"
    longest = measured(float(answered_s.max()), "s", n=len(answered_s)) if len(answered_s) else missing("s", nothing)
    return percentile_findings(answered_s, PERCENTILES, unanswered, nothing) | {"latency_max_s": longest}


def percentile_findings(
    times_s: NDArray[np.float32], percentiles: Mapping[str, float], unanswered: float, nothing: str
) -> Findings:
    """Return percentiles (name: 0..1) of times in s; `unanswered` is the share of requests that have none and should.

    `nothing` says why there is no time at all, where there is none.
    """
    if not len(times_s):
        return {name: missing("s", nothing, math.inf if unanswered else None) for name in percentiles}
    values = np.quantile(times_s, list(percentiles.values())).tolist()
    return {
        name: _finding(Figure(value=value, unit="s", n=len(times_s)), p, unanswered)
        for (name, p), value in zip(percentiles.items(), values, strict=True)
    }


def _finding(figure: Figure, p: float, unanswered: float) -> Finding:
    if unanswered <= 1 - p + 1e-12:
        return Finding(figure)
    return Finding(
        figure,
        f"{unanswered:.2%} of the requests had no successful answer, so this percentile is one of the answered only; "
        "over all requests it lies beyond every latency that was measured",
        at_least=math.inf,
    )

"""Latency percentiles, from the scheduled instant to the last byte.

They are over the requests that were answered with success: a refusal within a millisecond is no fast answer, and a
request that never ended has no latency. How many those were is `error_ratio`, and `n` is how many remain. So that the
survivors can't pass a budget for all, a percentile p with more than 1 - p of the requests unanswered counts as beyond
every limit: the p99 of *all* requests is then not a number that was measured.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from chaos.judge.finding import Finding, Findings, missing
from chaos.judge.verdict import Figure

PERCENTILES = {"latency_p50_s": 0.50, "latency_p90_s": 0.90, "latency_p99_s": 0.99}


def latency_findings(answered_s: NDArray[np.float32], due: int) -> Findings:
    """Return the percentiles of the latencies of the answered requests (s), of `due` that were scheduled."""
    if not len(answered_s):
        why = f"none of {due} requests was answered with success"
        return {name: missing("s", why, math.inf if due else None) for name in PERCENTILES}
    values = np.quantile(answered_s, list(PERCENTILES.values())).tolist()
    unanswered = 1 - len(answered_s) / due
    return {
        name: _finding(name, value, len(answered_s), unanswered)
        for name, value in zip(PERCENTILES, values, strict=True)
    }


def _finding(name: str, value: float, n: int, unanswered: float) -> Finding:
    figure = Figure(value=value, unit="s", n=n)
    if unanswered <= 1 - PERCENTILES[name] + 1e-12:
        return Finding(figure)
    return Finding(
        figure,
        f"{unanswered:.2%} of the requests had no successful answer, so this percentile is one of the answered only; "
        "over all requests it lies beyond every latency that was measured",
        at_least=math.inf,
    )

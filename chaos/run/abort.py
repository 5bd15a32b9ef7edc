"""Abort conditions on the live counters: "goodput < 50% for 10s".

A window is judged once it has had time to be good: the SLO's latency (1 s where there is none) after its end. Then a
request that is still out has failed the SLO already. A condition holds when each of the last windows that fill its span
is beyond the limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chaos.spec.abort import AbortCondition
from probes.live import Live

_GRACE = 1.0  # s, where no SLO says how late an answer may be


class AbortGuard:
    """Watches one run. `slo` in s."""

    def __init__(self, conditions: Sequence[AbortCondition], slo: float | None) -> None:
        self._conditions, self._slo = conditions, slo

    def broken(self, live: Live, now: int) -> AbortCondition | None:
        """Return the first condition that holds at `now` (ns), or None."""
        lag = int((self._slo if self._slo is not None else _GRACE) * 1e9)
        last = min((now - lag - live.start) // live.window, len(live.scheduled))
        return next((c for c in self._conditions if self._holds(c, live, int(last))), None)

    def _holds(self, condition: AbortCondition, live: Live, last: int) -> bool:
        first = last - math.ceil(condition.for_s * 1e9 / live.window)
        if first < 0:
            return False
        values = self._values(condition, live, first, last)
        values = values[~np.isnan(values)]
        beyond = values < condition.limit if condition.side == "<" else values > condition.limit
        return bool(len(values) and beyond.all())

    def _values(self, condition: AbortCondition, live: Live, first: int, last: int) -> np.ndarray:
        """Return one value a window; NaN where a window had no request to tell by."""
        span = slice(first, last)
        if condition.signal == "qps":
            return live.completed[span] / (live.window / 1e9)
        if condition.signal == "latency":
            return live.latency(0.99, first, last)
        counted = live.good if condition.signal == "goodput" else live.failed
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(counted[span] / live.scheduled[span], dtype=float)

"""What became of each request, as columns: the one place that says which request counts as answered, and which as good.

    answered   a complete response with a status of 2xx or 3xx; of a load by Locust, what Locust calls a success
    good       answered, and within every limit of the SLO that is declared: latency, ttft and tpot together
    unsent     was due, and never left the generator: the generator's failing, not the system's

Latency runs from the *scheduled* instant, so a stalled system can't hide behind requests that were sent late
(coordinated omission; wrk2's README). A good answer is what `probes.slo` says it is, here for all rows at once.
Windows are counted from zero, the end of the baseline, and are negative before.

No loop goes over requests, and one temporary column of 64 bits is alive at a time: ten million requests fit into 1 GB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chaos.clock import NS
from chaos.record.samples import Samples
from chaos.record.terms import Terms

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class Requests:
    """One entry a request in every column. Latencies and delays in s; a delay is nan where nothing was sent."""

    scheduled_window: NDArray[np.int32]
    ended_window: NDArray[np.int32]
    answered: BoolArray
    good: BoolArray
    unsent: BoolArray
    latency_s: NDArray[np.float32]
    send_delay_s: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.answered)


def requests_of(samples: Samples, zero: int, terms: Terms) -> Requests:
    """Return the columns of all samples; `zero` is the end of the baseline in ns."""
    rows = samples.rows
    success = (rows["status"] >= 200) & (rows["status"] < 400)
    answered = (rows["error"] == 0) & (success | (terms.process == "closed"))
    delay = seconds_after(rows["scheduled"], rows["sent"])
    delay[rows["sent"] == 0] = np.nan
    return Requests(
        scheduled_window=_windows(rows["scheduled"], zero, terms.window),
        ended_window=_windows(rows["end"], zero, terms.window),
        answered=answered,
        good=answered & _meets_slo(rows, terms),
        unsent=_is_unsent(samples),
        latency_s=seconds_after(rows["scheduled"], rows["end"]),
        send_delay_s=delay,
    )


def _meets_slo(rows: NDArray[np.void], terms: Terms) -> BoolArray:
    """Return which answers are within every limit. A stream without a token meets none on tokens."""
    met = np.ones(len(rows), np.bool_)
    if terms.slo_latency is not None:
        met &= rows["end"] - rows["scheduled"] <= terms.slo_latency * NS
    if terms.slo_ttft is not None or terms.slo_tpot is not None:
        met &= rows["first_token"] != 0
    if terms.slo_ttft is not None:
        met &= rows["first_token"] - rows["scheduled"] <= terms.slo_ttft * NS
    if terms.slo_tpot is not None:
        allowed = terms.slo_tpot * NS * np.maximum(rows["tokens"] - 1, 0)
        met &= (rows["end"] - rows["first_token"] <= allowed) | (rows["tokens"] == 1)
    return met


def _is_unsent(samples: Samples) -> BoolArray:
    if "unsent" not in samples.errors:
        return np.zeros(len(samples.rows), np.bool_)
    unsent: BoolArray = samples.rows["error"] == samples.errors.index("unsent")
    return unsent


def seconds_after(begin: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float32]:
    """Return end - begin in s. A float32 holds 10 s to the microsecond, and the difference is taken before rounding."""
    return np.asarray((end - begin) / NS, np.float32)


def _windows(times: NDArray[Any], zero: int, window_s: float) -> NDArray[np.int32]:
    """Return the window of each time. A time of 0 (it never happened) falls far outside every series."""
    floor: NDArray[np.int64] = (times - np.int64(zero)) // round(window_s * NS)
    return np.clip(floor, -(2**31), 2**31 - 1).astype(np.int32)

"""What became of each request, as columns: the one place that says which request counts as answered, and which as good.

    answered   a complete response with a status of 2xx or 3xx; of a load by Locust, what Locust calls a success
    good       answered, and within the latency SLO where one is declared
    unsent     was due, and never left the generator: the generator's failing, not the system's

Latency runs from the *scheduled* instant, so a stalled system can't hide behind requests that were sent late
(coordinated omission; wrk2's README). Windows are counted from zero, the end of the baseline, and are negative before.

No loop goes over requests, and one temporary column of 64 bits is alive at a time: ten million requests fit into 1 GB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chaos.clock import NS
from chaos.record.samples import Samples

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


def requests_of(
    samples: Samples, zero: int, window_s: float, slo_latency: float | None, any_status: bool = False
) -> Requests:
    """Return the columns of all samples; `zero` is the end of the baseline in ns, `any_status` may be a success."""
    rows = samples.rows
    answered = (rows["error"] == 0) & (any_status | ((rows["status"] >= 200) & (rows["status"] < 400)))
    latency = _seconds_after(rows["scheduled"], rows["end"])
    within = latency <= slo_latency if slo_latency is not None else True
    delay = _seconds_after(rows["scheduled"], rows["sent"])
    delay[rows["sent"] == 0] = np.nan
    return Requests(
        scheduled_window=_windows(rows["scheduled"], zero, window_s),
        ended_window=_windows(rows["end"], zero, window_s),
        answered=answered,
        good=answered & within,
        unsent=_is_unsent(samples),
        latency_s=latency,
        send_delay_s=delay,
    )


def _is_unsent(samples: Samples) -> BoolArray:
    if "unsent" not in samples.errors:
        return np.zeros(len(samples.rows), np.bool_)
    unsent: BoolArray = samples.rows["error"] == samples.errors.index("unsent")
    return unsent


def _seconds_after(begin: NDArray[Any], end: NDArray[Any]) -> NDArray[np.float32]:
    """Return end - begin in s. A float32 holds 10 s to the microsecond, and the difference is taken before rounding."""
    return np.asarray((end - begin) / NS, np.float32)


def _windows(times: NDArray[Any], zero: int, window_s: float) -> NDArray[np.int32]:
    """Return the window of each time. A time of 0 (it never happened) falls far outside every series."""
    floor: NDArray[np.int64] = (times - np.int64(zero)) // round(window_s * NS)
    return np.clip(floor, -(2**31), 2**31 - 1).astype(np.int32)

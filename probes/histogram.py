"""Latencies counted in buckets of an eighth of an octave of microseconds: little memory, and right to 1/16.

For what is looked at while it runs. What is judged is computed from the samples themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BUCKETS = 232  # up to 2^31 us, 36 min


def bucket_of(latency: int) -> int:
    """Return the bucket of a latency in us: below 8 its own, above that one of eight for each power of two."""
    if latency < 8:
        return max(latency, 0)
    power = latency.bit_length()
    return min((power - 3) << 3 | latency >> (power - 4) & 7, BUCKETS - 1)


def quantile(counts: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    """Return a quantile in s of each row of counts, shape (n, BUCKETS) -> (n,); nan where a row is empty."""
    below = counts.cumsum(axis=1)
    totals = below[:, -1]
    found = (below < np.ceil(share * totals)[:, None]).sum(axis=1)
    return np.where(totals > 0, _MIDDLES[np.minimum(found, BUCKETS - 1)], np.nan)


def _middle(bucket: int) -> float:
    """Return the latency in s in the middle of a bucket."""
    if bucket < 8:
        return (bucket + 0.5) / 1e6
    width = 1 << (bucket >> 3) - 1
    return ((8 + (bucket & 7)) * width + width / 2) / 1e6


_MIDDLES = np.array([_middle(bucket) for bucket in range(BUCKETS)])

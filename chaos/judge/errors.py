"""Why requests failed: how many of those that were due in the observation had no successful answer, by kind.

A kind is a word of the generator's (`connect_refused`, `timeout`: `probes.errors`), or `status 503` where there was an
answer and its status was neither 2xx nor 3xx.
"""

from __future__ import annotations

import numpy as np

from chaos.judge.requests import BoolArray
from chaos.record.samples import Samples

_STATUSES = 1000


def errors_by_kind(samples: Samples, failed: BoolArray) -> dict[str, int]:
    """Return how many of the failed requests there are of each kind, the most first."""
    rows = samples.rows[failed]
    status = np.clip(rows["status"].astype(np.int32), 0, _STATUSES - 1)
    codes, counts = np.unique(rows["error"].astype(np.int32) * _STATUSES + status, return_counts=True)
    kinds: dict[str, int] = {}
    for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
        kind = _kind(samples, *divmod(code, _STATUSES))
        kinds[kind] = kinds.get(kind, 0) + count
    return dict(sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def _kind(samples: Samples, error: int, status: int) -> str:
    if not error:
        return f"status {status}"
    return samples.errors[error] if error < len(samples.errors) else f"error {error}"

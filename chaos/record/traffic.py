"""What was watched of traffic that is there already: one line of JSON a window, in order.

window    index from the start of the load        t     when it was asked for, CLOCK_MONOTONIC ns
qps       successful requests per second          why   in place of the values: why there is none
offered   all requests per second, where there was a query for it; `latency` (s) likewise
"""

from __future__ import annotations

from pathlib import Path

from chaos.record.events import Event, read_jsonl

TRAFFIC = "traffic.jsonl"


def read_traffic(folder: Path) -> tuple[Event, ...]:
    """Return the rows; none for a run that broke off before anything was asked."""
    path = folder / TRAFFIC
    return tuple(read_jsonl(path)) if path.exists() else ()

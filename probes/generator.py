"""What a load's process used of its machine while it ran: its CPU, and how late its event loop came to what was due.

A load that is short of CPU, or whose loop is held up, measures itself. Both are looked at from inside, apart from the
requests: the CPU time of the process (all its threads) in each whole second as a share of one core, and the lag of a
timer that is due every TICK, which sees what holds the loop up also while no request is due. Written as JSON when the
load ends:

    transport                                  "wire" (HTTP/1.1) or "httpx" (HTTP/2)
    cpu_s wall_s                               of the whole load
    busiest                                    the highest share of one core in any second; 1.0 is a core
    loop_lag_p50_s loop_lag_p99_s loop_lag_max_s
    connections_opened
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from time import monotonic_ns, process_time_ns

import numpy as np

from probes.histogram import BUCKETS, bucket_of, quantile
from probes.timer import NS, AbsoluteTimer

TICK = 20_000_000


class GeneratorMonitor:
    """Watches this process from when it is made until `close`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = AbsoluteTimer(loop, self._tick)
        self._lags, self._longest, self._busiest = np.zeros((1, BUCKETS), np.int64), 0, 0.0
        self._began = self._second = monotonic_ns()
        self._cpu_began = self._cpu = process_time_ns()
        self._due = self._began + TICK
        self._timer.arm(self._due)

    def close(self) -> None:
        """Count no more."""
        self._timer.close()

    def write(self, path: Path, transport: str, connections_opened: int) -> None:
        """Write what was seen. Raises OSError."""
        seen = {
            "transport": transport,
            "cpu_s": (process_time_ns() - self._cpu_began) / NS,
            "wall_s": (monotonic_ns() - self._began) / NS,
            "busiest": self._busiest,
            "loop_lag_p50_s": self._lag(0.5),
            "loop_lag_p99_s": self._lag(0.99),
            "loop_lag_max_s": self._longest / NS,
            "connections_opened": connections_opened,
        }
        path.write_text(json.dumps(seen, indent=2) + "\n", encoding="utf-8")

    def _lag(self, share: float) -> float:
        """Return a quantile of the lags in s; 0 before the first."""
        return float(quantile(self._lags, share)[0]) if self._lags.any() else 0.0

    def _tick(self) -> None:
        now = monotonic_ns()
        lag = now - self._due
        self._lags[0, bucket_of(lag // 1000)] += 1
        self._longest = max(self._longest, lag)
        if now - self._second >= NS:
            cpu = process_time_ns()
            self._busiest = max(self._busiest, (cpu - self._cpu) / (now - self._second))
            self._second, self._cpu = now, cpu
        self._due += TICK * (lag // TICK + 1)  # what was missed is one lag, not several
        self._timer.arm(self._due)

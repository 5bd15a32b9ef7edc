"""Metrics in Prometheus' text format 0.0.4.

Takes plain numbers that the parts count as they go and `Histogram`s they observe into; gives the page of `/metrics`.
Names are vLLM's where vLLM has one (`vllm/v1/metrics/loggers.py`); its buckets begin at 300 ms, which is longer than
most requests here take, so ours are finer.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate
from pathlib import Path

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = tuple(m * s for s in (1e-3, 1e-2, 1e-1, 1.0, 10.0) for m in (1.0, 1.5, 2.5, 4.0, 6.5))
"""Upper bounds for times: five a decade, 1 ms to 65 s."""

Labels = Mapping[str, str]


class Histogram:
    """Counts by bucket, and the sum."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a bucket includes its upper bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def samples(self) -> Iterable[tuple[str, Labels, float]]:
        """Give (suffix, labels, value) as the text format wants them: cumulative, then sum and count."""
        total = 0
        for bound, total in zip((*self._bounds, float("inf")), accumulate(self._counts), strict=True):
            yield "_bucket", {"le": "+Inf" if bound == float("inf") else f"{bound:g}"}, total
        yield "_sum", {}, self._sum
        yield "_count", {}, total


class Page:
    """A page under construction; `labels` stand on every sample."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._lines: list[str] = []

    def counter(self, name: str, text: str, *samples: tuple[Labels, float]) -> None:
        """Add a counter, a sample for each set of labels; the name ends in `_total`."""
        self._family(name, "counter", text, (("", labels, value) for labels, value in samples))

    def gauge(self, name: str, text: str, *samples: tuple[Labels, float]) -> None:
        """Add a gauge, a sample for each set of labels."""
        self._family(name, "gauge", text, (("", labels, value) for labels, value in samples))

    def histogram(self, name: str, text: str, histogram: Histogram) -> None:
        """Add a histogram."""
        self._family(name, "histogram", text, histogram.samples())

    def process(self) -> None:
        """Add what Prometheus' client libraries say of their process."""
        usage = os.times()
        self.counter("process_cpu_seconds_total", "User and system CPU time.", ({}, usage.user + usage.system))
        self.gauge("process_resident_memory_bytes", "Resident memory.", ({}, _resident_bytes()))
        self.gauge("process_open_fds", "Open file descriptors.", ({}, len(list(Path("/proc/self/fd").iterdir()))))
        self.gauge("process_start_time_seconds", "Start, since the epoch.", ({}, _started()))

    def encode(self) -> bytes:
        """Return the page."""
        return "".join(self._lines).encode()

    def _family(self, name: str, kind: str, text: str, samples: Iterable[tuple[str, Labels, float]]) -> None:
        self._lines.append(f"# HELP {name} {text}\n# TYPE {name} {kind}\n")
        for suffix, labels, value in samples:
            self._lines.append(f"{name}{suffix}{_braces({**self._labels, **labels})} {value:.17g}\n")


def _braces(labels: Labels) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _started() -> float:
    """See proc_pid_stat(5), field 22: start after boot, in clock ticks."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))

"""The memory of a load of one hour at 2 000/s: its highest, and whether it grows.

The short form starts the same hour, with the schedule of the whole hour in memory, watches its first minutes and stops
it: what it says of the rest is its slope, which minutes can't tell from noise below a few MB/h.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from scripts.benchmarks import figures
from scripts.benchmarks.figures import Figure
from scripts.benchmarks.load import planned
from scripts.benchmarks.processes import BenchError, python, resident_mb, started
from scripts.benchmarks.result import Bench, Result
from scripts.benchmarks.servers import nginx

RATE = 2_000
_HOUR = 3600.0
_SHORT = 150.0
_SETTLING = 30.0  # s in which connections, buffers and counters come to be
_LEAD = 5.0


def measure(bench: Bench) -> Result:
    """Watch the resident memory of one load, once a second."""
    span = _HOUR if bench.hour else _SHORT
    with nginx(bench.server) as url, TemporaryDirectory(prefix="gameday-bench-") as name:
        planned(Path(name), url, RATE, _HOUR, lead=_LEAD)
        with started(bench.client, python("probes.load", f"{name}/plan.json")) as process:
            seen = _watch(process, span, bench)
    highest, slope = _highest(seen), _slope(seen)
    seconds = f"{span:.0f} s of an hour of {RATE}/s, once a second"
    return Result(
        "Memory",
        (
            Figure(figures.MEMORY, highest, ours=f"{highest:.0f} MB", note=seconds),
            Figure(figures.MEMORY_GROWTH, slope, ours=f"{slope:.1f} MB/h", note=f"after the first {_SETTLING:.0f} s"),
        ),
        {},
        () if bench.hour else (f"Short form: the hour was stopped after {span:.0f} s; `--hour` runs all of it.",),
    )


def _watch(process: subprocess.Popen[str], span: float, bench: Bench) -> list[tuple[float, float]]:
    """Return (s, MB) once a second. Raises BenchError when the load ends before its time."""
    began, seen = time.monotonic(), []
    while (after := time.monotonic() - began) < span:
        if process.poll() is not None:
            raise BenchError(f"the load ended after {after:.0f} s: {process.communicate()[1][-2000:]}")
        seen.append((after, resident_mb(process.pid)))
        if len(seen) % 60 == 0:
            bench.say(f"{after:.0f} s: {seen[-1][1]:.0f} MB")
        time.sleep(1)
    return seen


def _highest(seen: list[tuple[float, float]]) -> float:
    return max(size for _, size in seen)


def _slope(seen: list[tuple[float, float]]) -> float:
    """Return the growth after settling in MB/h, by least squares."""
    settled = np.array([(after, size) for after, size in seen if after >= _SETTLING])
    return float(np.polyfit(settled[:, 0], settled[:, 1], 1)[0] * _HOUR)

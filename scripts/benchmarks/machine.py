"""The machine: which two cores are used, what it is, and how busy it was with other things."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("httpx", "httpcore", "uvloop", "httptools", "locust", "aiohttp", "numpy")
_DEBIAN = ("nginx-light", "wrk", "hey")


def two_cores() -> tuple[int, int]:
    """Return the cores of client and server: two that this process may use and that share no physical core."""
    allowed = sorted(os.sched_getaffinity(0))
    client = allowed[-1]
    for server in allowed:
        if client not in _siblings(server):
            return client, server
    raise SystemExit(f"scripts/bench: client and server need a core each; this process may only use CPU {allowed}")


def _siblings(cpu: int) -> set[int]:
    """Return the CPUs on the same physical core: "0-1,4" in sysfs."""
    try:
        text = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list").read_text(encoding="ascii")
    except OSError:
        return {cpu}
    ranges = (part.partition("-") for part in text.strip().split(","))
    return {cpu for low, _, high in ranges for cpu in range(int(low), int(high or low) + 1)}


def busy(cpus: Iterable[int], seconds: float = 2.0) -> float:
    """Return which share of these CPUs is in use now, 0 to 1; call it while the benchmark itself rests."""
    before = _ticks(cpus)
    time.sleep(seconds)
    after = _ticks(cpus)
    idle, total = (b - a for a, b in zip(before, after, strict=True))
    return 1 - idle / total if total else 0.0


def _ticks(cpus: Iterable[int]) -> tuple[int, int]:
    """Return the idle and all ticks of the CPUs: user nice system idle iowait irq softirq steal (proc(5))."""
    names = {f"cpu{cpu}" for cpu in cpus}
    lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
    rows = [[int(field) for field in line[1:9]] for line in lines if line[0] in names]
    return sum(row[3] + row[4] for row in rows), sum(map(sum, rows))


def facts(cores: tuple[int, int], others: float) -> dict[str, str]:
    """Return what a reader must know of the machine and of the versions, by name."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} CPUs; client on CPU {cores[0]}, server on CPU {cores[1]}",
        "in use by others at the start": f"{100 * others:.0f} % of these two",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _PACKAGES},
        **{name: _debian_version(name) for name in _DEBIAN},
    }


def _cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _debian_version(package: str) -> str:
    query = ("dpkg-query", "-W", "-f", "${Version}", package)
    return subprocess.run(query, check=False, capture_output=True, text=True).stdout or "not from Debian"

"""The machine: which two cores are used, what it is, and how busy it was with other things."""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = (
    "httpx",
    "httpcore",
    "uvloop",
    "httptools",
    "locust",
    "aiohttp",
    "numpy",
    "paramiko",
    "asyncssh",
    "ansible-core",
)
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


class Others:
    """How much of the two cores others used from when this was made: what was busy, less our own processes."""

    def __init__(self, cores: tuple[int, int]) -> None:
        self._cores = cores
        self._idle, self._all = _ticks(cores)
        self._own = _own_ticks()

    def share(self) -> float:
        """Return the share so far, 0 to 1; a process of ours counts as ours once it has ended."""
        idle, total = _ticks(self._cores)
        used = (total - self._all) - (idle - self._idle) - (_own_ticks() - self._own)
        return max(0.0, used / max(total - self._all, 1))


def _own_ticks() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used) * os.sysconf("SC_CLK_TCK")


def _ticks(cpus: Iterable[int]) -> tuple[int, int]:
    """Return the idle and all ticks of the CPUs: user nice system idle iowait irq softirq steal (proc(5))."""
    names = {f"cpu{cpu}" for cpu in cpus}
    lines = [line.split() for line in Path("/proc/stat").read_text(encoding="ascii").splitlines()]
    rows = [[int(field) for field in line[1:9]] for line in lines if line[0] in names]
    return sum(row[3] + row[4] for row in rows), sum(map(sum, rows))


def facts(cores: tuple[int, int], others: Others) -> dict[str, str]:
    """Return what a reader must know of the machine and of the versions, by name."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} CPUs; client on CPU {cores[0]}, server on CPU {cores[1]}",
        "used by others meanwhile": f"{100 * others.share():.0f} % of these two",
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

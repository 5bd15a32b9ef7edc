"""A load by Locust: its master and its workers as processes of ours, watched and ended like our own load.

They speak to each other over a port of loopback that was free a moment ago. Each has the reading end of one pipe as its
standard input, so that all of them end when this process does, however it ends. What the workers recorded is joined to
one file when they are done.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from chaos.clock import NS
from chaos.errors import LoadFailed
from chaos.plan.existing import PlannedLocust
from chaos.run.load import SAMPLES, STATISTICS
from probes.live import Live, LiveReader, total
from probes.locust_plan import LocustPlan
from probes.merge import Part, merge

CREW = "locust.json"
_LIVE = "live.bin"
_STOPPING = 15.0  # s beyond the tasks' own time


def missing() -> str:
    """Return what this machine lacks for a load by Locust, or "". It is not imported: it patches whoever does."""
    if importlib.util.find_spec("locust") is not None:
        return ""
    return "Locust is not installed here; install it with: pip install 'chaos-gameday[locust]'"


@dataclass
class LocustLoad:
    """One load, writing into a recording's folder. The first process is the master."""

    folder: Path
    load: PlannedLocust
    processes: list[subprocess.Popen[bytes]]
    _owner: int
    _readers: list[LiveReader] = field(default_factory=list, init=False)

    @classmethod
    def start(cls, folder: Path, load: PlannedLocust, start: int) -> LocustLoad:
        """Start Locust, to be under load by `start` (CLOCK_MONOTONIC ns) or as soon after as it can."""
        reading, writing = os.pipe()
        started = cls(folder, load, [], writing)
        try:
            port = _free_port()
            for name, plan, arguments in _crew(folder, load, start, port):
                plan.write(folder / f"{name}.json")
                started.processes.append(_spawn(folder, name, arguments, reading))
        except BaseException:
            started.stop()
            raise
        finally:
            os.close(reading)
        return started

    def live(self) -> Live | None:
        """Return the counters as they are; None before every worker has made them. Raises LoadFailed."""
        for name, process in zip(_names(self.load), self.processes, strict=True):
            if process.poll() not in (None, 0):
                raise LoadFailed(f"the process {name} ended with {process.returncode}: {self._said(name)}")
        if not self._readers:
            with suppress(OSError, ValueError):
                self._readers = [LiveReader(path) for path in self._parts(_LIVE)]
        return total([reader.read() for reader in self._readers]) if self._readers else None

    def wait(self, timeout: float) -> int | None:
        """Return the first exit status that is not 0, once all have ended; None when one goes on after `timeout` s."""
        until = time.monotonic() + timeout
        try:
            statuses = [process.wait(max(0.0, until - time.monotonic())) for process in self.processes]
        except subprocess.TimeoutExpired:
            return None
        return next((status for status in statuses if status), 0)

    def call_off(self, overlay: int) -> None:
        """There is no overlay: nothing is laid over what has no schedule."""

    def stop(self) -> int:
        """End the load: each worker records what it can, and the records are joined. Return an exit status."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        if self.wait(self.load.timeout + _STOPPING) is None:
            for process in self.processes:
                process.kill()
        status = self.wait(_STOPPING) or 0
        os.close(self._owner)
        self._join()
        return status

    def _join(self) -> None:
        parts = [path for path in self._parts(SAMPLES) if path.exists()]
        if parts:
            merge([Part(path) for path in parts], self.folder / SAMPLES)
        used = [json.loads(path.read_text(encoding="utf-8")) for path in self._parts(STATISTICS) if path.exists()]
        (self.folder / STATISTICS).write_text(json.dumps(used, indent=2) + "\n", encoding="utf-8")
        for path in (*parts, *self._parts(STATISTICS), *self._parts(_LIVE)):
            path.unlink(missing_ok=True)

    def _parts(self, kind: str) -> list[Path]:
        return [self.folder / f"{name}.{kind}" for name in _names(self.load)[1:]]

    def _said(self, name: str) -> str:
        log = self.folder / f"{name}.log"
        return log.read_text(encoding="utf-8", errors="replace").strip()[-1000:] or "it said nothing"


def _names(load: PlannedLocust) -> list[str]:
    return ["locust-master", *(f"locust-worker-{worker}" for worker in range(load.workers))]


def _crew(folder: Path, load: PlannedLocust, start: int, port: int) -> Iterator[tuple[str, LocustPlan, Sequence[str]]]:
    """Yield the name, the plan and Locust's arguments of each process."""
    end = start + int(load.duration * NS)
    master, *workers = _names(load)
    plan = LocustPlan(start=start, end=end, users=load.users, workers=load.workers, slo_latency=load.slo_latency)
    yield master, replace(plan, crew=str(folder / CREW)), _master(load, port)
    for worker, name in enumerate(workers):
        samples, live, statistics = (str(folder / f"{name}.{file}") for file in (SAMPLES, _LIVE, STATISTICS))
        yield name, replace(plan, worker=worker, samples=samples, live=live, statistics=statistics), _worker(load, port)


def _master(load: PlannedLocust, port: int) -> list[str]:
    bind = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port)]
    crew = ["--expect-workers", str(load.workers), "--users", str(load.users), "--spawn-rate", f"{load.spawn_rate:g}"]
    return [*_common(load), "--headless", *bind, *crew, *load.classes]


def _worker(load: PlannedLocust, port: int) -> list[str]:
    return [*_common(load), "--worker", "--master-host", "127.0.0.1", "--master-port", str(port)]


def _common(load: PlannedLocust) -> list[str]:
    host = ["--host", load.host] if load.host else []
    quiet = ["--loglevel", "WARNING", "--only-summary", "--exit-code-on-error", "0"]
    return ["--locustfile", load.locustfile, *host, *quiet, "--stop-timeout", f"{load.timeout:g}"]


def _spawn(folder: Path, name: str, arguments: Sequence[str], reading: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "probes.locust_process", str(folder / f"{name}.json"), *arguments]
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(argv, stdin=reading, stdout=log, stderr=log, start_new_session=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port

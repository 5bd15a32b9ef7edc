"""Whatever makes the load of a run, the runner sees the same: it is started, watched through counters, and ended."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from chaos.plan.existing import PlannedLocust, PlannedTraffic
from chaos.plan.plan import PlannedLoad
from chaos.run import locust, watched
from chaos.run.load import LoadProcess
from chaos.run.locust import LocustLoad
from chaos.run.watched import WatchedTraffic
from probes.live import Live


class RunningLoad(Protocol):
    """A load under way."""

    def live(self) -> Live | None:
        """Return the counters as they are; None while there are none yet. Raises LoadFailed."""

    def wait(self, timeout: float) -> int | None:
        """Return the exit status once it has ended; None when it goes on after `timeout` s."""

    def stop(self) -> int:
        """End it and return its exit status."""


def objection(load: PlannedLoad | PlannedLocust | PlannedTraffic) -> str | None:
    """Return why a load can't be started from here, or ""; None for our own load, which needs nothing."""
    if isinstance(load, PlannedLocust):
        return locust.missing()
    return watched.unanswered(load) if isinstance(load, PlannedTraffic) else None


def start_load(folder: Path, load: PlannedLoad | PlannedLocust | PlannedTraffic, start: int) -> RunningLoad:
    """Start a load that writes into a recording's folder, to begin at `start` (CLOCK_MONOTONIC ns)."""
    if isinstance(load, PlannedLocust):
        return LocustLoad.start(folder, load, start)
    if isinstance(load, PlannedTraffic):
        return WatchedTraffic.start(folder, load, start)
    return LoadProcess.start(folder, load, start)

"""What makes the load: processes of this machine, Dask tasks on others, Locust, or nobody where traffic is watched.

`generators` is entered before anything is touched, so that machines that can't make the load refuse the run; what it
gives starts the load later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from chaos.clock import Clock
from chaos.errors import Refusal
from chaos.plan.existing import PlannedLocust, PlannedTraffic
from chaos.plan.plan import AnyPlannedLoad, PlannedLoad
from chaos.record.events import EventLog
from chaos.run import locust, watched
from chaos.run.load import LoadProcess, load_plan
from chaos.run.shards import ShardedLoad, divide
from chaos.spec.inventory import Host
from probes.live import Live

_START_UP = 2.0  # s between starting the load's processes and the first request
_START_UP_EACH = 0.25  # s more for each process: they import at the same time, on what cores there are


class Load(Protocol):
    """A load that was started."""

    def live(self) -> Live | None:
        """Return the counters; None before there are any. Raises LoadFailed."""

    def wait(self, timeout: float) -> int | None:
        """Return the exit status once it has ended; None when it goes on after `timeout` s."""

    def call_off(self, overlay: int) -> None:
        """Tell it to leave out what an overlay of its plan still has to come; `live` shows that it was heard."""

    def stop(self) -> int:
        """End it, and return its exit status; what it wrote is then in the recording."""


class Generators(Protocol):
    """The machines and processes that are going to make the load."""

    lead: float
    """How long before its first request the load must be started, in s."""

    def start(self, folder: Path, start: int, events: EventLog, clock: Clock, /) -> Load:
        """Start the load, which writes into a recording's folder and whose schedule begins at `start` (ns)."""


class LocalGenerators:
    """Processes of this machine."""

    def __init__(self, load: PlannedLoad) -> None:
        self._load = load
        self.lead = _START_UP + _START_UP_EACH * (load.processes - 1)

    def start(self, folder: Path, start: int, events: EventLog, clock: Clock) -> Load:
        """Start one process as it is, several as shards."""
        if self._load.processes == 1:
            return LoadProcess.start(folder, self._load, start)
        plans = divide(folder, load_plan(folder, self._load, start), self._load.processes)
        shards = [LoadProcess.launch(Path(plan.samples).parent, plan) for plan in plans]
        return ShardedLoad(folder, plans, shards, events, clock)


class LocustGenerators:
    """Locust's own master and workers, on this machine. Raises Refusal where it is not installed."""

    lead = _START_UP

    def __init__(self, load: PlannedLocust) -> None:
        if why := locust.missing():
            raise Refusal(f"load: {why}")
        self._load = load

    def start(self, folder: Path, start: int, _events: EventLog, _clock: Clock) -> Load:
        """Start the master and its workers."""
        return locust.LocustLoad.start(folder, self._load, start)


class NoGenerators:
    """Traffic that is there already needs none. Raises Refusal where its queries can't be asked."""

    lead = _START_UP

    def __init__(self, load: PlannedTraffic) -> None:
        if why := watched.unanswered(load):
            raise Refusal(f"load: {why}")
        self._load = load

    def start(self, folder: Path, start: int, _events: EventLog, _clock: Clock) -> Load:
        """Begin to watch."""
        return watched.WatchedTraffic.start(folder, self._load, start)


@contextmanager
def generators(load: AnyPlannedLoad, hosts: Mapping[str, Host], dask: str | None = None) -> Iterator[Generators]:
    """Open what makes a load: workers of the Dask scheduler at `dask`, else the plan's senders, else this machine.

    Raises Refusal.
    """
    if not isinstance(load, PlannedLoad):
        if dask is not None:
            raise Refusal("--dask: only a load of our own can be made by Dask workers")
        yield LocustGenerators(load) if isinstance(load, PlannedLocust) else NoGenerators(load)
        return
    if load.processes > load.connections:
        raise Refusal(f"{load.processes} processes can't share {load.connections} connections; allow more")
    if dask is None and not load.senders:
        yield LocalGenerators(load)
        return
    try:
        from chaos.run import dask_load  # dear to import, and an extra
    except ModuleNotFoundError as error:
        raise Refusal(f"{error}: several machines need Dask; pip install 'chaos-gameday[distributed]'") from error
    senders = [hosts[name] for name in load.senders]
    opened = dask_load.workers_at(dask, load) if dask else dask_load.workers_over_ssh(senders, load)
    with opened as there:
        yield there

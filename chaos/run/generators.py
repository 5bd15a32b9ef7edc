"""Where the load's processes run: on this machine, or as Dask tasks on others.

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
from chaos.plan.plan import PlannedLoad
from chaos.record.events import EventLog
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

    def stop(self) -> int:
        """End it, and return its exit status; what it wrote is then in the recording."""


class Generators(Protocol):
    """The machines and processes that are going to make the load."""

    lead: float
    """How long before its first request the load must be started, in s."""

    def start(self, folder: Path, load: PlannedLoad, start: int, events: EventLog, clock: Clock) -> Load:
        """Start the load, which writes into a recording's folder and whose schedule begins at `start` (ns)."""


class LocalGenerators:
    """Processes of this machine."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self.lead = _START_UP + _START_UP_EACH * (processes - 1)

    def start(self, folder: Path, load: PlannedLoad, start: int, events: EventLog, clock: Clock) -> Load:
        """Start one process as it is, several as shards."""
        if self._processes == 1:
            return LoadProcess.start(folder, load, start)
        plans = divide(folder, load_plan(folder, load, start), self._processes)
        shards = [LoadProcess.launch(Path(plan.samples).parent, plan) for plan in plans]
        return ShardedLoad(folder, plans, shards, events, clock)


@contextmanager
def generators(load: PlannedLoad, hosts: Mapping[str, Host], dask: str | None = None) -> Iterator[Generators]:
    """Open what makes a load: workers of the Dask scheduler at `dask`, else the plan's senders, else this machine.

    Raises Refusal.
    """
    if load.processes > load.connections:
        raise Refusal(f"{load.processes} processes can't share {load.connections} connections; allow more")
    if dask is None and not load.senders:
        yield LocalGenerators(load.processes)
        return
    try:
        from chaos.run import dask_load  # dear to import, and an extra
    except ModuleNotFoundError as error:
        raise Refusal(f"{error}: several machines need Dask; pip install 'chaos-gameday[distributed]'") from error
    senders = [hosts[name] for name in load.senders]
    opened = dask_load.workers_at(dask, load.processes) if dask else dask_load.workers_over_ssh(senders, load.processes)
    with opened as there:
        yield there

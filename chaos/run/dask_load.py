"""The shards of a load as Dask tasks: the only file that knows Dask.

    before   a worker for each shard, on as many machines as there are: of a scheduler that is there, or started over
             SSH for this run alone; its version of `probes` and its clock compared
    run      one task a shard, pinned to its worker: Dask runs the task of a dead worker again, which would send twice,
             but not where it may run nowhere else
    beside   the counters are fetched several times a second, which also tells the load that we are still here
    after    what was written is fetched block by block, and the clock is measured once more

A worker's clock is read over the same connections as everything else: of several round trips the shortest counts, the
offset is the worker's reading less the middle of it, and half of it is the uncertainty (Cristian, "Probabilistic clock
synchronization", 1989). The schedule is sent in the worker's time and its rows come back in ours, by the offset from
before the load; what the second measurement says is for the judge.
"""

from __future__ import annotations

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from shlex import quote
from typing import Any, TypeVar

import dask
from distributed import Client, Security, SSHCluster

from chaos.clock import NS, Clock
from chaos.errors import LoadFailed, Refusal
from chaos.plan.plan import PlannedLoad
from chaos.record.events import EventLog
from chaos.run.load import CHUNKS, LIVE, LOG, PLAN, SAMPLES, STATISTICS, load_plan
from chaos.run.shards import ShardedLoad, divide, plan_in
from chaos.spec.inventory import Host
from probes import remote
from probes.live import WINDOW, Live, LiveReader, bytes_of
from probes.plan import LoadPlan

_CONNECT = 10.0  # s
_START_UP = 3.0  # s between handing out the tasks and the first request
_ROUND_TRIPS = 24
_POLL = 0.3  # s
_SILENCE = 5.0  # s without a word, after which a shard counts as dead; less than remote.LEASE
_ANSWER = 20.0  # s within which a worker must answer
_LATE = 3.0  # s after the first request was due, by which there must be counters
_HEADER = struct.Struct("8q")
_IDLE = "10 minutes"  # after which a scheduler over SSH ends itself, should its controller have died
logging.getLogger("distributed.deploy.ssh").setLevel(logging.WARNING)  # repeats what the remote processes say
T = TypeVar("T")


@dataclass(frozen=True)
class ClockReading:
    """A clock compared with the controller's: how far it is ahead and how sure that is, in ns."""

    offset: int
    uncertainty: int


@dataclass(frozen=True)
class Worker:
    """One Dask worker, and what calls functions in it outside of its tasks."""

    client: Client
    address: str
    pool: ThreadPoolExecutor

    def ask(self, function: Callable[..., T], *arguments: object) -> T:
        """Return what the function returns there. Raises what it raises, OSError or TimeoutError for a lost worker."""
        call = self.pool.submit(self.client.run, function, *arguments, workers=[self.address])
        answers: dict[str, T] = call.result(_ANSWER)
        return answers[self.address]

    def is_there(self) -> bool:
        """Whether the scheduler has it; that a worker died is known there before a question to it runs out."""
        return self.address in self.client.scheduler_info(n_workers=-1)["workers"]

    def clock(self) -> ClockReading:
        """Compare its clock with ours."""
        return min((self._round_trip() for _ in range(_ROUND_TRIPS)), key=lambda reading: reading.uncertainty)

    def _round_trip(self) -> ClockReading:
        before = time.monotonic_ns()
        there = self.ask(remote.clock)
        after = time.monotonic_ns()
        return ClockReading(there - (before + after) // 2, -(-(after - before) // 2))


class DaskGenerators:
    """Workers of one Dask scheduler, one for each shard."""

    lead = _START_UP

    def __init__(self, workers: list[Worker], load: PlannedLoad) -> None:
        self._workers, self._load = workers, load
        self._clocks = [worker.clock() for worker in workers]

    def start(self, folder: Path, start: int, events: EventLog, clock: Clock) -> ShardedLoad:
        """Hand out the tasks. Raises LoadFailed, with none of them left running, when a worker can't take its own."""
        plans = divide(folder, load_plan(folder, self._load, start), len(self._workers))
        shards: list[RemoteShard] = []
        for worker, reading, plan in zip(self._workers, self._clocks, plans, strict=True):
            try:
                shards.append(RemoteShard(worker, reading, plan, events))
            except Exception as error:  # whatever Dask, the network or the other machine raises
                for shard in shards:
                    shard.stop()
                raise LoadFailed(f"{worker.address} took no shard: {type(error).__name__}: {error}") from error
        return ShardedLoad(folder, plans, shards, events, clock)


class RemoteShard:
    """One shard in a Dask worker. `plan` is on the controller's clock, with the files it is to end up in."""

    def __init__(self, worker: Worker, clock: ClockReading, plan: LoadPlan, events: EventLog) -> None:
        self._worker, self._plan, self._events = worker, plan, events
        self.host, self.offset = worker.address, clock.offset
        self._note_clock(clock, "before")
        plan.write(self._here / PLAN)
        self._failure, self._heard = "", time.monotonic()
        self._reader: LiveReader | None = None
        self._folder = worker.ask(remote.open_folder)
        there = replace(plan_in(Path(self._folder), plan), start=plan.start + clock.offset)
        self._task = worker.client.submit(
            remote.run, self._folder, there, workers=[worker.address], allow_other_workers=False, pure=False, retries=0
        )
        self._ending = threading.Event()
        threading.Thread(target=self._follow, name=f"shard {plan.worker}", daemon=True).start()

    def live(self) -> Live | None:
        """Return the counters as last heard. Raises LoadFailed when the shard ended badly or is not heard any more."""
        if why := self._why_dead():
            raise LoadFailed(why)
        return replace(self._reader.read(), start=self._plan.start) if self._reader else None

    def wait(self, timeout: float) -> int | None:
        """Return the exit status once it has ended, 1 for a lost worker; None when it goes on after `timeout` s."""
        end = time.monotonic() + timeout
        while not self._task.done():
            if self._is_lost():
                return 1
            if time.monotonic() > end:
                return None
            time.sleep(0.05)
        return self._status()

    def call_off(self, overlay: int) -> None:
        """Tell it to leave out what an overlay still has to come."""
        if not self._is_lost():
            self._try(lambda: self._worker.ask(remote.call_off, self._folder, overlay))

    def interrupt(self) -> None:
        """Tell it to end."""
        if not self._is_lost():
            self._try(lambda: self._worker.ask(remote.interrupt, self._folder))

    def stop(self) -> int:
        """End it and fetch what it wrote; what can't be fetched is lost."""
        self.interrupt()
        status = self.wait(_ANSWER)
        self._ending.set()
        if status is None:
            self._task.cancel()  # it waits for its worker, and must not begin when nobody waits for it
        if not self._failure:
            self._try(self._fetch)
        return 1 if self._failure or status is None else status

    @property
    def _here(self) -> Path:
        return Path(self._plan.samples).parent

    def _status(self) -> int:
        if self._task.status == "finished":
            return int(self._task.result())
        self._failure = self._failure or f"its task ended as {self._task.status}: {self._task.exception()!r}"
        return 1

    def _why_dead(self) -> str:
        if self._is_lost():
            return self._failure
        if self._task.done() and self._status():
            return self._failure or f"its process ended with {self._status()}; its log is fetched to {self._here}"
        if self._reader is None and time.monotonic_ns() > self._plan.start + int(_LATE * NS):
            return "it did not begin: its Dask worker is busy with something else"
        return ""

    def _is_lost(self) -> bool:
        """Whether its worker is out of reach; once lost it stays so."""
        if not self._ending.is_set() and time.monotonic() - self._heard > _SILENCE:
            self._failure = self._failure or f"nothing was heard of it for {_SILENCE:g} s"
        return bool(self._failure)

    def _try(self, do: Callable[[], object]) -> None:
        """Do it; whatever Dask, the network or the other machine raises is the end of this shard, and is kept."""
        try:
            do()
        except Exception as error:
            why = str(error) if isinstance(error, LoadFailed) else f"{type(error).__name__}: {error}"
            self._failure = self._failure or why

    def _follow(self) -> None:
        while not (self._ending.wait(_POLL) or self._failure):
            self._try(self._look)

    def _look(self) -> None:
        """Bring the copy of its counters up to date: all of them once, then those that still can change."""
        if not self._worker.is_there():
            raise LoadFailed("its Dask worker is gone")
        spans = [self._recent()] if self._reader else []
        header, *rest = self._watch([(0, _HEADER.size), *spans])
        self._heard = time.monotonic()
        if len(header) < _HEADER.size:
            return
        if not spans:
            spans = list(_blocks(*bytes_of(0, _HEADER.unpack(header)[3])))
            rest = self._watch(spans)
        with (self._here / LIVE).open("r+b" if self._reader else "w+b") as file:
            for (offset, _), data in zip(spans, rest, strict=True):
                file.seek(offset)
                file.write(data)
            file.seek(0)
            file.write(header)
        self._reader = self._reader or LiveReader(self._here / LIVE)

    def _watch(self, spans: list[tuple[int, int]]) -> list[bytes]:
        return self._worker.ask(remote.watch, self._folder, LIVE, spans)

    def _recent(self) -> tuple[int, int]:
        """Return where the windows stand that a request in flight, or one that ends now, is counted in."""
        plan = self._plan
        now = (time.monotonic_ns() - plan.start) // WINDOW
        first = now - int(2 * plan.drain_or_timeout) - 2
        return bytes_of(max(0, first), max(0, now) + 2)

    def _fetch(self) -> None:
        for name in (SAMPLES, CHUNKS, STATISTICS, LOG):
            remote.copy(partial(self._block, name), self._here / name)
        self._note_clock(self._worker.clock(), "after")
        self._worker.ask(remote.close_folder, self._folder)

    def _block(self, name: str, offset: int) -> bytes:
        return self._worker.ask(remote.read, self._folder, name, offset, remote.BLOCK)

    def _note_clock(self, reading: ClockReading, when: str) -> None:
        self._events.write(
            "load.clock", worker=self._plan.worker, host=self.host, offset_ns=reading.offset,
            uncertainty_ns=reading.uncertainty, when=when,
        )  # fmt: skip


@contextmanager
def workers_at(address: str, load: PlannedLoad) -> Iterator[DaskGenerators]:
    """Connect to a scheduler and choose a worker for each shard. Raises Refusal where too few are fit for it."""
    try:
        client = Client(address, timeout=_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise Refusal(f"--dask {address}: no Dask scheduler answers there: {error}") from error
    with _workers_of(client, address, load) as chosen:
        yield chosen


@contextmanager
def workers_over_ssh(hosts: Sequence[Host], load: PlannedLoad) -> Iterator[DaskGenerators]:
    """Start a scheduler on the first host and a worker for each shard, on the hosts in turn. Raises Refusal.

    Whoever can talk to a Dask worker can run code in it, so they talk over TLS with keys that are made for this run.
    """
    used = [hosts[0], *(hosts[shard % len(hosts)] for shard in range(load.processes))]
    security = Security.temporary()
    try:
        with dask.config.set(_tls_settings(security)):
            cluster = SSHCluster(
                [str(host.address) for host in used],
                connect_options=[_ssh_options(host) for host in used],
                remote_python=[quote(host.python) for host in used],
                scheduler_options={
                    "protocol": "tls",
                    "host": str(used[0].address),
                    "port": 0,
                    "dashboard": False,
                    "idle_timeout": _IDLE,
                },
                worker_options={"nthreads": 1, "dashboard": False, "death_timeout": _CONNECT},
                worker_class="distributed.Worker",
                security=security,
            )
    except Exception as error:  # asyncssh, asyncio and Dask each have their own
        names = ", ".join(dict.fromkeys(str(host.address) for host in used))
        raise Refusal(f"load.on: no Dask cluster over SSH on {names}: {type(error).__name__}: {error}") from error
    with cluster:
        client = Client(cluster, timeout=_CONNECT, set_as_default=False)
        with suppress(TimeoutError):  # a worker says that it is there before it is; too few are refused below
            client.wait_for_workers(load.processes, timeout=_CONNECT)
        with _workers_of(client, cluster.scheduler_address, load) as chosen:
            yield chosen


@contextmanager
def _workers_of(client: Client, address: str, load: PlannedLoad) -> Iterator[DaskGenerators]:
    shards = load.processes
    # the client is closed before the pool is waited for: a question to a worker that is gone ends with its connection
    with ThreadPoolExecutor(4 * shards, "dask") as pool, client:
        known = {at: worker["host"] for at, worker in client.scheduler_info(n_workers=-1)["workers"].items()}
        if len(known) < shards:
            raise Refusal(
                f"Dask at {address}: {shards} processes need {shards} Dask workers of their own, {len(known)} "
                "there: start more workers, or lower load.processes"
            )
        chosen = spread(known, shards)
        _check_versions(client.run(remote.identity, workers=chosen, on_error="return"))
        try:
            crew = DaskGenerators([Worker(client, at, pool) for at in chosen], load)
        except Exception as error:  # whatever Dask, the network or the other machine raises
            raise Refusal(f"Dask at {address}: a worker's clock can't be read: {error!r}") from error
        yield crew


def _ssh_options(host: Host) -> dict[str, Any]:
    """Return what asyncssh is to connect with; it takes the rest from ~/.ssh, and always checks the host's key."""
    given = {
        "port": host.port if host.port != 22 else None,
        "username": host.user,
        "client_keys": str(host.identity_file) if host.identity_file else None,
        "known_hosts": str(host.known_hosts) if host.known_hosts else None,
        "tunnel": host.proxy_jump,
    }
    return {name: value for name, value in given.items() if value is not None}


def _tls_settings(security: Security) -> dict[str, Any]:
    """Return the settings by which the remote processes, which inherit ours, use the same keys."""
    keys = security.get_tls_config_for_role("scheduler")
    settings = {"ca-file": keys["ca_file"]}
    for role in ("scheduler", "worker", "client"):
        settings |= {f"{role}.key": keys["key"], f"{role}.cert": keys["cert"]}
    encrypted = {"distributed.comm.require-encryption": True}
    return encrypted | {f"distributed.comm.tls.{name}": value for name, value in settings.items()}


def spread(workers: Mapping[str, str], wanted: int) -> list[str]:
    """Choose among workers (address to host) so that no host has two shards before every one has one."""
    hosts: dict[str, list[str]] = {}
    for address, host in sorted(workers.items()):
        hosts.setdefault(host, []).append(address)
    turns = zip_longest(*hosts.values())
    return [address for turn in turns for address in turn if address is not None][:wanted]


def _check_versions(found: Mapping[str, Any]) -> None:
    """Raise Refusal unless every worker has the `probes` that we have."""
    ours = remote.identity()
    other = [f"{at}: {what!r}" for at, what in sorted(found.items()) if what != ours]
    if other:
        raise Refusal(
            f"Dask workers must have the same chaos-gameday as the controller (probes {ours}); found "
            f"{'; '.join(other)}: install it there"
        )


def _blocks(offset: int, length: int) -> Iterator[tuple[int, int]]:
    for at in range(offset, offset + length, remote.BLOCK):
        yield at, min(remote.BLOCK, offset + length - at)

"""One load shared by several processes, here or on other machines, and made one recording at its end.

Worker j of n takes the arrivals j, j + n, ... of the one schedule, from the one start, over its share of the
connections (as even as whole numbers allow). Each writes into `shards/j/`; their counters are added while they run and
their files merged when they have ended.

A shard that dies ends the load: the verdict is unknown from then on, and to go on would fault and load the service for
nothing. What it took with it is computed, not guessed (`probes.lost`), and noted as `load.shard_lost`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from chaos.clock import NS, Clock
from chaos.errors import LoadFailed, RecordingError
from chaos.record.events import EventLog
from chaos.record.samples import read_samples
from chaos.run.load import CHUNKS, LIVE, SAMPLES, STATISTICS
from probes.live import Live, total
from probes.lost import lost
from probes.merge import Part, merge, merge_chunks
from probes.plan import LoadPlan
from probes.samples import HEADER, SampleFile
from probes.superposition import schedule_of


class Shard(Protocol):
    """One process of the load; `LoadProcess` is one, and so is one on another machine."""

    @property
    def host(self) -> str:
        """The name of the machine it runs on."""

    @property
    def offset(self) -> int:
        """What the clock of that machine is ahead of the controller's, in ns."""

    def live(self) -> Live | None:
        """Return the counters, with times of the controller; None before there are any. Raises LoadFailed."""

    def wait(self, timeout: float) -> int | None:
        """Return the exit status once it has ended; None when it goes on after `timeout` s."""

    def call_off(self, overlay: int) -> None:
        """Tell it to leave out what an overlay still has to come, and don't wait for it."""

    def interrupt(self) -> None:
        """Tell it to end, and don't wait for it."""

    def stop(self) -> int:
        """End it, and return its exit status once what it wrote is in its folder here."""


@dataclass
class ShardedLoad:
    """The load as a whole: `plans` say what each of `shards` does, on the controller's clock and in folders here."""

    folder: Path
    plans: Sequence[LoadPlan]
    shards: Sequence[Shard]
    events: EventLog
    clock: Clock
    _died: dict[int, int] = field(default_factory=dict, init=False)
    _called_off: dict[int, int] = field(default_factory=dict, init=False)
    """When each overlay was called off that was, in ns from the start of the load."""

    def live(self) -> Live | None:
        """Return the sum of the counters; None before all have made theirs. Raises LoadFailed when a shard died."""
        parts = []
        for worker, shard in enumerate(self.shards):
            try:
                parts.append(shard.live())
            except LoadFailed as error:
                self._died.setdefault(worker, self.clock.now())
                raise LoadFailed(f"shard {worker + 1} of {len(self.shards)} on {shard.host} died: {error}") from error
        there = [part for part in parts if part is not None]
        return total(there) if len(there) == len(parts) else None

    def wait(self, timeout: float) -> int | None:
        """Return the exit status once all have ended, the first that is not 0; None when one goes on."""
        end = self.clock.now() + int(timeout * NS)
        statuses = [shard.wait(max(0.0, (end - self.clock.now()) / NS)) for shard in self.shards]
        return None if None in statuses else _worst(statuses)

    def call_off(self, overlay: int) -> None:
        """Tell every shard to leave out what an overlay still has to come."""
        self._called_off.setdefault(overlay, self.clock.now() - self.plans[0].start)
        for shard in self.shards:
            shard.call_off(overlay)

    def stop(self) -> int:
        """End all shards, merge what they wrote, and note what is lost. Raises LoadFailed when it can't be merged."""
        until = self.clock.now()
        for shard in self.shards:
            shard.interrupt()
        with ThreadPoolExecutor(len(self.shards), "shards") as pool:
            statuses = list(pool.map(lambda shard: shard.stop(), self.shards))
        for worker, status in enumerate(statuses):
            if status:
                self._note_lost(worker, status, until)
        try:
            self._merge()
        except (OSError, ValueError) as error:
            raise LoadFailed(
                f"what the shards wrote could not be merged, it is in {self.folder}/shards: {error}"
            ) from error
        return _worst(statuses)

    def _note_lost(self, worker: int, status: int, until: int) -> None:
        plan, shard = self.plans[worker], self.shards[worker]
        for overlay, when in self._called_off.items():
            plan = plan.called_off(overlay, when)
        gone = lost(schedule_of(plan), _recorded(Path(plan.samples), shard.offset), until)
        self.events.write(
            "load.shard_lost",
            worker=worker,
            workers=plan.workers,
            host=shard.host,
            status=status,
            started=plan.start,
            died=self._died.get(worker, until),
            arrivals=gone.arrivals if gone else 0,
            numbers=gone.numbers if gone else (),
            first=gone.first if gone else 0,
            last=gone.last if gone else 0,
        )

    def _merge(self) -> None:
        """Make one of each kind of file, and take away the parts only after that."""
        parts = [
            Part(Path(plan.samples), shard.offset, Path(plan.chunks) if plan.chunks else None)
            for plan, shard in zip(self.plans, self.shards, strict=True)
            if _is_begun(Path(plan.samples))
        ]
        if not parts:
            SampleFile(self.folder / SAMPLES, [kind.name for kind in self.plans[0].classes]).close()
            return
        merge(parts, self.folder / SAMPLES)
        if self.plans[0].stream:
            merge_chunks(parts, self.folder / CHUNKS)
        if statistics := list(self._statistics()):
            (self.folder / STATISTICS).write_text(json.dumps(statistics) + "\n", encoding="utf-8")
        for plan in self.plans:
            for name in (SAMPLES, CHUNKS, STATISTICS, LIVE):
                Path(plan.samples).with_name(name).unlink(missing_ok=True)

    def _statistics(self) -> Iterator[object]:
        """Yield what each process said of itself; one that died said nothing."""
        for plan in self.plans:
            try:
                yield json.loads(Path(plan.statistics or "").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                continue


def divide(folder: Path, plan: LoadPlan, workers: int) -> list[LoadPlan]:
    """Return the plan of each of `workers` processes, and make the folders in `folder` that they write into."""
    return [_share(folder, plan, worker, workers) for worker in range(workers)]


def _share(folder: Path, plan: LoadPlan, worker: int, workers: int) -> LoadPlan:
    own = folder / "shards" / str(worker)
    own.mkdir(parents=True)
    return replace(
        plan_in(own, plan),
        worker=worker,
        workers=workers,
        connections=plan.connections // workers + (worker < plan.connections % workers),
    )


def plan_in(folder: Path, plan: LoadPlan) -> LoadPlan:
    """Return the plan with its files in another folder."""
    return replace(
        plan,
        samples=str(folder / SAMPLES),
        live=str(folder / LIVE),
        chunks=str(folder / CHUNKS) if plan.chunks else None,
        statistics=str(folder / STATISTICS) if plan.statistics else None,
    )


def _recorded(path: Path, offset: int) -> NDArray[np.int64]:
    """Return the scheduled times of the rows in a part, on the controller's clock; none where there is no part."""
    try:
        return np.asarray(read_samples(path).rows["scheduled"], np.int64) - offset
    except RecordingError:
        return np.empty(0, np.int64)


def _is_begun(path: Path) -> bool:
    return path.exists() and path.stat().st_size >= HEADER


def _worst(statuses: Sequence[int | None]) -> int:
    return next((status for status in statuses if status), 0)

"""`python -m probes.load PLAN.json`: one load in a process of its own.

Exit status: 0 when every arrival that fell due has its row in the samples; 1 when not (the samples could not be
written, or something broke); 2 when the plan is wrong, with nothing sent.

SIGTERM and SIGINT stop the load: what is out is recorded as `cancelled`, what was due and not sent as `unsent`, and
the exit status is 0. So does the death of its owner (`probes.owner`). The owner may call off an overlay of the plan by
the line `call off INDEX`; the live counters show that it was heard.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import ssl
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path

import uvloop

from probes.channels import channel_maker
from probes.endpoint import tls_context
from probes.errors import PlanError
from probes.generator import GeneratorMonitor
from probes.live import WINDOW, LiveWriter
from probes.open_loop import OpenLoop
from probes.owner import stopping_when_told
from probes.plan import LoadPlan
from probes.request import Encoder, forms
from probes.samples import ChunkFile, SampleFile
from probes.superposition import Superposition, schedule_of
from probes.url import Url

CALL_OFF = "call off"
_OTHER_FILES = 64  # descriptors this process needs beside its connections


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plan and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m probes.load", description="Run one open-loop HTTP load.")
    parser.add_argument("plan", type=Path, metavar="PLAN.json", help="what probes.plan.LoadPlan.write wrote")
    path = parser.parse_args(argv).plan
    try:
        load = _Load.prepare(path)
    except (PlanError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    try:
        return load.run()
    except OSError as error:
        parser.exit(1, f"{parser.prog}: the load ended early: {error}\n")


@dataclass(frozen=True)
class _Load:
    """All that one load needs, with its files open."""

    plan: LoadPlan
    schedule: Superposition
    encoders: Sequence[Encoder]
    tls: ssl.SSLContext | None
    samples: SampleFile
    chunks: ChunkFile | None
    live: LiveWriter

    @classmethod
    def prepare(cls, path: Path) -> _Load:
        """Read the plan and open the files. Raises PlanError, and OSError for a file that can't be had."""
        plan = LoadPlan.read(path)
        _allow_files(plan.connections + _OTHER_FILES)
        schedule, encoders = schedule_of(plan), forms(plan)
        tls = tls_context(plan.ca, plan.certificate, plan.key) if Url.parse(plan.url).tls else None
        with ExitStack() as opened:
            samples = SampleFile(Path(plan.samples), [kind.name for kind in plan.classes], plan.worker)
            opened.callback(samples.close)
            chunks = ChunkFile(Path(plan.chunks)) if plan.stream and plan.chunks else None
            if chunks:
                opened.callback(chunks.close)
            load = cls(plan, schedule, encoders, tls, samples, chunks, _live(plan, schedule))
            opened.pop_all()
        return load

    def run(self) -> int:
        """Run the load and return the exit status; the files are closed whatever happens."""
        with ExitStack() as opened:
            opened.callback(self.samples.close)
            if self.chunks:
                opened.callback(self.chunks.close)
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                taken = runner.run(self._send())
        return 0 if self.samples.rows == taken else 1

    async def _send(self) -> int:
        """Return how many arrivals were taken from the schedule."""
        plan = self.plan
        async with channel_maker(plan, self.tls) as make_channel:
            load = OpenLoop(plan, self.schedule, make_channel, self.encoders, self.samples, self.chunks, self.live)
            with stopping_when_told(load.stop, partial(_obey, load)), _no_collections(), _watched(plan, load):
                await load.run()
        return load.taken


def _obey(load: OpenLoop, line: str) -> None:
    """Do what the owner says. A line that it never says is an error, and ends the load."""
    words = line.rpartition(" ")
    if words[0] != CALL_OFF:
        raise ValueError(f"the owner of the load says {line!r}")
    load.call_off(int(words[2]))


@contextmanager
def _watched(plan: LoadPlan, load: OpenLoop) -> Iterator[None]:
    """Write what this process used of its machine, where that is asked for."""
    monitor = GeneratorMonitor(asyncio.get_running_loop())
    try:
        yield
    finally:
        monitor.close()
        if plan.statistics is not None:
            monitor.write(Path(plan.statistics), "httpx" if plan.http2 else "wire", load.opened)


def _live(plan: LoadPlan, schedule: Superposition) -> LiveWriter:
    """Make the counters, with a window for every second in which an answer may come."""
    windows = ceil(plan.duration + 2 * plan.drain_or_timeout) + 1
    return LiveWriter(Path(plan.live), plan.start, schedule.per_window(WINDOW, windows))


def _allow_files(needed: int) -> None:
    """Raise this process's soft limit of open files where that is needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise PlanError(f"connections: {needed - _OTHER_FILES} need {needed} open files; the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def _no_collections() -> Iterator[None]:
    """Keep the garbage collector out of the measurement; what is made in it frees itself by reference counts."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


if __name__ == "__main__":
    sys.exit(main())

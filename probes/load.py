"""`python -m probes.load PLAN.json`: one load in a process of its own.

Exit status: 0 when every arrival that fell due has its row in the samples; 1 when not (the samples could not be
written, or something broke); 2 when the plan is wrong, with nothing sent.

SIGTERM and SIGINT stop the load: what is out is recorded as `cancelled`, what was due and not sent as `unsent`, and
the exit status is 0. So does the death of its owner: a load must never run on without one. The owner is the parent
process and, where standard input is a pipe, whoever holds its other end (which still works with a `sudo` in between);
so a caller passes a pipe and keeps it open, or /dev/null.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import stat
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import uvloop

from probes.errors import PlanError
from probes.live import WINDOW, LiveWriter
from probes.open_loop import OpenLoop
from probes.plan import LoadPlan
from probes.request import encoder
from probes.samples import SampleFile
from probes.schedule import Schedule, arrivals, assign_classes
from probes.url import Url
from probes.wire import Endpoint

_OTHER_FILES = 64  # descriptors this process needs beside its connections
_STDIN = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plan and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m probes.load", description="Run one open-loop HTTP load.")
    parser.add_argument("plan", type=Path, metavar="PLAN.json", help="what probes.plan.LoadPlan.write wrote")
    path = parser.parse_args(argv).plan
    try:
        plan = LoadPlan.read(path)
        _allow_files(plan.connections + _OTHER_FILES)
        schedule = schedule_of(plan)
        live = _live(plan, schedule)
        samples = SampleFile(Path(plan.samples), [kind.name for kind in plan.classes], plan.worker)
    except (PlanError, OSError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    try:
        return _run(plan, schedule, samples, live)
    except OSError as error:
        parser.exit(1, f"{parser.prog}: the load ended early: {error}\n")


def _run(plan: LoadPlan, schedule: Schedule, samples: SampleFile, live: LiveWriter) -> int:
    """Run the load; the samples are closed whatever happens."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            taken = runner.run(_load(plan, schedule, samples, live))
    finally:
        samples.close()
    return 0 if samples.rows == taken else 1


async def _load(plan: LoadPlan, schedule: Schedule, samples: SampleFile, live: LiveWriter) -> int:
    """Return how many arrivals were taken from the schedule."""
    endpoint = Endpoint.of(Url.parse(plan.url))
    load = OpenLoop(plan, schedule, endpoint, [encoder(plan, kind) for kind in plan.classes], samples, live)
    with _stopping_when_told(load.stop), _no_collections():
        await load.run()
    return load.taken if load.taken == samples.rows else (load.taken - plan.worker) // plan.workers


def schedule_of(plan: LoadPlan) -> Schedule:
    """Return what the process of this plan is to send."""
    offsets = arrivals(plan.process, plan.rate, plan.duration, plan.seed, plan.burstiness)
    weights = [kind.weight for kind in plan.classes]
    own = slice(plan.worker, None, plan.workers)
    classes = assign_classes(len(offsets), weights, plan.seed)
    return Schedule(plan.start + offsets[own], classes[own], plan.worker, plan.workers)


def _live(plan: LoadPlan, schedule: Schedule) -> LiveWriter:
    """Make the counters, with a window for every second in which an answer may come."""
    windows = ceil(plan.duration + 2 * plan.drain_or_timeout) + 1
    return LiveWriter(Path(plan.live), plan.start, schedule.per_window(plan.start, WINDOW, windows))


def _allow_files(needed: int) -> None:
    """Raise this process's soft limit of open files where that is needed and allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise PlanError(f"connections: {needed - _OTHER_FILES} need {needed} open files; the hard limit is {hard}")
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


@contextmanager
def _stopping_when_told(stop: Callable[[], None]) -> Iterator[None]:
    """Stop on SIGTERM, on SIGINT, and when the owner is gone."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    parent = os.pidfd_open(os.getppid())
    loop.add_reader(parent, stop)  # readable once that process has ended: pidfd_open(2)
    if stat.S_ISFIFO(os.fstat(_STDIN).st_mode):
        loop.add_reader(_STDIN, _stop_at_eof, loop, stop)
    try:
        yield
    finally:
        loop.remove_reader(_STDIN)
        loop.remove_reader(parent)
        os.close(parent)


def _stop_at_eof(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    if not os.read(_STDIN, 4096):
        loop.remove_reader(_STDIN)
        stop()


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

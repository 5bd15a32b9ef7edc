"""`python -m probes.health PLAN.json`: all health probes of a run, in a process of their own.

Exit status: 0 when every check that fell due has its row in the samples; 1 when not (the samples could not be written,
or something broke); 2 when the plan is wrong or this machine can't ask, with nothing asked.

SIGTERM and SIGINT stop the probes, and so does the death of their owner (`probes.owner`): what is out is recorded as
`cancelled`, and the exit status is 0.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from probes.errors import PlanError
from probes.health._asking import Asking
from probes.health._live import LiveStates, State
from probes.health._plan import HealthPlan
from probes.owner import stopping_when_told
from probes.samples import SampleFile

_FLUSH = 1.0  # s between flushes of the samples: what a crash may cost


def main(argv: Sequence[str] | None = None) -> int:
    """Run the plan and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m probes.health", description="Run health probes.")
    parser.add_argument("plan", type=Path, metavar="PLAN.json", help="what probes.health._plan.HealthPlan.write wrote")
    path = parser.parse_args(argv).plan
    with ExitStack() as files:
        try:
            asking, samples = _prepare(HealthPlan.read(path), files)
        except (PlanError, OSError) as error:
            parser.exit(2, f"{parser.prog}: {error}\n")
        try:
            asyncio.run(_ask(asking, samples))
            files.close()
        except OSError as error:
            with suppress(OSError):  # each file says it again
                files.close()
            parser.exit(1, f"{parser.prog}: the probes ended early: {error}\n")
    return 0 if all(file.rows == one.due for one, file in zip(asking, samples, strict=True)) else 1


def _prepare(plan: HealthPlan, files: ExitStack) -> tuple[list[Asking], list[SampleFile]]:
    probes = plan.make()
    for probe in probes:
        if (why := probe.objection()) is not None:
            raise PlanError(f"{probe.called}: {why}")
        probe.prepare()
    samples = []
    for probe in probes:
        samples.append(SampleFile(Path(plan.folder) / f"{probe.called}.bin", ["check"]))
        files.callback(samples[-1].close)
    states = LiveStates(Path(plan.live), len(probes)) if plan.live else None
    shows = [partial(states.show, index) if states else _nobody for index in range(len(probes))]
    asked = zip(probes, samples, shows, strict=True)
    return [Asking(probe, plan.start, plan.duration, file, show) for probe, file, show in asked], samples


def _nobody(state: State) -> None:
    """Show the state to nobody."""


async def _ask(asking: Sequence[Asking], samples: Sequence[SampleFile]) -> None:
    """Ask all of them to the end, or until told to stop."""
    everything = asyncio.gather(*(one.run() for one in asking))
    flushing = asyncio.create_task(_flush(samples))
    flushing.add_done_callback(lambda _: everything.cancel())  # it ends by itself only where a file can't be written
    try:
        with stopping_when_told(everything.cancel), suppress(asyncio.CancelledError):
            await everything
    finally:
        flushing.cancel()
        with suppress(asyncio.CancelledError):
            await flushing


async def _flush(samples: Sequence[SampleFile]) -> None:
    while True:
        await asyncio.sleep(_FLUSH)
        for file in samples:
            file.flush()
            file.check()


if __name__ == "__main__":
    sys.exit(main())

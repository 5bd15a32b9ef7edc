"""One probe on its schedule: each check that falls due becomes one row, whatever becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import ceil
from time import monotonic_ns

from probes.errors import ErrorKind
from probes.health._live import State, Tally
from probes.health._probe import Outcome, Probe
from probes.samples import SampleFile
from probes.schedule import NS


class Asking:
    """Asks one probe from `start` (ns) for `duration` s and writes its samples. Cancel `run` to stop.

    `show` is given the probe's state each time that it is known anew.
    """

    def __init__(
        self, probe: Probe, start: int, duration: float, samples: SampleFile, show: Callable[[State], None]
    ) -> None:
        self._probe, self._start, self._samples, self._show = probe, start, samples, show
        self._tally = Tally(probe.failure_threshold, probe.success_threshold)
        self._every = round(probe.every * NS)
        self.checks = ceil(round(duration * NS) / self._every)
        self.due = 0
        """How many checks have fallen due so far: each has its row once `run` is over."""

    async def run(self) -> None:
        """Begin each check when it is due; return when all have their outcome."""
        async with asyncio.TaskGroup() as out:
            for index in range(self.checks):
                due = self._start + index * self._every
                await asyncio.sleep(max(0, due - monotonic_ns()) / NS)
                self.due += 1
                out.create_task(self._check(index))

    async def _check(self, index: int) -> None:
        due, sent = self._start + index * self._every, monotonic_ns()
        if sent - due > self._every:
            self._record(index, 0, Outcome(ErrorKind.UNSENT))
            return
        try:
            async with asyncio.timeout(self._probe.timeout):
                outcome = await self._probe.check()
        except TimeoutError:
            outcome = Outcome(ErrorKind.TIMEOUT)
        except asyncio.CancelledError:
            self._record(index, sent, Outcome(ErrorKind.CANCELLED))
            raise
        self._record(index, sent, outcome)

    def _record(self, index: int, sent: int, outcome: Outcome) -> None:
        now, due = monotonic_ns(), self._start + index * self._every
        self._samples.append(due, sent, outcome.first, now, outcome.received, outcome.status, 0, outcome.error)
        self._show(self._tally.ended(index, outcome.error, now))

"""One open-loop load of `probes` in a process of its own on one core, and what the rows it wrote say of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chaos.record.samples import read_samples
from probes.plan import LoadPlan
from probes.timer import NS
from scripts.benchmarks.processes import finished, python

SEND_DELAY = 0.001
"""s; the p99 up to which a rate counts as sustained."""
SEED = 3
_LEAD = 1.5  # s for the process to start, before the first arrival
_SLACK = 30.0  # s


@dataclass(frozen=True)
class Load:
    """A load that has ended: its start (ns), how many requests its rate calls for, and a row for each it sent."""

    start: int
    called_for: float
    rows: NDArray[np.void]

    @property
    def send_delay(self) -> float:
        """The p99 of sent - scheduled, in s; what was never sent has waited for ever."""
        late = np.where(self.rows["sent"] > 0, self.rows["sent"] - self.rows["scheduled"], np.iinfo(np.int64).max)
        return float(np.quantile(late, 0.99)) / NS if len(late) else float("inf")

    @property
    def complete(self) -> bool:
        """Whether every arrival has a complete answer with status 200, and they are as many as the rate calls for.

        Arrivals are counted to five standard deviations of a Poisson process.
        """
        as_many = abs(len(self.rows) - self.called_for) <= 5 * sqrt(self.called_for)
        return as_many and bool(np.all(self.ok))

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which rows have a complete answer with status 200."""
        found: NDArray[np.bool_] = (self.rows["error"] == 0) & (self.rows["status"] == 200)
        return found

    @property
    def sustained(self) -> bool:
        """Whether the rate was sustained: nothing unsent or failed, and the p99 of the send delay within 1 ms."""
        return self.complete and self.send_delay <= SEND_DELAY

    def ends(self, first: float, last: float) -> NDArray[np.int64]:
        """Return the ok requests that ended in each second of the load's time, from `first` to `last` s."""
        after = (self.rows["end"][self.ok] - self.start) / NS
        return np.histogram(after, np.arange(first, last + 0.5))[0].astype(np.int64)


@contextmanager
def loaded(core: int, url: str, rate: float, seconds: float, **plan: Any) -> Iterator[Load]:
    """Run one load to its end; `plan` goes into the LoadPlan. Raises BenchError when it fails."""
    with TemporaryDirectory(prefix="gameday-bench-") as name:
        written = planned(Path(name), url, rate, seconds, **plan)
        finished(core, python("probes.load", f"{name}/plan.json"), _LEAD + seconds + written.drain_or_timeout + _SLACK)
        yield Load(written.start, rate * seconds, read_samples(Path(written.samples)).rows)


def planned(folder: Path, url: str, rate: float, seconds: float, lead: float = _LEAD, **plan: Any) -> LoadPlan:
    """Write a plan that starts in `lead` s to plan.json in `folder`, and return it."""
    defaults: dict[str, Any] = {"process": "poisson", "seed": SEED, "connections": 32, "timeout": 5.0, "drain": 2.0}
    found = LoadPlan(
        url=url,
        rate=rate,
        duration=seconds,
        start=time.monotonic_ns() + round(lead * NS),
        samples=str(folder / "samples.bin"),
        live=str(folder / "live.bin"),
        **(defaults | plan),
    )
    found.write(folder / "plan.json")
    return found

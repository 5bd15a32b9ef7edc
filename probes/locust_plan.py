"""What one process of a Locust load is to do: a value, written as JSON by who wants the load. It imports no Locust.

Locust's own settings (the locustfile, users, workers, ports) go to Locust as its own arguments; this is what the
recorder beside it needs.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LocustPlan:
    """One process: the master, or worker number `worker` (from 0). Paths of files that don't exist yet.

    start, end    CLOCK_MONOTONIC ns: what was sent before or after is recorded and not counted live
    slo_latency   s, from the send; only the live counter `good` uses it
    samples, live, statistics   of a worker; empty for the master
    crew          of the master: how many users and workers there were (JSON)
    users, workers   how many there should be
    """

    start: int
    end: int
    users: int
    workers: int
    worker: int = 0
    slo_latency: float | None = None
    samples: str = ""
    live: str = ""
    statistics: str = ""
    crew: str = ""

    def write(self, path: Path) -> None:
        """Write the plan as JSON."""
        path.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> LocustPlan:
        """Read what `write` wrote. Raises TypeError for a key that is not known."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

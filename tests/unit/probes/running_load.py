"""Runs a load in this process and reads what it wrote, with numpy alone: the reader knows nothing of the writer."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probes.load import main
from probes.plan import LoadPlan


@dataclass(frozen=True)
class Outcome:
    plan: LoadPlan
    status: int
    header: dict[str, Any]
    rows: np.ndarray[Any, np.dtype[np.void]]

    @property
    def errors(self) -> dict[str, int]:
        """How many requests ended with each kind."""
        return dict(Counter(self.header["errors"][code] for code in self.rows["error"].tolist()))

    @property
    def latency(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """From the scheduled instant, in s."""
        return np.asarray((self.rows["end"] - self.rows["scheduled"]) / 1e9)


def plan_for(folder: Path, url: str, **changes: Any) -> LoadPlan:
    """Return a plan of ten requests in 0.2 s, unless told otherwise."""
    paths = {"samples": str(folder / "samples.bin"), "live": str(folder / "live")}
    base: dict[str, Any] = {"rate": 50.0, "duration": 0.2, "process": "constant", "timeout": 2.0}
    start = time.monotonic_ns() + 50_000_000
    return LoadPlan(**base | {"url": url, "start": start} | paths | changes)


def read(plan: LoadPlan, status: int) -> Outcome:
    """Read the samples that a load left."""
    with Path(plan.samples).open("rb") as file:
        header = json.loads(file.read(4096))
        dtype = np.dtype([tuple(column) for column in header["columns"]])
        rows = np.frombuffer(file.read(), dtype)
    return Outcome(plan, status, header, rows)


def run(folder: Path, url: str, **changes: Any) -> Outcome:
    """Run a load to its end."""
    plan = plan_for(folder, url, **changes)
    plan.write(folder / "plan.json")
    return read(plan, main([str(folder / "plan.json")]))

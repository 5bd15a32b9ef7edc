"""Runs health probes as their callers do, in a process, and reads what they wrote with numpy alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probes.health import HealthPlan, PlannedProbe


@dataclass(frozen=True)
class Checked:
    header: dict[str, Any]
    rows: np.ndarray[Any, np.dtype[np.void]]

    @property
    def errors(self) -> dict[str, int]:
        return dict(Counter(self.header["errors"][code] for code in self.rows["error"].tolist()))


def planned(kind: str, **parameters: Any) -> PlannedProbe:
    return PlannedProbe(type=f"probes.health.{kind}:{kind.capitalize()}", parameters=parameters)


def plan_for(folder: Path, *probes: PlannedProbe, duration: float = 1.0, lead: int = 0) -> HealthPlan:
    """Return a plan that starts `lead` ns from now; what is due while Python loads is never asked."""
    return HealthPlan(start=time.monotonic_ns() + lead, duration=duration, folder=str(folder), probes=probes)


def command(plan: HealthPlan, folder: Path) -> list[str]:
    plan.write(folder / "plan.json")
    return [sys.executable, "-m", "probes.health", str(folder / "plan.json")]


def run(plan: HealthPlan, folder: Path) -> int:
    """Run probes to their end and return the exit status."""
    return subprocess.run(command(plan, folder), stdin=subprocess.DEVNULL, timeout=30).returncode


def read(folder: Path, name: str) -> Checked:
    """Read the samples of a probe."""
    with (folder / f"{name}.bin").open("rb") as file:
        header = json.loads(file.read(4096))
        rows = np.frombuffer(file.read(), np.dtype([tuple(column) for column in header["columns"]]))
    return Checked(header, rows)

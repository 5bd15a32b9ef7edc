"""What faults of a host itself come to on a VM host: what its kernel says of it, beside what was asked.

Nothing of it is read from what was asked for: a share of a core is the cgroup's usage, a stopped process
is the kernel's state of it, a clock is read beside CLOCK_MONOTONIC_RAW.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaos import catalog
from chaos.contracts import Target
from tests.unit.faults.payload_hosts import Standing

HOLD, LONGEST = 8.0, 60.0  # s
_ENGINE = r"^\S+ -S -m chaos.lab.appliance worker --name worker-1 "


@dataclass(frozen=True)
class HostDose:
    """A fault of a host, what of it is measured, and how far that may be off, as a number and as text."""

    kind: str
    given: Mapping[str, Any]
    quantity: str
    unit: str
    allowed: float

    def is_within(self, asked: float | None, found: float) -> bool:
        """Whether it is not further off; what nobody can ask for is only found."""
        return asked is None or abs(found - asked) <= self.allowed


HOST_DOSES = (
    *(HostDose("cpu", {"cores": 1, "share": f"{share}%"}, "cpu_share", "%", 0.02) for share in (20, 50, 80)),
    HostDose("process_pause", {"match": _ENGINE}, "paused", "%", 0),
    HostDose("clock", {"offset": "30s"}, "offset_s", "s", 0.05),
    HostDose("clock", {"offset": "30s", "direction": "behind"}, "offset_s", "s", 0.05),
    HostDose("clock", {"drift": "5%"}, "drift_ratio", "%", 0.001),
)


def measure_host(target: Target, dose: HostDose) -> tuple[float | None, float]:
    """Return what was asked and what was found, at the latest after LONGEST; a program's start costs time too."""
    standing = Standing(target, catalog.faults().get(dose.kind).model_validate(dose.given))
    asked, end = standing.fault.asked().get(dose.quantity), time.monotonic() + LONGEST
    try:
        time.sleep(HOLD)
        while not dose.is_within(asked, found := standing.dose().achieved[dose.quantity]) and time.monotonic() < end:
            time.sleep(1)
    finally:
        standing.undo()
    return asked, found

"""What a share of a core comes to on a VM host, by what its kernel says of the cgroup, beside what was asked."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaos import catalog
from chaos.contracts import Target
from tests.unit.faults.payload_hosts import Standing

HOLD = 30.0  # s


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


HOST_DOSES = (*(HostDose("cpu", {"cores": 1, "share": f"{share}%"}, "cpu_share", "%", 0.02) for share in (20, 50, 80)),)


def measure_host(target: Target, dose: HostDose) -> tuple[float | None, float]:
    """Return what was asked and what was found at the end of HOLD; a program's start costs time too."""
    standing = Standing(target, catalog.faults().get(dose.kind).model_validate(dose.given))
    try:
        time.sleep(HOLD)
        found = standing.dose().achieved[dose.quantity]
    finally:
        standing.undo()
    return standing.fault.asked().get(dose.quantity), found

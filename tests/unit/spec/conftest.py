"""Three small faults in a registry of their own, so that these tests stand apart from the catalogue."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest

from chaos.catalog import FaultRegistry
from chaos.contracts import PowerState, Reading
from chaos.units import Duration
from tests.unit.spec.toy_faults import Toy


class Slow(Toy):
    """Answers late."""

    kind: ClassVar[str] = "slow"
    delay: Duration
    jitter: Duration = 0.0


class Outage(Toy):
    """Cuts the power."""

    kind: ClassVar[str] = "outage"

    def reading(self) -> Reading[Any]:
        return Reading((PowerState(),), str)


class Kill(Toy):
    """Over once applied."""

    kind: ClassVar[str] = "kill"

    @property
    def lasts(self) -> bool:
        return False


@pytest.fixture
def registry() -> FaultRegistry:
    faults = FaultRegistry("fault")
    for cls in (Slow, Outage, Kill):
        faults.add(cls.kind, cls, owner="tests")
    return faults

"""node_kill: the power of a host is cut, and given back when the fault ends.

No goodbye reaches anybody: sockets stay half open and packets vanish, which is what tells a power cut from a reboot.
"""

from __future__ import annotations

from typing import ClassVar

from chaos.contracts import Action, Dose, Power, SwitchPower
from chaos.faults._power import Down


class NodeKill(Down):
    """Cut the power of a host, for a while."""

    kind: ClassVar[str] = "node_kill"
    example: ClassVar[str] = "{kind: node_kill, on: worker-1, for: 10s}"
    shade: ClassVar[str] = "#8f1d1d"

    def apply(self, before: Power) -> list[Action]:
        """Cut the power."""
        del before
        return [SwitchPower(on=False)]

    def is_applied(self, before: Power, now: Power) -> bool:
        """The power controller says off."""
        del before
        return not now.on

    def asked(self) -> dict[str, float]:
        """One power cut."""
        return {"power_cuts": 1.0}

    def dose(self, before: Power, now: Power) -> Dose:
        """It is still off at the end of the fault."""
        del before
        return Dose({"power_cuts": float(not now.on)}, not now.on, "" if not now.on else "somebody gave it power")

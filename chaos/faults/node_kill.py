"""node_kill: the power of a host is cut, and given back when the fault ends.

No goodbye reaches anybody: sockets stay half open and packets vanish, which is what tells a power cut from a reboot.
The host can't undo it, so the fuse stands on the controller's machine, detached from the run.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from chaos.contracts import Action, Dose, Fault, Power, PowerState, Reading, SwitchPower


class NodeKill(Fault[Power]):
    """Cut the power of a host, for a while."""

    kind: ClassVar[str] = "node_kill"
    example: ClassVar[str] = "{kind: node_kill, on: worker-1, for: 10s}"
    release: ClassVar[str] = "the host boots: its boot time and its service's start-up are part of recovery"
    shade: ClassVar[str] = "#8f1d1d"
    undo_from: ClassVar[Literal["host", "controller"]] = "controller"
    settle: ClassVar[float] = 180.0

    def reading(self) -> Reading[Power]:
        """Ask the power controller, and the host."""
        return Reading((PowerState(),), lambda power: power)

    def objection(self, before: Power) -> str | None:
        """Object to a host that is off, or that does not answer, already."""
        if not before.on:
            return "the host is off already"
        return None if before.answers else "the host is on and does not answer; nobody could tell when it is back"

    def apply(self, before: Power) -> list[Action]:
        """Cut the power."""
        del before
        return [SwitchPower(on=False)]

    def revert(self, before: Power) -> list[Action]:
        """Give the power back."""
        del before
        return [SwitchPower(on=True)]

    def typical(self) -> Power:
        """A host that is on."""
        return Power(on=True, answers=True)

    def is_applied(self, before: Power, now: Power) -> bool:
        """The power controller says off."""
        del before
        return not now.on

    def is_reverted(self, before: Power, now: Power) -> bool:
        """It is on, it answers, and it has booted since."""
        return now.on and now.answers and now.boot != before.boot

    def asked(self) -> dict[str, float]:
        """One power cut."""
        return {"power_cuts": 1.0}

    def dose(self, before: Power, now: Power) -> Dose:
        """It is still off at the end of the fault."""
        del before
        return Dose({"power_cuts": float(not now.on)}, not now.on, "" if not now.on else "somebody gave it power")

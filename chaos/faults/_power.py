"""What the kinds that take a host down share: they read its power, and are over once it has booted anew.

The host can't undo it, so the fuse stands on the controller's machine, detached from the run.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from chaos.contracts import Action, Fault, Power, PowerState, Reading, SwitchPower


class Down(Fault[Power]):
    """A fault that takes a host down: all of it but how, and how that shows."""

    release: ClassVar[str] = "the host boots: its boot time and its service's start-up are part of recovery"
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

    def revert(self, before: Power) -> list[Action]:
        """Give the power back, or see to it that it is there."""
        del before
        return [SwitchPower(on=True)]

    def typical(self) -> Power:
        """A host that is on."""
        return Power(on=True, answers=True, boot="0f1e")

    def is_reverted(self, before: Power, now: Power) -> bool:
        """It is on, it answers, and it has booted since."""
        return now.on and now.answers and now.boot != before.boot

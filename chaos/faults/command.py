"""command: a fault of the user's own, in sh: how to read it, how to bring it about, how to undo it.

The same contract as every kind has. `read` prints the state that the fault changes (and nothing that changes by
itself): what it printed before is what it must print again once the fault is undone, and both the controller and the
fuse on the host ask it. In `apply` and `revert` the variable `before` holds what it printed. Both must be repeatable,
and `revert` must undo half an `apply` too.

What is done must be gone after a reboot: no undo runs at boot. Nothing marks what it leaves on a host, so where ledger
and fuse are both lost, `gameday heal` can't find it.
"""

from __future__ import annotations

from shlex import quote
from typing import ClassVar

from pydantic import Field

from chaos.contracts import Action, Dose, Fault, Reading, Shell
from chaos.faults import _reading
from chaos.faults._reading import Script


class Command(Fault[str]):
    """Do something of your own to a host, by sh that reads, applies and reverts it."""

    kind: ClassVar[str] = "command"
    example: ClassVar[str] = (
        "{kind: command, on: worker-1, for: 20s, read: cat /sys/kernel/mm/ksm/run, "
        "apply: echo 1 >/sys/kernel/mm/ksm/run, revert: echo $before >/sys/kernel/mm/ksm/run}"
    )
    release: ClassVar[str] = "whatever the command's own undo does"
    shade: ClassVar[str] = "#6b7280"

    read: Script = Field(description="sh that prints the state: the same before the fault and after it")
    apply_: Script = Field(
        alias="apply", description="sh that brings the fault about; `$before` is what `read` printed"
    )
    revert_: Script = Field(alias="revert", description="sh that undoes it, also half of it; `$before` as well")
    applied: str | None = Field(
        None, description="what `read` prints under the fault; by default anything but what it printed before"
    )

    def reading(self) -> Reading[str]:
        """Ask the user's own script."""
        return Reading((_reading.question(_reading.own_shell(self.read)),), _reading.answer)

    def objection(self, before: str) -> str | None:
        """Object to a state that could not be told from the fault's, or is too long to be kept."""
        if len(before) > _reading.MOST:
            return f"`read` prints {len(before)} characters; at most {_reading.MOST} can be kept as a state"
        if before == self.applied:
            return f"`read` prints {before!r} already, which is what `applied` waits for"
        return None

    def apply(self, before: str) -> list[Action]:
        """Run `apply`."""
        return [Shell(self._with(before, self.apply_))]

    def revert(self, before: str) -> list[Action]:
        """Run `revert`; clean is when `read` prints what it printed before."""
        return [Shell(self._with(before, self.revert_), until=_reading.reads(_reading.own_shell(self.read), before))]

    def typical(self) -> str:
        """Some state."""
        return "(what `read` prints)"

    def is_applied(self, before: str, now: str) -> bool:
        """`read` prints what `applied` says, or something else than before."""
        return now == self.applied if self.applied is not None else now != before

    def is_reverted(self, before: str, now: str) -> bool:
        """`read` prints what it printed before."""
        return now == before

    def asked(self) -> dict[str, float]:
        """One change."""
        return {"changed": 1.0}

    def dose(self, before: str, now: str) -> Dose:
        """Ask `read` once more at the end of the fault."""
        on = self.is_applied(before, now)
        return Dose({"changed": float(on)}, on, "" if on else f"`read` printed {now[:80]!r} at the end of the fault")

    def _with(self, before: str, script: str) -> str:
        return f"before={quote(before)}\nexport before\n{_reading.own_shell(script)}"

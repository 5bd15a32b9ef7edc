"""node_reboot: a host is reset at once by its own kernel, as a watchdog does it, and boots (sysrq `b`, proc(5)).

Nothing is synced, stopped or told: sockets stay half open until the host that boots resets them. It comes back by
itself; where it does not, what the fuse on the controller's machine can do is give it power. So it needs `power:` in
the inventory, which also tells a host that is down from one that can't be reached. A container refuses: its kernel is
the machine's.
"""

from __future__ import annotations

from shlex import quote
from typing import ClassVar, Literal

from chaos.contracts import Action, Dose, Fault, Power, PowerState, Reading, Shell, SwitchPower

# the answer to this very command is to be on its way first; by whom it is asked twice, it is done once
_RESET = """[ "$(cat /proc/sys/kernel/random/boot_id)" = {boot} ] || exit 0
if [ "$(readlink /proc/self/ns/pid)" != 'pid:[4026531836]' ]; then
    echo "this host is a container or a namespace: its kernel is the machine's" >&2
    exit 1
fi
[ -w /proc/sysrq-trigger ] || exit 1
command -v setsid >/dev/null && set -- setsid || set -- nohup
"$@" sh -c 'sleep 0.3 || sleep 1; echo 1 >/proc/sys/kernel/sysrq; echo b >/proc/sysrq-trigger' \\
    </dev/null >/dev/null 2>&1 &"""


class NodeReboot(Fault[Power]):
    """Reset a host, which boots again by itself."""

    kind: ClassVar[str] = "node_reboot"
    example: ClassVar[str] = "{kind: node_reboot, on: worker-1}"
    release: ClassVar[str] = "the host boots: its boot time and its service's start-up are part of recovery"
    shade: ClassVar[str] = "#a63d2f"
    undo_from: ClassVar[Literal["host", "controller"]] = "controller"
    settle: ClassVar[float] = 180.0
    lasts: ClassVar[bool] = False

    def reading(self) -> Reading[Power]:
        """Ask the power controller, and the host."""
        return Reading((PowerState(),), lambda power: power)

    def objection(self, before: Power) -> str | None:
        """Object to a host that is off, or that does not answer, already."""
        if not before.on:
            return "the host is off already"
        return None if before.answers else "the host is on and does not answer; nobody could tell when it is back"

    def apply(self, before: Power) -> list[Action]:
        """Reset it, if it is still in the boot that was read."""
        return [Shell(_RESET.format(boot=quote(before.boot)))]

    def revert(self, before: Power) -> list[Action]:
        """See to it that it has power; it boots by itself."""
        del before
        return [SwitchPower(on=True)]

    def typical(self) -> Power:
        """A host that is on."""
        return Power(on=True, answers=True, boot="0f1e")

    def is_applied(self, before: Power, now: Power) -> bool:
        """It does not answer, or has booted since."""
        return not now.answers or now.boot != before.boot

    def is_reverted(self, before: Power, now: Power) -> bool:
        """It is on, it answers, and it has booted since."""
        return now.on and now.answers and now.boot != before.boot

    def asked(self) -> dict[str, float]:
        """One reboot."""
        return {"reboots": 1.0}

    def dose(self, before: Power, now: Power) -> Dose:
        """It is down, or in another boot."""
        rebooted = self.is_applied(before, now)
        return Dose({"reboots": float(rebooted)}, rebooted, "" if rebooted else "it is in the same boot as before")

"""node_reboot: a host is reset at once by its own kernel, as a watchdog does it, and boots (sysrq `b`, proc(5)).

Nothing is synced, stopped or told: sockets stay half open until the host that boots resets them. It comes back by
itself; where it does not, what the fuse on the controller's machine can do is give it power. So it needs `power:` in
the inventory, which also tells a host that is down from one that can't be reached. A container refuses: its kernel is
the machine's.
"""

from __future__ import annotations

from shlex import quote
from typing import ClassVar

from chaos.contracts import Action, Dose, Power, Shell
from chaos.faults._power import Down

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


class NodeReboot(Down):
    """Reset a host, which boots again by itself."""

    kind: ClassVar[str] = "node_reboot"
    example: ClassVar[str] = "{kind: node_reboot, on: worker-1}"
    shade: ClassVar[str] = "#a63d2f"

    @property
    def lasts(self) -> bool:
        """It is over once it is down."""
        return False

    def apply(self, before: Power) -> list[Action]:
        """Reset it, if it is still in the boot that was read."""
        return [Shell(_RESET.format(boot=quote(before.boot)))]

    def is_applied(self, before: Power, now: Power) -> bool:
        """It does not answer, or has booted since."""
        return not now.answers or now.boot != before.boot

    def asked(self) -> dict[str, float]:
        """One reboot."""
        return {"reboots": 1.0}

    def dose(self, before: Power, now: Power) -> Dose:
        """It is down, or in another boot."""
        rebooted = self.is_applied(before, now)
        return Dose({"reboots": float(rebooted)}, rebooted, "" if rebooted else "it is in the same boot as before")

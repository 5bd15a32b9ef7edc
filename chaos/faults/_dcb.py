"""What the kinds that set data centre bridging share: who sets it, when they may, what else is watched, and the tools.

DCB has owners. An agent on the host (lldpad), or one in the adapter, agrees on it with the switch and writes it again
when it likes, so that a fault would not last and its undo would not hold: both are objected to. And setting it is no
small thing to an adapter: some restart the link (ConnectX does, at each change of PFC), so it is not done to the
interface that carries the control path. Whether the link went, and how many pause frames there were, is in the dose.

A setting bears no mark: with its ledger and its fuse lost, nobody can know of it. A reboot undoes it, or the next
`config reload` of a switch.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from shlex import quote
from typing import Any, ClassVar, Self

from pydantic import Field

from chaos.contracts import (
    Action,
    ControlPath,
    DcbState,
    Dose,
    Fault,
    HostView,
    Need,
    Output,
    Question,
    Reading,
    SetDcb,
    Shell,
)
from chaos.faults import _interface
from chaos.faults._interface import Interface
from chaos.kernel import Dcb, Ets, Flow, Pfc
from chaos.names import InterfaceName

OFF = "off"
RESTARTS = "some adapters restart the link at each change, also when it is put back (1 to 5 s without it)"
_TUNABLE = "pfc-prevention-tout"

_REST = """
echo --agents
here=$(readlink /proc/self/ns/net)
for comm in /proc/[0-9]*/comm; do
    read -r name <"$comm" || continue
    case $name in lldpad | dcbd) ;; *) continue ;; esac
    [ "$(readlink "${{comm%comm}}ns/net")" != "$here" ] || echo "$name"
done 2>/dev/null
echo --pause; ethtool -a {dev} 2>/dev/null
echo --watchdog; ethtool --get-tunable {dev} {tunable} 2>/dev/null
echo --changes; cat /sys/class/net/{dev}/carrier_changes 2>/dev/null
true"""


class Driver:
    """A tool that shows and sets the DCB of an interface: dcb(8) of iproute2, and what the others do otherwise."""

    title = "dcb"

    def question(self, interface: str) -> Question:
        """What shows it."""
        return DcbState(interface)

    def seen(self, interface: str, said: Any) -> Dcb:
        """Make a state of the answer."""
        del interface
        assert isinstance(said, Dcb)
        return said

    def put(self, interface: str, wanted: Pfc | Ets, instead_of: Pfc | Ets) -> Action:
        """Set a part of it; what both have alike may be left."""
        del instead_of
        return SetDcb(interface, wanted)

    def watchdog(self, interface: str, said: Any, tunable: str) -> str:
        """Return the setting of the pause watchdog in words, `off` where it is off, nothing where there is none."""
        del interface, said
        found = re.search(rf"{_TUNABLE}:?\s+(\d+)", tunable)
        return "" if found is None else OFF if int(found[1]) == 0 else found[1]

    def put_watchdog(self, interface: str, setting: str) -> Action:
        """Give the pause watchdog this setting; an adapter has a time in ms after which it stops pausing."""
        dev, value = quote(interface), "0" if setting == OFF else setting
        shown = f"ethtool --get-tunable {dev} {_TUNABLE} | grep -Eq '{_TUNABLE}:?[[:space:]]+{value}$'"
        # it may say that there is nothing to change
        return Shell(f"ethtool --set-tunable {dev} {_TUNABLE} {value} || {shown}", until=shown)


@dataclass(frozen=True)
class Seen:
    """An interface's DCB, and what else matters to it. `agents` set it on the host; `pause` is what pauses altogether.

    `changes` counts how often the link came or went.
    """

    dcb: Dcb
    watchdog: str = ""
    pause: frozenset[str] = frozenset()
    carrier: bool = True
    link: Interface = field(default_factory=lambda: Interface("", exists=True), compare=False)
    agents: tuple[str, ...] = field(default=(), compare=False)
    changes: int = field(default=0, compare=False)


class DcbFault(Fault[Seen], ABC):
    """A fault that sets a part of an interface's DCB: all of it but which part."""

    shade: ClassVar[str] = "#7a6a9b"
    settle: ClassVar[float] = 20.0

    interface: InterfaceName = Field("", description="the interface; the inventory's `interface` by default")

    @property
    @abstractmethod
    def tool(self) -> Driver:
        """What shows and sets it."""

    @abstractmethod
    def part(self, dcb: Dcb) -> Pfc | Ets | None:
        """The part of the DCB that this is about, None where the interface has none."""

    @abstractmethod
    def wanted(self, before: Seen) -> Pfc | Ets:
        """That part as it is asked for; only where there is one."""

    @abstractmethod
    def misfit(self, before: Seen) -> str | None:
        """Why that can't be had of this interface, or None."""

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def clash(self, other: Fault[Any]) -> str | None:
        """Tell that two would set the same part."""
        if type(other) is not type(self) or getattr(other, "interface", None) != self.interface:
            return None
        return f"another {self.kind} sets the same of {self.interface or 'the interface'} at the same time"

    def reading(self) -> Reading[Seen]:
        """Ask for the DCB, the interface, who else sets it, and the controller's flows."""
        rest = _REST.format(dev=quote(self.interface), tunable=_TUNABLE)
        questions = (
            self.tool.question(self.interface), Output(_interface.reading(self.interface) + rest), ControlPath(),
        )  # fmt: skip
        return Reading(questions, self._seen)

    def _seen(self, said: Any, printed: str, control: tuple[Flow, ...]) -> Seen:
        about, _, rest = printed.partition("--agents\n")
        agents, _, rest = rest.partition("--pause\n")
        pause, _, rest = rest.partition("--watchdog\n")
        tunable, _, changes = rest.partition("--changes\n")
        link = _interface.parse(self.interface, about, control)
        return Seen(
            self.tool.seen(self.interface, said),
            self.tool.watchdog(self.interface, said, tunable),
            frozenset(name.lower() for name in re.findall(r"^([RT]X):\s+on$", pause, re.MULTILINE)),
            link.carrier,
            link,
            tuple(dict.fromkeys(agents.split())),
            int(changes or 0),
        )

    def objection(self, before: Seen) -> str | None:
        """Object to another owner, to the control path, and to what can't be set and put back."""
        name, tool, agents = self.interface, self.tool.title, " and ".join(before.agents)
        if not name:
            return "no interface: name one in the fault (`interface: eth1`) or in the inventory"
        if not before.link.exists:
            return f"there is no interface {name}; `ip link` on the host lists those there are"
        if before.link.carries_control:
            return (
                f"the controller reaches the host over {name}, and its driver may restart the link; "
                "name an interface that it does not need"
            )
        if before.agents:
            return (
                f"{agents} runs on the host and sets DCB itself; stop it for the experiment (systemctl stop {agents})"
            )
        if self.part(before.dcb) is None:
            return f"{name} has no {self.kind.upper()} to set, says {tool}: {before.dcb.why_not or 'nothing'}"
        if before.dcb.dcbx is not None and ("host" not in before.dcb.dcbx or "lld-managed" in before.dcb.dcbx):
            modes = " ".join(sorted(before.dcb.dcbx)) or "none"
            return (
                f"the adapter's own DCBX sets {name} (mode: {modes}); give it to the host first "
                f"(dcb dcbx set dev {name} host ieee, or mlnx_qos -i {name} -d os)"
            )
        return self.misfit(before)

    def apply(self, before: Seen) -> list[Action]:
        """Set it."""
        former = self.part(before.dcb)
        assert former is not None
        wanted = self.wanted(before)
        return [self.tool.put(self.interface, wanted, former)] if wanted != former else []

    def revert(self, before: Seen) -> list[Action]:
        """Set what it was."""
        former = self.part(before.dcb)
        assert former is not None
        wanted = self.wanted(before)
        return [self.tool.put(self.interface, former, wanted)] if wanted != former else []

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """It reads as asked."""
        return self.part(now.dcb) == self.wanted(before)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """That part reads as it did, and so does what some drivers change with it: buffers, the pause, the link."""
        same = self.part(now.dcb) == self.part(before.dcb) and now.dcb.buffer == before.dcb.buffer
        return same and (now.watchdog, now.pause, now.carrier) == (before.watchdog, before.pause, before.carrier)

    def asked(self) -> dict[str, float]:
        """All of it."""
        return {"set": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """It reads as asked at the end; beside it stand the pause frames, and how often the link went or came."""
        held = self.is_applied(before, now)
        why_not = "" if held else f"somebody else has set the {self.kind.upper()} of {self.interface}"
        counts = {"link_changes": float(now.changes - before.changes), **_frames(before.dcb.pfc, now.dcb.pfc)}
        return Dose({"set": float(held), **counts}, held, why_not)


def _frames(before: Pfc | None, now: Pfc | None) -> Mapping[str, float]:
    """Return the pause frames between two readings, of all priorities; nothing where they are not counted."""
    if before is None or now is None or not now.sent:
        return {}

    def more(later: Sequence[int], earlier: Sequence[int]) -> float:
        return float(sum(later) - sum(earlier))

    received = more(now.received, before.received)
    return {"pause_frames_sent": more(now.sent, before.sent), "pause_frames_received": received}


def needs(*tools: str) -> tuple[Need, ...]:
    """Return what a host must have: one of these tools, since which one stands in the experiment."""
    either = " || ".join(f"command -v {tool}" for tool in tools)
    others = (
        Need(tool, f"command -v {tool}", package) for tool, package in (("ip", "iproute2"), ("ethtool", "ethtool"))
    )
    return (Need(" or ".join(tools), either, "iproute2"), *others)

"""link_down: an interface set down, and up again with all it had (ip-link(8)); once, or flapping.

To the host the interface is off: nothing is sent or received, its routes are gone, its IPv6 addresses too. To whoever
is at the other end it is a link without carrier where the driver cuts it (most do), else silence.

What the kernel forgets with it is put back: IPv6 addresses in their order, static routes of every table, permanent
neighbours, the MTU that a router told; IPv4 addresses too, should somebody have taken them away meanwhile. Addresses
and routes that run out (router advertisements, DHCP) run as long as was left when the fault began; temporary addresses
(RFC 8981) are new ones, as after any link down. An interface keeps no mark of ours: with ledger and fuse lost, nobody
can know that it was up.

With `down_for` and `up_for` it flaps: a payload on the host sets it down and brings it back, with all it had, in turn.
Where the payload ends by itself, its keeper brings the interface back.

Refused: loopback, an interface that is down, the interface of the control path or one below it, one that others stand
on (a VLAN), and one with routes over several interfaces, which the kernel would change.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address
from shlex import quote
from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Action, ControlPath, Dose, Fault, HostView, Need, Output, Reading, Shell
from chaos.faults import _interface, _payload
from chaos.faults._interface import Address, Interface, Route
from chaos.kernel import Flow
from chaos.names import InterfaceName
from chaos.units import Duration


@dataclass(frozen=True)
class Seen:
    """The interface, and the payload that has it flap, where one is to."""

    interface: Interface
    payload: _payload.Seen = field(default_factory=_payload.Seen, compare=False)


class LinkDown(Fault[Seen]):
    """Set an interface down for a while, or have it flap."""

    kind: ClassVar[str] = "link_down"
    example: ClassVar[str] = "{kind: link_down, on: worker-1, for: 5s, interface: eth1}"
    release: ClassVar[str] = (
        "the link is negotiated and IPv6 addresses are checked anew (1 to 5 s); TCP backs off meanwhile"
    )
    shade: ClassVar[str] = "#8a3b3b"
    needs: ClassVar[tuple[Need, ...]] = (Need("ip", "command -v ip", "iproute2"),)
    settle: ClassVar[float] = 20.0

    interface: InterfaceName = Field("", description="the interface; the inventory's `interface` by default")
    down_for: Duration | None = Field(None, description="how long it is down at a time, where it flaps", ge=0.1, le=600)
    up_for: Duration | None = Field(None, description="how long it is up in between", ge=0.1, le=600)

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.down_for is None) != (self.up_for is None):
            raise ValueError("give both `down_for` and `up_for`, or neither")
        return self

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def reading(self) -> Reading[Seen]:
        """Ask for the interface with all that it would lose, for the payload, and for the controller's flows."""
        script = _interface.reading(self.interface)
        if self.flaps:
            script = f"{self._flapping().look().script}\necho --interface\n{script}"
        return Reading((Output(script), ControlPath()), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object to what would cut us off, and to what could not be put back exactly."""
        left = before.payload.objection(self._flapping()) if self.flaps else None
        return left or self._objection_to(before.interface)

    def _objection_to(self, before: Interface) -> str | None:
        name = self.interface
        if not name:
            return "no interface: name one in the fault (`interface: eth1`) or in the inventory"
        for why, objects in {
            f"there is no interface {name}; `ip link` on the host lists those there are": not before.exists,
            f"{name} is the loopback interface, which much of a host needs": before.loopback,
            f"{name} is down already": not before.up,
            f"the controller reaches the host over {name}; name an interface it does not need": before.carries_control,
            f"{', '.join(before.above)} stands on {name} and would lose its addresses; name that": bool(before.above),
            f"{name} is part of routes over several interfaces, or of nexthop objects": before.shared,
            f"{name} has more than {_interface.MOST} routes": len(before.routes) >= _interface.MOST,
            f"the kernel still checks an address of {name} (tentative); try again": before.tentative,
        }.items():
            if objects:
                return why
        return None

    def apply(self, before: Seen) -> list[Action]:
        """Set it down."""
        return [self._flapping(before.interface).start() if self.flaps else Shell(self._down)]

    def revert(self, before: Seen) -> list[Action]:
        """Set it up, and put back what is missing."""
        back = Shell(_interface.back(before.interface), until=_interface.is_back(before.interface))
        return [self._flapping().stop(), back] if self.flaps else [back]

    def typical(self) -> Seen:
        """An interface with two addresses and a route, at documentation addresses (RFC 5737, RFC 3849)."""
        addresses = (
            Address("inet", f"192.0.2.7/24 brd 192.0.2.255 scope global label {self.interface}"),
            Address("inet6", f"{ip_address('2001:db8::7')}/64 scope global"),
        )
        interface = Interface(
            self.interface, exists=True, up=True, carrier=True, mtu=1500, mtu6=1500, addresses=frozenset(addresses),
            routes=frozenset({Route("-4", "198.51.100.0/24 via 192.0.2.1")}), listed=addresses,
        )  # fmt: skip
        return Seen(interface)

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """It is down, or the payload is at work."""
        del before
        return now.payload.at_work if self.flaps else now.interface.exists and not now.interface.up

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """It is up, with the addresses, routes and neighbours that it had, and its carrier."""
        return before == now and now.payload.gone

    def asked(self) -> dict[str, float]:
        """Down."""
        return {"down_for_s": self.down_for or 0.0, "up_for_s": self.up_for or 0.0} if self.flaps else {"down": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """It is still down at the end of the fault, or was down so many times."""
        on = self.is_applied(before, now)
        if self.flaps:
            why = now.payload.ended or "it is gone"
            return Dose(now.payload.report, on, "" if on else f"its payload was not at work at the end: {why}")
        return Dose({"down": float(on)}, on, "" if on else f"somebody has set {self.interface} up")

    @property
    def flaps(self) -> bool:
        """Whether it goes down and up in turn."""
        return self.down_for is not None

    @property
    def _down(self) -> str:
        return f"ip link set dev {quote(self.interface)} down"

    def _flapping(self, before: Interface | None = None) -> _payload.Payload:
        """Return who has it flap; without the interface as it was, it can be found and ended, and not started."""
        back = _interface.back(before) if before else "false"
        program = _FLAP.format(down=self._down, back=back)
        times = (f"{self.down_for:g}", f"{self.up_for:g}") if self.flaps else ()
        return _payload.Payload(
            "link_down", program, (self.interface, *times), command=("sh", "./program"), afterwards=back
        )

    def _parse(self, printed: str, control: tuple[Flow, ...]) -> Seen:
        payload, _, interface = printed.rpartition("--interface\n")
        return Seen(_interface.parse(self.interface, interface, control), _payload.parse(payload))


# the interface's name, how long it is down and how long it is up are the arguments; it ends with its parent
_FLAP = """\
back() {{
{back}
}}
flaps=0
while [ -d "/proc/$PPID" ]; do
    {down}
    flaps=$((flaps + 1))
    echo "flaps=$flaps"
    sleep "$2" || sleep 1
    back
    sleep "$3" || sleep 1
done
"""

"""link_down: an interface set down, and up again with all it had (ip-link(8)).

To the host the interface is off: nothing is sent or received, its routes are gone, its IPv6 addresses too. To whoever
is at the other end it is a link without carrier where the driver cuts it (most do), else silence.

What the kernel forgets with it is put back: IPv6 addresses in their order, static routes of every table, permanent
neighbours, the MTU that a router told; IPv4 addresses too, should somebody have taken them away meanwhile. Addresses
and routes that run out (router advertisements, DHCP) run as long as was left when the fault began; temporary addresses
(RFC 8981) are new ones, as after any link down. An interface keeps no mark of ours: with ledger and fuse lost, nobody
can know that it was up.

Refused: loopback, an interface that is down, the interface of the control path or one below it, one that others stand
on (a VLAN), and one with routes over several interfaces, which the kernel would change.
"""

from __future__ import annotations

from ipaddress import ip_address
from shlex import quote
from typing import ClassVar, Self

from pydantic import Field

from chaos.contracts import Action, ControlPath, Dose, Fault, HostView, Need, Output, Reading, Shell
from chaos.faults import _interface
from chaos.faults._interface import Address, Interface, Route
from chaos.names import InterfaceName


class LinkDown(Fault[Interface]):
    """Set an interface down, for a while."""

    kind: ClassVar[str] = "link_down"
    example: ClassVar[str] = "{kind: link_down, on: worker-1, for: 5s, interface: eth1}"
    release: ClassVar[str] = (
        "the link is negotiated and IPv6 addresses are checked anew (1 to 5 s); TCP backs off meanwhile"
    )
    shade: ClassVar[str] = "#8a3b3b"
    needs: ClassVar[tuple[Need, ...]] = (Need("ip", "command -v ip", "iproute2"),)
    settle: ClassVar[float] = 20.0

    interface: InterfaceName = Field("", description="the interface; the inventory's `interface` by default")

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def reading(self) -> Reading[Interface]:
        """Ask for the interface with all that it would lose, and for the controller's flows."""
        return Reading(
            (Output(_interface.reading(self.interface)), ControlPath()),
            lambda printed, control: _interface.parse(self.interface, printed, control),
        )

    def objection(self, before: Interface) -> str | None:
        """Object to what would cut us off, and to what could not be put back exactly."""
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

    def apply(self, before: Interface) -> list[Action]:
        """Set it down."""
        del before
        return [Shell(f"ip link set dev {quote(self.interface)} down")]

    def revert(self, before: Interface) -> list[Action]:
        """Set it up, and put back what is missing."""
        return [Shell(_interface.back(before), until=_interface.is_back(before))]

    def typical(self) -> Interface:
        """An interface with two addresses and a route, at documentation addresses (RFC 5737, RFC 3849)."""
        addresses = (
            Address("inet", f"192.0.2.7/24 brd 192.0.2.255 scope global label {self.interface}"),
            Address("inet6", f"{ip_address('2001:db8::7')}/64 scope global"),
        )
        return Interface(
            self.interface, exists=True, up=True, carrier=True, mtu=1500, mtu6=1500, addresses=frozenset(addresses),
            routes=frozenset({Route("-4", "198.51.100.0/24 via 192.0.2.1")}), listed=addresses,
        )  # fmt: skip

    def is_applied(self, before: Interface, now: Interface) -> bool:
        """It is down."""
        del before
        return now.exists and not now.up

    def is_reverted(self, before: Interface, now: Interface) -> bool:
        """It is up, with the addresses, routes and neighbours that it had, and its carrier."""
        return before == now

    def asked(self) -> dict[str, float]:
        """Down."""
        return {"down": 1.0}

    def dose(self, before: Interface, now: Interface) -> Dose:
        """It is still down at the end of the fault."""
        down = self.is_applied(before, now)
        return Dose({"down": float(down)}, down, "" if down else f"somebody has set {self.interface} up")

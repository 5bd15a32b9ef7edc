"""mtu: an interface's MTU lowered or raised, and put back (ip-link(8)).

Lowered, the host sends smaller packets, and whether it takes larger ones that its peers still send is the driver's
choice: some do, most drop them. Raised, it may send what a switch on the way drops. New TCP connections agree on
segments that fit; those there are learn it by what is lost. A path that loses large packets without a word is another
kind, mtu_black_hole.

Refused: less than 1280 bytes where the kernel has IPv6 on the interface, used or not, since it would end it there, and
begin it anew with default settings (RFC 8200, section 5); what the driver does not take; an interface that others stand
on (a VLAN), for their MTU would shrink with it and stay so; an IPv6 route with a greater MTU of its own, which the
kernel would lower for good. An interface keeps no mark of ours: with ledger and fuse lost, nobody can know what it was.
"""

from __future__ import annotations

import re
from shlex import quote
from typing import ClassVar, Self

from pydantic import Field

from chaos.contracts import Action, ControlPath, Dose, Fault, HostView, Need, Output, Reading, Shell
from chaos.faults import _interface
from chaos.faults._interface import Interface
from chaos.names import InterfaceName

_LEAST_IPV6 = 1280


class Mtu(Fault[Interface]):
    """Lower or raise an interface's MTU, for a while."""

    kind: ClassVar[str] = "mtu"
    example: ClassVar[str] = "{kind: mtu, on: {group: workers, pick: 1}, for: 20s, mtu: 1400}"
    release: ClassVar[str] = (
        "connections keep their small segments until they learn of larger ones; some drivers restart the link"
    )
    shade: ClassVar[str] = "#6c8ebf"
    needs: ClassVar[tuple[Need, ...]] = (Need("ip", "command -v ip", "iproute2"),)
    settle: ClassVar[float] = 20.0

    interface: InterfaceName = Field("", description="the interface; the inventory's `interface` by default")
    mtu: int = Field(description="bytes of the largest packet, with its IP header", ge=576, le=65535)

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def reading(self) -> Reading[Interface]:
        """Ask for the interface with all that a change may touch."""
        return Reading(
            (Output(_interface.reading(self.interface)), ControlPath()),
            lambda printed, control: _interface.parse(self.interface, printed, control),
        )

    def objection(self, before: Interface) -> str | None:
        """Object to what could not be put back exactly, and to what the kernel would refuse."""
        name, (least, most) = self.interface, before.limits
        if not name:
            return "no interface: name one in the fault (`interface: eth1`) or in the inventory"
        routes = sorted(route.words for route in before.routes if self._would_lower(route.words))
        for why, objects in {
            f"there is no interface {name}; `ip link` on the host lists those there are": not before.exists,
            f"{name} is the loopback interface, which much of a host needs": before.loopback,
            f"the MTU of {name} is {self.mtu} already": before.mtu == self.mtu,
            f"{name} takes an MTU of {least} to {most} bytes": not least <= self.mtu <= most,
            f"IPv6 on {name} would end below {_LEAST_IPV6} bytes, with its addresses": self.mtu < _LEAST_IPV6
            and before.mtu6 > 0,
            f"{', '.join(before.above)} stands on {name} and would shrink for good": bool(before.above),
            f"an IPv6 route has an MTU of its own, which would be lowered for good: {'; '.join(routes)}": bool(routes),
        }.items():
            if objects:
                return why
        return None

    def apply(self, before: Interface) -> list[Action]:
        """Set it."""
        del before
        return [Shell(f"ip link set dev {quote(self.interface)} mtu {self.mtu}")]

    def revert(self, before: Interface) -> list[Action]:
        """Set what it was, and what IPv6 took for it."""
        dev = quote(before.name)
        fixed = _interface.mtu6(before)
        do = [f"ip link set dev {dev} mtu {before.mtu}", *(f"{has} || {fix}" for has, fix in fixed)]
        shown = f"case $(ip -o link show dev {dev}) in *' mtu {before.mtu} '*) true ;; *) false ;; esac"
        return [Shell("\n".join(do), until=" &&\n".join([shown, *(has for has, _ in fixed)]))]

    def typical(self) -> Interface:
        """An Ethernet interface."""
        return Interface(self.interface, exists=True, up=True, carrier=True, mtu=1500, mtu6=1500)

    def is_applied(self, before: Interface, now: Interface) -> bool:
        """The kernel has it."""
        del before
        return now.mtu == self.mtu

    def is_reverted(self, before: Interface, now: Interface) -> bool:
        """The interface is as it was."""
        return before == now

    def asked(self) -> dict[str, float]:
        """The MTU."""
        return {"mtu_bytes": float(self.mtu)}

    def dose(self, before: Interface, now: Interface) -> Dose:
        """Report the MTU that the kernel has at the end of the fault."""
        held = self.is_applied(before, now)
        return Dose({"mtu_bytes": float(now.mtu)}, held, "" if held else f"the MTU of {self.interface} is {now.mtu}")

    def _would_lower(self, words: str) -> bool:
        found = re.search(r" mtu (\d+)", words)
        return found is not None and " pref " in words and int(found[1]) > self.mtu

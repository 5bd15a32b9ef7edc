"""mtu_black_hole: packets above a size vanish, and nobody is told: a path whose ICMP is filtered (RFC 2923).

The table, and who is spared by it, is that of `chaos.faults._table`. A filter that drops sends no ICMP (fragmentation
needed, packet too big), so no sender learns to send less. What routers further away say is let through: the
controller's connection may need it.

A packet has the length at which the kernel holds it: where an interface puts segments together (GRO) or has them cut by
the hardware (GSO, TSO), a row of segments of one flow is one packet. So a flow that has learned to send less (TCP's MTU
probing) gets through only as far as its segments stand alone; `ethtool -K eth0 gro off gso off tso off` has them all
do so. What is lost on its way out is told to who sends a datagram (EPERM); TCP falls silent all the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from chaos.contracts import Dose
from chaos.faults import _table
from chaos.faults._table import Chains, Seen
from chaos.kernel import Flow


class MtuBlackHole(_table.Crossing):
    """Lose packets above a size, without a word to their sender."""

    kind: ClassVar[str] = "mtu_black_hole"
    example: ClassVar[str] = "{kind: mtu_black_hole, on: {group: workers, pick: 1}, for: 20s, size: 1400}"
    release: ClassVar[str] = "TCP backs off while nothing is answered, so a flow resumes up to its timeout afterwards"
    shade: ClassVar[str] = "#3f5f8f"

    size: int = Field(description="bytes of the largest packet that passes, with its IP header", ge=576, le=65535)

    def asked(self) -> dict[str, float]:
        """The size."""
        return {"size_bytes": float(self.size)}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report how many packets were too large: where none was, nothing was lost."""
        if not self.is_applied(before, now):
            return Dose({}, False, self.not_held)
        lost = sum(rule.packets for rule in now.rules if rule.verdict == "drop")
        why = "" if lost else f"no packet was larger than {self.size} bytes, so none was lost"
        return Dose({"size_bytes": float(self.size), "packets": float(lost)}, lost > 0, why)

    def chains(self, control: tuple[Flow, ...]) -> Chains:
        """Return the rules of each chain."""
        return self.crossing(
            control, lambda way: [replace(rule, longer_than=self.size) for rule in self.matching("drop", way)]
        )

"""partition: packets between a host and its peers are dropped or rejected by an nftables table of our own (nft(8)).

The table, and who is spared by it, is that of `chaos.faults._table`.

What a program on the host sees of `drop`: a TCP connection falls silent; sending a datagram to a peer fails at once
with EPERM, as with any local filter, where a cut further away would say nothing. What `reject` adds: whoever opens a
TCP connection or sends to the host meets "connection refused" (ICMP port unreachable; over IPv6 a connection may see
it only at its first retransmission); an established connection falls silent all the same.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from chaos.contracts import Dose
from chaos.faults import _table
from chaos.faults._nft import Rule
from chaos.faults._table import Chains, Seen
from chaos.kernel import Flow


class Partition(_table.Crossing):
    """Cut a host off from its peers, or from everybody."""

    kind: ClassVar[str] = "partition"
    example: ClassVar[str] = "{kind: partition, on: {group: workers, pick: 1}, for: 10s, peers: [gateway]}"
    release: ClassVar[str] = (
        "TCP backs off while nothing is answered, so a flow resumes up to its retransmission timeout after the cut"
    )
    shade: ClassVar[str] = "#b5544d"

    action: Literal["drop", "reject"] = Field("drop", description="say nothing, or answer with ICMP port unreachable")

    def asked(self) -> dict[str, float]:
        """All of the packets."""
        return {"cut": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report how many packets were cut: a partition that met none did nothing."""
        if not self.is_applied(before, now):
            return Dose({}, False, self.not_held)
        cut = sum(rule.packets for rule in now.rules if rule.verdict == self.action)
        return Dose({"packets": float(cut)}, cut > 0, "" if cut else "no packet was cut, so it affected nothing")

    def chains(self, control: tuple[Flow, ...]) -> Chains:
        """Return the rules of each chain."""
        chains = self.crossing(control, lambda way: self.matching(self.action, way))
        if self.action == "reject" and self.direction == "both":
            errors = [("icmp", "destination-unreachable"), ("icmpv6", "destination-unreachable")]
            chains["egress"] = (*(Rule("accept", types=types) for types in errors), *chains["egress"])
        return chains

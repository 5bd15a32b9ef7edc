"""conntrack_full: no new flow finds room in the connection table ("nf_conntrack: table full, dropping packet").

What a full table does: a packet that would begin a flow is dropped, whichever way it goes, loopback included; flows
that are tracked go on; what is not tracked (`notrack`, neighbour discovery) passes. So does an nftables table of our
own, behind conntrack and before every other filter of its hooks: it drops what is `ct state new`, and nothing is added
to the connection table. The table, and who is spared by it, is that of `chaos.faults._table`.

Why not nf_conntrack_max itself: it is one value for every network namespace of a kernel, and with a table that is truly
full no second connection of the controller gets in, nor one that an undo by hand would need. What differs from a table
that is truly full: the kernel would make room by ending flows that were never answered (early_drop), it logs, and
nf_conntrack_count stands at its limit; so a test of that alarm needs the real thing.
"""

from __future__ import annotations

from typing import ClassVar

from chaos.contracts import Dose
from chaos.faults import _table
from chaos.faults._nft import Rule
from chaos.faults._table import Chains, Seen
from chaos.kernel import Flow

_NEW = Rule("drop", state="new")


class ConntrackFull(_table.Table):
    """Let no new flow into the connection table."""

    kind: ClassVar[str] = "conntrack_full"
    example: ClassVar[str] = "{kind: conntrack_full, on: {group: workers, pick: 1}, for: 20s}"
    release: ClassVar[str] = "connections that were tried meanwhile are there at TCP's next try, 1 to 60 s later"
    shade: ClassVar[str] = "#9c6b3f"
    beside: ClassVar[str] = "cat /proc/sys/net/netfilter/nf_conntrack_count 2>/dev/null"

    def objection(self, before: Seen) -> str | None:
        """Object to a table of ours that is there already, and to a host that tracks nothing: its table is empty."""
        if before.beside.strip() in ("", "0"):
            return "the host tracks no connections (nf_conntrack_count is 0), so its table can't be full"
        return super().objection(before)

    def typical(self) -> Seen:
        """A host that tracks one connection."""
        return Seen(None, (), super().typical().control, "1")

    def asked(self) -> dict[str, float]:
        """All new flows."""
        return {"refused": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report how many packets that began a flow were dropped: where none came, nothing was refused."""
        if not self.is_applied(before, now):
            return Dose({}, False, self.not_held)
        dropped = sum(rule.packets for rule in now.rules if rule == _NEW)
        return Dose({"packets": float(dropped)}, dropped > 0, "" if dropped else "no flow began, so none was refused")

    def chains(self, control: tuple[Flow, ...]) -> Chains:
        """Return the rules of each chain."""
        ways = {f"tracked_{way}": (*_table.spared(way, control, loopback=False), _NEW) for way in ("egress", "ingress")}
        return {**ways, "tracked_forward": (_NEW,)}

"""dns: what a host asks of its name servers is not answered, or refused, by an nftables table of our own (nft(8)).

The table, and who is spared by it, is that of `chaos.faults._table`; but a local name server (127.0.0.53 of
systemd-resolved, dnsmasq) is asked over loopback, so loopback is not spared. TCP and UDP are met alike. A name server
that runs on the host still answers others, while what it has to ask itself is met too.

`drop` loses the answers as they arrive, which is silence: a question that is lost on its way out would be told to who
sends it. glibc gives up after 5 s for each server, twice (resolv.conf(5)). `reject` refuses the questions, which is an
error at once. What a cache on the host knows already it goes on telling whoever does not ask it by port 53
(systemd-resolved by D-Bus); a name server that is asked over TLS or HTTPS is another port.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from chaos.contracts import Dose
from chaos.faults import _table
from chaos.faults._nft import Rule
from chaos.faults._peers import Port
from chaos.faults._table import Chains, Seen
from chaos.kernel import Flow


class Dns(_table.Table):
    """Leave what a host asks of name servers without an answer."""

    kind: ClassVar[str] = "dns"
    example: ClassVar[str] = "{kind: dns, on: worker-1, for: 20s}"
    release: ClassVar[str] = "a lookup that waits is answered at its resolver's next try, up to 5 s later"
    shade: ClassVar[str] = "#4d8f8b"

    action: Literal["drop", "reject"] = Field("drop", description="lose the answers, or refuse the questions")
    ports: tuple[Port, ...] = Field((53,), description="where name servers listen; 853 is DNS over TLS", min_length=1)
    forwarded: bool = Field(False, description="also what the host forwards (for containers behind it)")

    def asked(self) -> dict[str, float]:
        """All of the questions."""
        return {"failed": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report how many questions, or answers, were met: where nothing was asked, nothing failed."""
        if not self.is_applied(before, now):
            return Dose({}, False, self.not_held)
        met = sum(rule.packets for rule in now.rules if rule.verdict == self.action)
        return Dose({"packets": float(met)}, met > 0, "" if met else "no name server was asked, so nothing failed")

    def chains(self, control: tuple[Flow, ...]) -> Chains:
        """Return the rules of each chain."""
        way, end = ("ingress", "sport") if self.action == "drop" else ("egress", "dport")
        met = Rule(self.action, protocols=("tcp", "udp"), port=end, ports=tuple(sorted(set(self.ports))))
        chains: Chains = {way: (*_table.spared(way, control, loopback=False), met)}
        return chains | ({"forward": (met,)} if self.forwarded else {})

"""partition: packets between a host and its peers are dropped or rejected by an nftables table of our own (nft(8)).

One table of family inet, which sees IPv4 and IPv6, in chains that come before every filter (priority -350: after the
kernel has put fragments together again, before `raw`). A packet that such a chain accepts goes on to the chains of
others; a packet that it drops is gone. So no other table, and nothing of iptables, is read, changed or flushed.

Accepted first of all: the controller's own flow, both ways; neighbour discovery, which is to IPv6 what ARP is to IPv4
and which that flow needs; and the loopback interface, unless a peer is a loopback address.

What a program on the host sees of `drop`: a TCP connection falls silent; sending a datagram to a peer fails at once
with EPERM, as with any local filter, where a cut further away would say nothing. What `reject` adds: whoever opens a
TCP connection or sends to the host meets "connection refused" (ICMP port unreachable; over IPv6 a connection may see
it only at its first retransmission); an established connection falls silent all the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints

from chaos.contracts import Action, ControlPath, Dose, Fault, HostView, Need, Output, Reading, Shell
from chaos.errors import Misfit
from chaos.faults import _nft
from chaos.faults._nft import Network, Rule
from chaos.kernel import Flow
from chaos.names import InterfaceName

Chains = dict[str, tuple[Rule, ...]]

_MARK = "gameday_"
_HOOKS = {"egress": "output", "ingress": "input", "forward": "forward"}
_ND = ("icmpv6", "nd-neighbor-advert", "nd-neighbor-solicit", "nd-router-advert", "nd-router-solicit")
_WAYS = {"egress": ("oifname", "daddr"), "ingress": ("iifname", "saddr")}


def _network(value: str) -> Network | None:
    """Return an address or a network; None for what must then be a name."""
    try:
        return ip_network(value)
    except ValueError:
        return None


def _peer(value: str) -> str:
    network = _network(value)
    if network is not None:
        return _nft.show(network)
    if "/" in value or ":" in value:
        raise ValueError(f"{value!r} is no address, no network (10.0.0.0/24) and no name of a host or a group")
    return value


Peer = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True), AfterValidator(_peer)]


@dataclass(frozen=True)
class Seen:
    """The chains of our table (None where there is none), other tables with our mark, the controller's flows."""

    chains: Chains | None
    others: tuple[str, ...]
    control: tuple[Flow, ...]


class Partition(Fault[Seen]):
    """Cut a host off from its peers, or from everybody."""

    kind: ClassVar[str] = "partition"
    release: ClassVar[str] = (
        "TCP backs off while nothing is answered, so a flow resumes up to its retransmission timeout after the cut"
    )
    shade: ClassVar[str] = "#b5544d"
    needs: ClassVar[tuple[Need, ...]] = (Need("nft", "command -v nft", "nftables"),)

    peers: tuple[Peer, ...] = Field(
        (), description="addresses, networks, and names of hosts and groups of the inventory; everybody by default"
    )
    ports: tuple[Annotated[int, Field(ge=1, le=65535)], ...] = Field(
        (), description="only TCP and UDP packets with one of these ports at either end; all packets by default"
    )
    direction: Literal["both", "egress", "ingress"] = Field("both", description="which packets, as the host sees them")
    action: Literal["drop", "reject"] = Field("drop", description="say nothing, or answer with ICMP port unreachable")
    interface: InterfaceName = Field("", description="only packets of this interface; of any by default")
    forwarded: bool = Field(False, description="also what the host forwards (for containers behind it)")

    def bind(self, host: HostView) -> Self:
        """Put the addresses that the inventory knows in the place of names. Raises Misfit."""
        if not self.peers:
            return self
        found: list[str] = []
        for index, peer in enumerate(self.peers):
            found += [peer] if _network(peer) else self._known(host, peer, index)
        if not found:
            raise Misfit(("peers",), f"names nobody but {host.name} itself; no peers at all would mean everybody")
        return self.model_copy(update={"peers": tuple(dict.fromkeys(found))})

    def _known(self, host: HostView, peer: str, index: int) -> list[str]:
        if peer not in host.peers:
            there = ", ".join(host.peers)
            raise Misfit(("peers", index), f"{peer!r} is no address and no host or group of the inventory ({there})")
        for name, addresses in host.peers[peer].items():
            if not addresses and name != host.name:
                text = f"the inventory has no numeric address of {name} off loopback; give it `addresses: [...]`"
                raise Misfit(("peers", index), text)
        return [a for name, addresses in host.peers[peer].items() if name != host.name for a in addresses]

    def reading(self) -> Reading[Seen]:
        """Ask for the tables and for our own, with its counters; an nft that fails is no answer."""
        return Reading((Output(_READ.format(table=self.table)), ControlPath()), self._parse)

    def objection(self, before: Seen) -> str | None:
        """Object to a table of ours that is there already, and to names that were never bound."""
        left = [*([self.table] if before.chains is not None else []), *before.others]
        if left:
            return f"a table of ours is there already ({', '.join(left)}); `gameday heal` takes it away"
        names = [peer for peer in self.peers if _network(peer) is None]
        return f"no address is known of {', '.join(names)}" if names else None

    def apply(self, before: Seen) -> list[Action]:
        """Make the table whole in one transaction; one that was there is replaced in the same."""
        lines = [f"table inet {self.table}", f"delete table inet {self.table}", f"table inet {self.table} {{"]
        for chain, rules in self.chains(before.control).items():
            lines.append(f"\tchain {chain} {{")
            lines.append(f"\t\ttype filter hook {_HOOKS[chain]} priority -350; policy accept;")
            lines += [f"\t\t{rule.text}" for rule in rules]
            lines.append("\t}")
        return [Shell(_transaction([*lines, "}"]))]

    def revert(self, before: Seen) -> list[Action]:
        """Delete the table; declared first in the same transaction, so that one which is gone is no error."""
        del before
        gone = _transaction([f"table inet {self.table}", f"delete table inet {self.table}"])
        return [Shell(gone, until=_GONE.format(table=self.table))]

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Compare the kernel's rules with ours, one by one."""
        return now.chains == self.chains(before.control)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """The table is gone."""
        del before
        return now.chains is None

    def typical(self) -> Seen:
        """No table, and a controller at a documentation address (RFC 5737)."""
        return Seen(None, (), (Flow(ip_network("192.0.2.1").network_address, 22),))

    def asked(self) -> dict[str, float]:
        """All of the packets."""
        return {"cut": 1.0}

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report how many packets were cut: a partition that met none did nothing."""
        if not self.is_applied(before, now):
            return Dose({}, False, f"table inet {self.table} did not hold our rules at the end of the fault")
        rules = [rule for chain in (now.chains or {}).values() for rule in chain]
        cut = sum(rule.packets for rule in rules if rule.verdict == self.action)
        return Dose({"packets": float(cut)}, cut > 0, "" if cut else "no packet was cut, so it affected nothing")

    @property
    def table(self) -> str:
        """The table's name: of the parameters, so that two partitions of one host are two tables."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True)
        return f"{_MARK}{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def chains(self, control: tuple[Flow, ...]) -> Chains:
        """Return the rules of each chain."""
        ways = ["egress", "ingress"] if self.direction == "both" else [self.direction]
        chains = {way: (*self._spared(way, control), *self._cut(way)) for way in ways}
        if self.forwarded:
            chains["forward"] = tuple(rule for way in ways for rule in self._cut(way))
        if self.action == "reject" and self.direction == "both":
            errors = [("icmp", "destination-unreachable"), ("icmpv6", "destination-unreachable")]
            chains["egress"] = (*(Rule("accept", types=types) for types in errors), *chains["egress"])
        return chains

    def _spared(self, way: str, control: tuple[Flow, ...]) -> list[Rule]:
        keyword, address = _WAYS[way]
        port = "sport" if way == "egress" else "dport"
        spared = [
            Rule(
                "accept",
                address=address,
                networks=(ip_network(f.peer),),
                protocols=("tcp",),
                port=port,
                ports=(f.port,),
            )
            for f in dict.fromkeys(control)
        ]
        spared.append(Rule("accept", types=_ND))
        if not any(network.is_loopback for network in self._networks()):
            spared.append(Rule("accept", interface=(keyword, "lo")))
        return spared

    def _cut(self, way: str) -> list[Rule]:
        keyword, address = _WAYS[way]
        common: dict[str, Any] = {"interface": (keyword, self.interface)} if self.interface else {}
        families = [_nft.shortest(n for n in self._networks() if n.version == version) for version in (4, 6)]
        whom: list[dict[str, Any]] = [{"address": address, "networks": family} for family in families if family]
        ports = tuple(sorted(set(self.ports)))
        ends: list[dict[str, Any]] = [
            {"protocols": ("tcp", "udp"), "port": port, "ports": ports} for port in ("sport", "dport") if ports
        ]
        return [Rule(self.action, **common, **peer, **end) for peer in whom or [{}] for end in ends or [{}]]

    def _networks(self) -> list[Network]:
        return [network for network in map(_network, self.peers) if network is not None]

    def _parse(self, printed: str, control: tuple[Flow, ...]) -> Seen:
        listed, _, objects = printed.partition("--table\n")
        tables = [line.split()[2] for line in listed.splitlines() if line.startswith(f"table inet {_MARK}")]
        others = tuple(name for name in tables if name != self.table)
        if self.table not in tables:
            return Seen(None, others, control)
        chains: dict[str, list[Rule]] = {}
        for item in json.loads(objects)["nftables"]:
            if "chain" in item:
                chain = item["chain"]
                ours = (chain.get("hook"), chain.get("prio")) == (_HOOKS.get(chain["name"]), -350)
                chains[chain["name"]] = [] if ours else [Rule("", other=str(chain))]
            elif "rule" in item:
                chains[item["rule"]["chain"]].append(_nft.parse(item["rule"]))
        return Seen({name: tuple(rules) for name, rules in chains.items()}, others, control)


# a fuse may take the table away between the two looks: one that can't be shown must be there no longer
_READ = """tables=$(nft list tables inet) objects= || exit 1
case "$tables" in
    *'table inet {table}'*) objects=$(nft -j list table inet {table}) || {{
        tables=$(nft list tables inet) || exit 1
        case "$tables" in *'table inet {table}'*) exit 1 ;; esac
    }} ;;
esac
printf '%s\\n' "$tables" --table "$objects"
"""

_GONE = """tables=$(nft list tables inet) && case "$tables" in *'table inet {table}'*) false ;; esac"""


def _transaction(lines: list[str]) -> str:
    return "\n".join(["nft -f - <<'RULES'", *lines, "RULES"])

"""What the kinds that are one nftables table of our own share: its chains, who is spared, how it is read and goes.

One table of family inet, which sees IPv4 and IPv6, in chains that come before every filter (priority -350: after the
kernel has put fragments together again, before `raw`). A packet that such a chain accepts goes on to the chains of
others; a packet that it drops is gone. So no other table, and nothing of iptables, is read, changed or flushed.

Accepted first of all: the controller's own flow, both ways; neighbour discovery, which is to IPv6 what ARP is to IPv4
and which that flow needs; and the loopback interface, unless a peer is a loopback address.

The table's name bears our mark and is made of the fault's parameters, so that two faults of one host are two tables.
"""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from ipaddress import ip_network
from typing import Any, ClassVar, Self

from pydantic import Field

from chaos.contracts import Action, ControlPath, Fault, HostView, Need, Output, Reading, Shell
from chaos.faults import _nft, _peers, _rdma
from chaos.faults._nft import Rule
from chaos.faults._peers import Direction, Peer, Port, Transport
from chaos.kernel import RDMA, Flow
from chaos.names import InterfaceName

Chains = dict[str, tuple[Rule, ...]]

MARK = "gameday_"
NFT = Need("nft", "command -v nft", "nftables")
GONE = """tables=$(nft list tables inet) && case "$tables" in *'table inet {table}'*) false ;; esac"""

_PRIORITY = -350
_REDIRECT = -110  # before the redirections of others, which stand at -100
_TRACKED = -150  # after conntrack, which stands at -200
# a chain of another name is reached by `goto` alone, and has no hook
_HOOKS: dict[str, tuple[str | None, str | None, int | None]] = {
    "egress": ("filter", "output", _PRIORITY),
    "ingress": ("filter", "input", _PRIORITY),
    "forward": ("filter", "forward", _PRIORITY),
    "rewrite": ("route", "output", _PRIORITY),
    "back": ("filter", "input", _PRIORITY),
    "redirect_egress": ("nat", "output", _REDIRECT),
    "redirect_ingress": ("nat", "prerouting", _REDIRECT),
    "tracked_egress": ("filter", "output", _TRACKED),
    "tracked_ingress": ("filter", "input", _TRACKED),
    "tracked_forward": ("filter", "forward", _TRACKED),
}
_NO_HOOK = (None, None, None)
_ND = ("icmpv6", "nd-neighbor-advert", "nd-neighbor-solicit", "nd-router-advert", "nd-router-solicit")
_WAYS = {"egress": ("oifname", "daddr"), "ingress": ("iifname", "saddr")}


@dataclass(frozen=True)
class Seen:
    """The chains of our table (None where there is none), other tables with our mark, the controller's flows."""

    chains: Chains | None
    others: tuple[str, ...]
    control: tuple[Flow, ...]
    beside: str = field(default="", compare=False)
    """What a kind asked for beside the tables."""

    @property
    def rules(self) -> list[Rule]:
        """Every rule of our table."""
        return [rule for chain in (self.chains or {}).values() for rule in chain]

    def objection(self, table: str) -> str | None:
        """Object to a table of ours that is there already."""
        left = [*([table] if self.chains is not None else []), *self.others]
        return f"a table of ours is there already ({', '.join(left)}); `gameday heal` takes it away" if left else None


class Table(Fault[Seen]):
    """A fault that is one table: all of it but the rules, and what they come to."""

    needs: ClassVar[tuple[Need, ...]] = (NFT,)
    beside: ClassVar[str] = ""
    """Sh that prints what else is to be known of the host, for `Seen.beside`."""

    @abstractmethod
    def chains(self, control: tuple[Flow, ...]) -> Chains:
        """Return the rules of each chain; `control` are the flows to spare."""

    def reading(self) -> Reading[Seen]:
        """Ask for the tables and for our own, with its counters; an nft that fails is no answer."""
        script = f"{self.beside}\n{looks(self.table)}" if self.beside else looks(self.table)
        return Reading((Output(script), ControlPath()), lambda *said: seen(self.table, *said))

    def objection(self, before: Seen) -> str | None:
        """Object to a table of ours that is there already."""
        return before.objection(self.table)

    def apply(self, before: Seen) -> list[Action]:
        """Make the table whole in one transaction; one that was there is replaced in the same."""
        return [Shell(made(self.table, self.chains(before.control)))]

    def revert(self, before: Seen) -> list[Action]:
        """Delete the table; declared first in the same transaction, so that one which is gone is no error."""
        del before
        return [deletion(self.table)]

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

    @property
    def table(self) -> str:
        """The table's name."""
        return named(self)

    @property
    def not_held(self) -> str:
        """Why a dose is not confirmed where the rules are not ours (any more)."""
        return f"table inet {self.table} did not hold our rules at the end of the fault"


class Crossing(Table):
    """A fault that is one table about what crosses between the host and its peers."""

    beside: ClassVar[str] = RDMA

    peers: tuple[Peer, ...] = Field(
        (), description="addresses, networks, and names of hosts and groups of the inventory; everybody by default"
    )
    ports: tuple[Port, ...] = Field(
        (), description="only TCP and UDP packets with one of these ports at either end; all packets by default"
    )
    protocols: tuple[Transport, ...] = Field((), description="only packets of these protocols; all packets by default")
    direction: Direction = Field("both", description="which packets, as the host sees them")
    interface: InterfaceName = Field("", description="only packets of this interface; of any by default")
    forwarded: bool = Field(False, description="also what the host forwards (for containers behind it)")

    def bind(self, host: HostView) -> Self:
        """Put the addresses that the inventory knows in the place of names. Raises Misfit."""
        return self.model_copy(update={"peers": _peers.bound(self.peers, host)})

    def objection(self, before: Seen) -> str | None:
        """Object to a table of ours that is there, to names that were never bound, and where RDMA would pass it by."""
        carriers = _rdma.carriers(before.beside, self.interface)
        return (
            super().objection(before)
            or _peers.unbound(self.peers)
            or _rdma.objection(carriers, self.protocols, self.ports)
        )

    def crossing(self, control: tuple[Flow, ...], meets: Callable[[str], Iterable[Rule]]) -> Chains:
        """Return the chains of the direction, in which whatever is not spared meets the rules of its way."""
        ways = ["egress", "ingress"] if self.direction == "both" else [self.direction]
        loopback = not any(network.is_loopback for network in _peers.networks(self.peers))
        chains: Chains = {way: (*spared(way, control, loopback), *meets(way)) for way in ways}
        return chains | ({"forward": tuple(rule for way in ways for rule in meets(way))} if self.forwarded else {})

    def matching(self, verdict: str, way: str) -> list[Rule]:
        """Return a rule for each combination that has to be one of its own: the peers' family, the ports' end.

        No peers are everybody, no ports and no protocols are all packets.
        """
        keyword, address = _WAYS[way]
        common: dict[str, Any] = {"interface": (keyword, self.interface)} if self.interface else {}
        numbers = tuple(sorted(set(self.ports)))
        if numbers or self.protocols:
            common["protocols"] = tuple(sorted(set(self.protocols))) or ("tcp", "udp")
        networks = _nft.shortest(_peers.networks(self.peers))
        families = [tuple(n for n in networks if n.version == version) for version in (4, 6)]
        whom: list[dict[str, Any]] = [{"address": address, "networks": family} for family in families if family]
        ends: list[dict[str, Any]] = [{"port": port, "ports": numbers} for port in ("sport", "dport") if numbers]
        return [Rule(verdict, **common, **peer, **end) for peer in whom or [{}] for end in ends or [{}]]


def named(fault: Fault[Any]) -> str:
    """Return the name of a fault's table: of its kind and its parameters."""
    text = json.dumps({"kind": fault.kind, **fault.model_dump(mode="json")}, sort_keys=True)
    return f"{MARK}{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def looks(table: str) -> str:
    """Return sh that prints what `seen` reads."""
    return _READ.format(table=table)


def seen(table: str, printed: str, control: tuple[Flow, ...]) -> Seen:
    """Return what a host shows of a table of ours."""
    listed, _, objects = printed.partition("--table\n")
    tables = [line.split()[2] for line in listed.splitlines() if line.startswith(f"table inet {MARK}")]
    others = tuple(name for name in tables if name != table)
    beside = "\n".join(line for line in listed.splitlines() if not line.startswith("table "))
    return Seen(parsed(objects) if table in tables else None, others, control, beside)


def spared(way: str, control: tuple[Flow, ...], loopback: bool) -> list[Rule]:
    """Return what is accepted first of all; `loopback` tells whether the loopback interface is."""
    keyword, address = _WAYS[way]
    port = "sport" if way == "egress" else "dport"
    rules = [
        Rule("accept", address=address, networks=(ip_network(f.peer),), protocols=("tcp",), port=port, ports=(f.port,))
        for f in dict.fromkeys(control)
    ]
    rules.append(Rule("accept", types=_ND))
    return [*rules, Rule("accept", interface=(keyword, "lo"))] if loopback else rules


def made(table: str, chains: Chains) -> str:
    """Return sh that makes a table of these chains, in the place of one that was there."""
    lines = [f"table inet {table}", f"delete table inet {table}", f"table inet {table} {{"]
    for chain, rules in chains.items():
        kind, hook, priority = _HOOKS.get(chain, _NO_HOOK)
        lines.append(f"\tchain {chain} {{")
        lines += [f"\t\ttype {kind} hook {hook} priority {priority}; policy accept;"] if hook else []
        lines += [f"\t\t{rule.text}" for rule in rules]
        lines.append("\t}")
    return _transaction([*lines, "}"])


def deletion(table: str) -> Shell:
    """Return the action that deletes a table, there or not."""
    gone = _transaction([f"table inet {table}", f"delete table inet {table}"])
    return Shell(gone, until=GONE.format(table=table))


def parsed(objects: str) -> Chains:
    """Return the chains of what `nft -j list table` printed; one with another hook holds a rule that is not ours."""
    chains: dict[str, list[Rule]] = {}
    for item in json.loads(objects)["nftables"]:
        if "chain" in item:
            chain = item["chain"]
            place = (chain.get("type"), chain.get("hook"), chain.get("prio"))
            ours = place == _HOOKS.get(chain["name"], _NO_HOOK)
            chains[chain["name"]] = [] if ours else [Rule("", other=str(chain))]
        elif "rule" in item:
            chains[item["rule"]["chain"]].append(_nft.parse(item["rule"]))
    return {name: tuple(rules) for name, rules in chains.items()}


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


def _transaction(lines: list[str]) -> str:
    return "\n".join(["nft -f - <<'RULES'", *lines, "RULES"])

"""A rule of nftables as a value: rendered as nft(8) reads it, and parsed from the JSON in which nft(8) lists it.

The kernel lists a set of addresses in a shape of its own (two neighbours become one range), so addresses are compared
as the shortest list of networks that covers them. A rule that says anything more than a `Rule` can is never equal to
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Network,
    IPv6Network,
    collapse_addresses,
    ip_address,
    ip_network,
    summarize_address_range,
)
from typing import Any

Network = IPv4Network | IPv6Network

ODDS = 10**9
# the parts of a rule that are no equality: how they are compared, and what with a number or a word
_COMPARED: dict[str, tuple[str, dict[str, Any]]] = {
    "state": ("in", {"ct": {"key": "state"}}),
    "longer_than": (">", {"meta": {"key": "length"}}),
    "chance": ("<", {"numgen": {"mode": "random", "mod": ODDS, "offset": 0}}),
}
_OPENING = {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn", "rst", "ack"]]}
# the parts of a rule that are there or not, as nft lists them
_SHAPES = {
    "local": ({"fib": {"result": "type", "flags": ["daddr"]}}, "local"),
    "opening": (_OPENING, "syn"),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Packets that match every part that is given meet the verdict; `accept`, `drop`, `reject` or `goto CHAIN`.

    Without a verdict they are counted, and the next rule has them.

    `side` names the fields: `s` of the source and the interface it came in by, `d` of the destination and the interface
    it leaves by. `networks` are of one family; `ports` of TCP and UDP, `source_port` of TCP alone beside `networks`.
    """

    verdict: str
    interface: tuple[str, str] = ("", "")
    """The keyword, `iifname` or `oifname`, and the name."""
    address: str = ""
    """`saddr` or `daddr`, where there are networks."""
    networks: tuple[Network, ...] = ()
    protocols: tuple[str, ...] = ()
    port: str = ""
    """`sport` or `dport`, where there are ports."""
    ports: tuple[int, ...] = ()
    types: tuple[str, ...] = ()
    """`icmp` or `icmpv6`, then the types."""
    mark: int = 0
    """Only packets of sockets with this SO_MARK; of any where 0."""
    state: str = ""
    """`new`: only what begins a flow, for conntrack."""
    longer_than: int = 0
    """Only packets of more bytes than that, with their IP header; all where 0."""
    chance: int = 0
    """Only so many in ODDS packets, drawn at random; all where 0."""
    local: bool = False
    """Only packets to an address of this host (a local one, ip-route(8))."""
    opening: bool = False
    """Only what opens a TCP connection: SYN alone of the flags that steer one."""
    sets: tuple[tuple[str, str], ...] = ()
    """What is written into the packet before the verdict: the field, as in `ip daddr`, and its value."""
    other: str = ""
    """What nft listed and no Rule of ours says."""
    packets: int = field(default=0, compare=False)

    @property
    def text(self) -> str:
        """The rule as nft(8) reads it."""
        words = [f'{self.interface[0]} "{self.interface[1]}"'] if self.interface[0] else []
        if self.networks:
            family = "ip" if self.networks[0].version == 4 else "ip6"
            words.append(f"{family} {self.address} {_set(map(show, self.networks))}")
        if self.protocols:
            words.append(f"meta l4proto {_set(self.protocols)}")
        if self.ports:
            words.append(f"th {self.port} {_set(map(str, self.ports))}")
        if self.types:
            words.append(f"{self.types[0]} type {_set(self.types[1:])}")
        others = {
            f"meta mark {self.mark:#x}": self.mark,
            f"ct state {self.state}": self.state,
            "fib daddr type local": self.local,
            "tcp flags & (fin | syn | rst | ack) == syn": self.opening,
            f"meta length > {self.longer_than}": self.longer_than,
            f"numgen random mod {ODDS} < {self.chance}": self.chance,
        }
        words += [text for text, given in others.items() if given]
        words += ["counter", *(f"{name} set {value}" for name, value in self.sets)]
        return " ".join([*words, *([self.verdict] if self.verdict else [])])


def show(network: Network) -> str:
    """Return a network as people write it: one address without its length."""
    return str(network.network_address) if network.prefixlen == network.max_prefixlen else str(network)


def shortest(networks: Iterable[Network]) -> tuple[Network, ...]:
    """Return the fewest networks that cover the same addresses: those of IPv4 in order, then those of IPv6."""
    given = list(networks)
    v4 = collapse_addresses(network for network in given if isinstance(network, IPv4Network))
    return (*v4, *collapse_addresses(network for network in given if isinstance(network, IPv6Network)))


def parse(listed: Mapping[str, Any]) -> Rule:
    """Return a rule of `nft -j list table`."""
    parts: dict[str, Any] = {"verdict": ""}
    for expression in listed["expr"]:
        ((name, value),) = expression.items()
        if name == "counter":
            parts["packets"] = value["packets"]
        elif name in ("accept", "drop", "reject"):
            parts["verdict"] = name
        elif name == "redirect":
            parts["verdict"] = f"redirect to :{value['port']}"
        elif name == "goto":
            parts["verdict"] = f"goto {value['target']}"
        elif name == "mangle":
            parts["sets"] = (*parts.get("sets", ()), (" ".join(_key(value["key"])), str(value["value"])))
        elif name == "match":
            parts |= _match(value["left"], value["right"]) if value["op"] == "==" else _compared(**value)
        else:
            parts["other"] = f"{parts.get('other', '')}{expression}"
    return Rule(**parts)


def _compared(op: str, left: Any, right: Any) -> dict[str, Any]:
    found = {name: right for name, compared in _COMPARED.items() if compared == (op, left)}
    return found or {"other": f"{left} {op} {right}"}


def _match(left: Any, right: Any) -> dict[str, Any]:
    if shape := next((name for name, shape in _SHAPES.items() if shape == (left, right)), None):
        return {shape: True}
    values = right["set"] if isinstance(right, dict) and "set" in right else [right]
    key, field_name = _key(left)
    if field_name in ("saddr", "daddr"):
        return {"address": field_name, "networks": shortest(n for value in values for n in _networks(value))}
    readers: dict[str, Callable[[], dict[str, Any]]] = {
        "iifname": lambda: {"interface": (field_name, values[0])},
        "oifname": lambda: {"interface": (field_name, values[0])},
        "l4proto": lambda: {"protocols": tuple(sorted(values))},
        "sport": lambda: _ports(key, "sport", values),
        "dport": lambda: _ports(key, "dport", values),
        "mark": lambda: {"mark": values[0]},
        "type": lambda: {"types": (key, *sorted(values))},
    }
    return readers[field_name]() if field_name in readers else {"other": f"{left} {right}"}


def _ports(protocol: str, field_name: str, values: list[int]) -> dict[str, Any]:
    """Return ports; of one protocol alone (`tcp sport 22`) they stand for the match of the protocol too."""
    alone = {} if protocol == "th" else {"protocols": (protocol,)}
    return {"port": field_name, "ports": tuple(sorted(values)), **alone}


def _key(left: Any) -> tuple[str, str]:
    if "meta" in left:
        return "meta", left["meta"]["key"]
    if "payload" in left:
        return left["payload"].get("protocol", ""), left["payload"].get("field", "")
    return "", ""


def _networks(value: Any) -> list[Network]:
    if isinstance(value, str):
        return [ip_network(value)]
    if "prefix" in value:
        return [ip_network(f"{value['prefix']['addr']}/{value['prefix']['len']}")]
    first, last = value["range"]
    return list(summarize_address_range(ip_address(first), ip_address(last)))


def _set(values: Iterable[str]) -> str:
    listed = list(values)
    return listed[0] if len(listed) == 1 else f"{{ {', '.join(listed)} }}"

"""Whom a fault of the network is about: addresses, networks, and names of the inventory; ports; the way packets go."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints

from chaos.contracts import HostView
from chaos.errors import Misfit
from chaos.faults import _nft
from chaos.faults._nft import Network

Direction = Literal["both", "egress", "ingress"]
Port = Annotated[int, Field(ge=1, le=65535)]
Transport = Literal["tcp", "udp"]


def network(value: str) -> Network | None:
    """Return an address or a network; None for what must then be a name."""
    try:
        return ip_network(value)
    except ValueError:
        return None


def networks(peers: Iterable[str]) -> list[Network]:
    """Return those peers that are no names."""
    return [found for found in map(network, peers) if found is not None]


def unbound(peers: Iterable[str]) -> str | None:
    """Object to names that were never bound, or return None."""
    names = [peer for peer in peers if network(peer) is None]
    return f"no address is known of {', '.join(names)}" if names else None


def bound(peers: tuple[str, ...], host: HostView) -> tuple[str, ...]:
    """Return the peers with the addresses that the inventory knows in the place of names. Raises Misfit."""
    if not peers:
        return peers
    found: list[str] = []
    for index, peer in enumerate(peers):
        found += [peer] if network(peer) else _known(host, peer, index)
    if not found:
        raise Misfit(("peers",), f"names nobody but {host.name} itself; no peers at all would mean everybody")
    return tuple(dict.fromkeys(found))


def _known(host: HostView, peer: str, index: int) -> list[str]:
    if peer not in host.peers:
        there = ", ".join(host.peers)
        raise Misfit(("peers", index), f"{peer!r} is no address and no host or group of the inventory ({there})")
    for name, addresses in host.peers[peer].items():
        if not addresses and name != host.name:
            text = f"the inventory has no numeric address of {name} off loopback; give it `addresses: [...]`"
            raise Misfit(("peers", index), text)
    return [a for name, addresses in host.peers[peer].items() if name != host.name for a in addresses]


def _peer(value: str) -> str:
    found = network(value)
    if found is not None:
        return _nft.show(found)
    if "/" in value or ":" in value:
        raise ValueError(f"{value!r} is no address, no network (10.0.0.0/24) and no name of a host or a group")
    return value


Peer = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True), AfterValidator(_peer)]

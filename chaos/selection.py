"""Some packets of an interface as a value, and as what u32 filters look at (tc-u32(8)).

A key is 32 bits of a packet, from an offset behind the start of its IP header, under a mask. Everything that a
Selection can say has a key of its own:

    IPv4     at 0 the DSCP    at 8 the protocol    at 12 or 16 the address                  at 20 the ports
    IPv6     at 0 the DSCP    at 4 the protocol    at 8 to 20 or 24 to 36 the address       at 40 the ports

So a port is found where no IP options, no extension headers and no earlier fragment come before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Literal, NamedTuple

Network = IPv4Network | IPv6Network
Hook = Literal["egress", "ingress"]
"""Where packets are met: as they leave an interface, or as they come in by it."""

FAMILIES = {4: "ip", 6: "ipv6"}
"""What tc(8) calls the two."""
_SOURCE = {4: 12, 6: 8}
_DESTINATION = {4: 16, 6: 24}
_PROTOCOL = {4: (8, 16), 6: (4, 8)}  # offset, shift
_DSCP = {4: 18, 6: 22}  # shift: after the version and before the two bits of ECN
_PORTS = {4: 20, 6: 40}
_FULL = 2**32 - 1


class Key(NamedTuple):
    """32 bits, those of them that count, and where they stand."""

    value: int
    mask: int
    at: int


EVERYTHING = (Key(0, 0, 0),)
"""What every packet shows."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Packets of one IP version that match every part that is given.

    `near` and `far` are ports of TCP or UDP, at this host and at the other end; `peer` is the other end.
    """

    version: int
    peer: Network | None = None
    protocol: int | None = None
    near: int | None = None
    far: int | None = None
    dscp: int | None = None

    def keys(self, hook: Hook) -> tuple[Key, ...]:
        """Return what a packet of the selection shows, in the order of the packet."""
        return tuple(sorted(self._keys(hook), key=lambda key: key.at)) or EVERYTHING

    def meets(self, other: Selection) -> bool:
        """Whether a packet may be in both."""
        if self.version != other.version:
            return False
        mine, its = (self.protocol, self.near, self.far, self.dscp), (other.protocol, other.near, other.far, other.dscp)
        parts = all(one is None or another is None or one == another for one, another in zip(mine, its, strict=True))
        return parts and (self.peer is None or other.peer is None or _overlap(self.peer, other.peer))

    def _keys(self, hook: Hook) -> Iterator[Key]:
        if self.dscp is not None:
            yield Key(self.dscp << _DSCP[self.version], 0x3F << _DSCP[self.version], 0)
        if self.protocol is not None:
            at, shift = _PROTOCOL[self.version]
            yield Key(self.protocol << shift, 0xFF << shift, at)
        if self.near is not None or self.far is not None:
            source, destination = (self.near, self.far) if hook == "egress" else (self.far, self.near)
            mask = _half(source) << 16 | _half(destination)
            yield Key((source or 0) << 16 | (destination or 0), mask, _PORTS[self.version])
        if self.peer is not None:
            yield from _words(self.peer, (_DESTINATION if hook == "egress" else _SOURCE)[self.version])


@dataclass(frozen=True, slots=True)
class Steer:
    """A filter of ours: packets of a hook that show the keys go to `device`, or pass where it is empty.

    `preference` is its place among the filters of the hook; `protocol` is `ip`, `ipv6` or `all`.
    """

    hook: str
    preference: int
    protocol: str
    keys: tuple[Key, ...]
    device: str = ""


def _words(network: Network, start: int) -> Iterator[Key]:
    address, mask = int(network.network_address), int(network.netmask)
    for word in range(network.max_prefixlen // 32):
        shift = network.max_prefixlen - 32 * (word + 1)
        if part := mask >> shift & _FULL:
            yield Key(address >> shift & _FULL, part, start + 4 * word)


def _half(port: int | None) -> int:
    return 0 if port is None else 0xFFFF


def _overlap(one: Network, other: Network) -> bool:
    (first, last), (low, high) = ((int(n.network_address), int(n.broadcast_address)) for n in (one, other))
    return first <= high and low <= last

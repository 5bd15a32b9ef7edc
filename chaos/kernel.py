"""Objects of the kernel as values: what a fault asks to see and what it asks to be made.

A target reads and makes them its own way (`tc` over SSH, netlink messages here); a fault never knows which. Quantities
are SI: seconds, bytes/s, shares in 0..1, packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address
Option = float | int | str | bool

ROOT = "root"
NO_HANDLE = "0:"  # the kernel's own default, which nobody asked for and which comes back by itself


@dataclass(frozen=True, slots=True)
class Qdisc:
    """One queueing discipline.

    `options` are typed and in SI for the kinds we make (netem, prio); for every other kind they are what the target
    printed, good for comparing. `words` are the arguments of tc(8) that would make it again, None where they can't be
    told. Equality leaves out the counters, which are the traffic's and not the configuration's.
    """

    kind: str
    handle: str = NO_HANDLE
    parent: str = ROOT
    options: Mapping[str, Option] = field(default_factory=dict)
    words: tuple[str, ...] | None = field(default=None, compare=False)
    packets: int = field(default=0, compare=False)
    dropped: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Link:
    """What an interface shows of itself: every qdisc on it, how many filters hang on each parent, its speed."""

    name: str
    exists: bool
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[str, ...] = ()
    bits_per_second: float | None = field(default=None, compare=False)

    @property
    def root(self) -> Qdisc | None:
        """The root qdisc; None for an interface that has none (lo, a bridge)."""
        return next((q for q in self.qdiscs if q.parent == ROOT), None)


@dataclass(frozen=True, slots=True)
class Flow:
    """TCP packets that leave this host's `port` towards `peer`: what an exemption lets pass."""

    peer: Address
    port: int


@dataclass(frozen=True, slots=True)
class Process:
    """One process; `started` (clock ticks after boot, proc(5)) tells it from a later one with the same number."""

    pid: int
    started: int
    state: str
    command: str

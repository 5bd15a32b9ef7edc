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


HAS_IFB = "[ -e /sys/module/ifb ] || modprobe -n -q ifb 2>/dev/null || grep -q ' ifb_setup' /proc/kallsyms"
"""The sh condition that a kernel can make an ifb device: loaded, ready to be loaded, or built in."""


@dataclass(frozen=True, slots=True)
class Qdisc:
    """One queueing discipline.

    `options` are typed and in SI for the kinds we make (netem, tbf); for every other kind they are what the target
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
    """What an interface shows of itself: every qdisc, class and filter on it, its speed.

    `ours` is what the device of ours beside it carries, None where there is no such device; `has_ifb` tells whether the
    kernel could make one. Equality is that of the configuration.
    """

    name: str
    exists: bool
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[str, ...] = ()
    bits_per_second: float | None = field(default=None, compare=False)
    classes: tuple[str, ...] = ()
    ours: tuple[Qdisc, ...] | None = None
    index: int = field(default=0, compare=False)
    has_ifb: bool = field(default=False, compare=False)

    @property
    def root(self) -> Qdisc | None:
        """The root qdisc; None for an interface that has none (lo, a bridge)."""
        return next((q for q in self.qdiscs if q.parent == ROOT), None)


@dataclass(frozen=True, slots=True)
class Beside:
    """Our place beside an interface's own queueing: an ifb device; clsact is taken away again where `adds_clsact`."""

    device: str
    adds_clsact: bool


@dataclass(frozen=True, slots=True)
class AtRoot:
    """Our place at the root itself; `former` is put back, None where the kernel's default comes by itself."""

    former: Qdisc | None


Place = Beside | AtRoot


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

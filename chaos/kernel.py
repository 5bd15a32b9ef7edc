"""Objects of the kernel as values: what a fault asks to see and what it asks to be made.

A target reads and makes them its own way (`tc` over SSH, netlink messages here); a fault never knows which. Quantities
are SI: seconds, bytes/s, shares in 0..1, packets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network

from chaos.selection import Hook, Selection, Steer

Address = IPv4Address | IPv6Address
Option = float | int | str | bool

ROOT = "root"
NO_HANDLE = "0:"  # the kernel's own default, which nobody asked for and which comes back by itself
SCAFFOLD, IMPAIRMENT, SILENCED = "c4a5:", "c4a6:", "c4a7:"
"""The handles of our qdiscs: above an impairment at the root where flows are exempt, its own, its own below a netem."""
OURS = (SCAFFOLD, IMPAIRMENT)
"""Those that a root of ours may have."""
LANES = 12
"""How many impairments of ours one interface can have at once."""
LAST_PREFERENCE = 65535
OUR_PREFERENCES = range(LAST_PREFERENCE + 1 - 3 * LANES, LAST_PREFERENCE + 1)
OUR_DEVICE = r"gameday[0-9a-f]+[tk][0-9a-f]+"
"""The names of our devices, as a regular expression: the interface's index, whether the clsact is ours, the lane."""

RDMA = r"""for rdma in /sys/class/infiniband/*; do
    [ -e "$rdma" ] && [ ! -e "$rdma/parent" ] || continue
    case $(readlink -f "$rdma") in */virtual/*) continue ;; esac
    { ls "$rdma/device/net"; cat "$rdma"/ports/*/gid_attrs/ndevs/*; } 2>/dev/null | sort -u |
        sed "s|\$| ${rdma##*/}|"
done"""
"""Sh that prints each interface that carries RDMA of the hardware, and the name of its RDMA device, a pair a line.

Soft RoCE (`parent` is rxe's own) and soft iWARP are devices without hardware; their packets are sent as all others.
"""

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


SILENCER = Qdisc("netem", IMPAIRMENT, options={"limit": 2**31 - 1})
"""Says of each packet that it took it, and hands it down at once to the one qdisc below, which may drop it."""


@dataclass(frozen=True, slots=True)
class Link:
    """What an interface shows of itself: every qdisc, class and filter on it, its speed.

    `ours` is what each device of ours beside it carries, and `steers` are the filters of ours that lead there;
    `has_ifb` tells whether the kernel could make such a device; `rdma` names the devices whose hardware sends RDMA by
    it, past every qdisc. Equality is that of the configuration.
    """

    name: str
    exists: bool
    qdiscs: tuple[Qdisc, ...] = ()
    filters: tuple[str, ...] = ()
    bits_per_second: float | None = field(default=None, compare=False)
    classes: tuple[str, ...] = ()
    ours: Mapping[str, tuple[Qdisc, ...]] = field(default_factory=dict)
    steers: tuple[Steer, ...] = field(default=(), compare=False)
    index: int = field(default=0, compare=False)
    has_ifb: bool = field(default=False, compare=False)
    rdma: tuple[str, ...] = field(default=(), compare=False)

    @property
    def root(self) -> Qdisc | None:
        """The root qdisc; None for an interface that has none (lo, a bridge)."""
        return next((q for q in self.qdiscs if q.parent == ROOT), None)


@dataclass(frozen=True, slots=True)
class Beside:
    """Our place beside an interface's own queueing: an ifb device, to which filters in a hook lead.

    A host may have several such places at once, each with a `lane` of its own: a number from 0, of which follow the
    name of its device and the preferences of its filters. Each comes and goes without the others. The clsact is taken
    away by the last where it is ours (`adds_clsact`); the device's name says so, for those that come later.
    """

    index: int
    """The interface's."""
    adds_clsact: bool
    lane: int = 0
    hook: Hook = "egress"

    @property
    def device(self) -> str:
        """The device: at most 15 characters, as the kernel wants."""
        return f"gameday{self.index:x}{'t' if self.adds_clsact else 'k'}{self.lane:x}"

    @property
    def preferences(self) -> tuple[int, int, int]:
        """Of its filters for IPv4, for IPv6, and for all packets: after whatever somebody else has in the hook."""
        last = LAST_PREFERENCE - 3 * self.lane
        return last - 2, last - 1, last


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

    @property
    def selection(self) -> Selection:
        """These packets, and those of the same connection that come in."""
        return Selection(self.peer.version, ip_network(self.peer), protocol=6, near=self.port)


@dataclass(frozen=True, slots=True)
class Pfc:
    """Priority-based flow control of an interface (IEEE 802.1Q, clause 36): which priorities, of 0 to 7, it pauses.

    `classes` is of how many traffic classes it can do so at once, `delay` what a peer needs to stop, in bits. `sent`
    and `received` count the pause frames of each priority.
    """

    priorities: frozenset[int]
    classes: int = 8
    delay: int = 0
    macsec_bypass: bool = False
    sent: tuple[int, ...] = field(default=(), compare=False)
    received: tuple[int, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class Ets:
    """Enhanced transmission selection of an interface (IEEE 802.1Q, clause 37), of which there are 8 traffic classes.

    Each class has an algorithm (strict, cbs, ets, vendor) and, where that is ets, a share in %; each priority has a
    class. `classes` is how many share at once, and `rest` what the peer recommends and the like: it is only compared.
    """

    tc_tsa: tuple[str, ...]
    tc_bw: tuple[int, ...]
    prio_tc: tuple[int, ...]
    classes: int = 8
    rest: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dcb:
    """Data centre bridging of an interface, as far as its driver has it: None for what it has not.

    `dcbx` says who sets it (host, lld-managed) and by which standard; None where the driver does not say. `buffer` is
    which buffer takes what each priority receives, and the size of each, in bytes: some drivers change it with the PFC.
    """

    pfc: Pfc | None = None
    ets: Ets | None = None
    dcbx: frozenset[str] | None = None
    buffer: tuple[int, ...] = ()
    why_not: str = field(default="", compare=False)
    """What the kernel, or the tool, says where there is nothing."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process; `started` (clock ticks after boot, proc(5)) tells it from a later one with the same number."""

    pid: int
    started: int
    state: str
    command: str

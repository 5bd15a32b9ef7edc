"""What the kinds that put a qdisc of their own on an interface share: when they may, and what comes back."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from itertools import product
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from chaos.contracts import (
    Action,
    ControlPath,
    Dose,
    Fault,
    HostView,
    LinkState,
    Need,
    PlantQdisc,
    Reading,
    UprootQdisc,
)
from chaos.errors import Misfit
from chaos.faults import _nft, _peers, _rdma
from chaos.faults._peers import Peer, Port
from chaos.kernel import (
    HAS_IFB,
    IMPAIRMENT,
    LANES,
    NO_HANDLE,
    OUR_PREFERENCES,
    OURS,
    ROOT,
    SILENCED,
    SILENCER,
    AtRoot,
    Beside,
    Flow,
    Link,
    Place,
    Qdisc,
)
from chaos.names import InterfaceName
from chaos.selection import Hook, Selection, Steer

RELEASE = (
    "packets that the qdisc holds are sent late and out of order; those it still holds after its delay, or a second, "
    "are dropped and counted"
)
MOST_PATIENCE = 1.0  # s; a fuse promises a clean host within its lease and two seconds

MOST_FILTERS = 1000
_NAME = 15  # characters of an interface's
_PREFERENCE = re.compile(r" pref (\d+) ")
_INGRESS = ("ingress", "clsact")  # beside the root, not under it; left alone
Protocol = Literal["tcp", "udp", "icmp", "sctp", "gre", "esp"]
_WITH_PORTS = ("tcp", "udp", "sctp")
# the numbers of protocols, by the version of IP (IANA, Assigned Internet Protocol Numbers)
_PROTOCOLS: dict[str, dict[int, int | None]] = {
    "": {4: None, 6: None},
    "icmp": {4: 1, 6: 58},
    **{
        name: {4: number, 6: number}
        for name, number in (("tcp", 6), ("udp", 17), ("sctp", 132), ("gre", 47), ("esp", 50))
    },
}
_FULL_KERNEL = "the distribution's full kernel package (linux-image-amd64)"


# what makes something of each module in an empty network namespace, for kernels that have it built in
_TRY = {
    "sch_netem": "tc qdisc add dev lo root netem delay 1ms",
    "sch_tbf": "tc qdisc add dev lo root tbf rate 1mbit burst 10k limit 10k",
    "sch_prio": "tc qdisc add dev lo root prio",
    "cls_u32": "tc qdisc add dev lo ingress && tc filter add dev lo ingress protocol ip u32 match u32 0 0 flowid 1:1",
}


def loadable(module: str) -> str:
    """Return the sh condition that a kernel has a module: loaded, ready to be loaded, or built in and working."""
    return f"[ -e /sys/module/{module} ] || modprobe -n -q {module} || unshare --net sh -c '{_TRY[module]}'"


def needs(*modules: str) -> tuple[Need, ...]:
    """Return what a host must have for qdiscs of these modules to stand beside its own, or at its root."""
    of_modules = (Need(module, loadable(module), _FULL_KERNEL) for module in (*modules, "cls_u32"))
    either = f"{{ {HAS_IFB}; }} || {{ {loadable('sch_prio')}; }}"
    return (Need("tc", "command -v tc", "iproute2"), *of_modules, Need("ifb or sch_prio", either, _FULL_KERNEL))


@dataclass(frozen=True)
class Seen:
    """The interface, and the flows of the controller on it; `more` is what a kind has asked beside."""

    link: Link
    control: tuple[Flow, ...]
    more: str = field(default="", compare=False)


class Impairment(Fault[Seen]):
    """A fault that is one qdisc on an interface: all of it but the qdisc, and how to tell it from another."""

    release: ClassVar[str] = RELEASE
    qdisc_kind: ClassVar[str]

    interface: InterfaceName = Field("", description="the interface; the inventory's `interface` by default")
    direction: Hook = Field("egress", description="what the interface sends, or what it receives")
    peers: tuple[Peer, ...] = Field(
        (),
        description="only packets to (or from) these addresses, networks, and names of hosts and groups of the "
        "inventory; everybody by default",
    )
    ports: tuple[Port, ...] = Field((), description="only TCP and UDP packets with one of these ports at either end")
    protocols: tuple[Protocol, ...] = Field((), description="only packets of these protocols")
    dscp: tuple[Annotated[int, Field(ge=0, le=63)], ...] = Field(
        (), description="only packets marked so (DSCP, 0 to 63)"
    )
    _lane: int = PrivateAttr(default=0)
    _lanes: int = PrivateAttr(default=1)

    @field_validator("protocols")
    @classmethod
    def _has_ports(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        portless = [name for name in value if name not in _WITH_PORTS]
        if portless and info.data.get("ports"):
            raise ValueError(f"{', '.join(portless)} has no ports; leave ports out, or {', '.join(portless)}")
        return value

    @abstractmethod
    def qdisc(self, link: Link) -> Qdisc:
        """The impairment, for an interface as it was read."""

    @abstractmethod
    def shows(self, held: Qdisc, link: Link) -> bool:
        """Whether a qdisc that the kernel holds is the one that was asked for."""

    @abstractmethod
    def achieved(self, held: Qdisc) -> dict[str, float]:
        """What the kernel says of its parameters, by name in SI units."""

    @abstractmethod
    def longest_stay(self) -> float:
        """How long a packet that it holds may take to be sent, in s."""

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none, and its addresses for names."""
        known = {"interface": self.interface or host.interface, "peers": _peers.bound(self.peers, host)}
        bound = self.model_copy(update=known)
        if (count := len(bound.towards)) > MOST_FILTERS:
            text = f"peers, ports, protocols and dscp together make {count} filters; at most {MOST_FILTERS} are set"
            raise Misfit(("peers" if self.peers else "ports",), text)
        return bound

    def among(self, others: Sequence[Fault[Any]], at: int) -> Self:
        """Take the lane of our own on the interface that no other fault of this host has."""
        shared = [index for index, other in enumerate(others) if self._is_beside(other)]
        mine = self.model_copy()
        mine._lane, mine._lanes = shared.index(at), len(shared)
        if mine._lane >= LANES:
            raise Misfit(
                ("interface",), f"more than {LANES} faults that queue packets of {self.interface or 'one interface'}"
            )
        return mine

    def clash(self, other: Fault[Any]) -> str | None:
        """Tell that a packet would have to pass two impairments: it is held by the first alone."""
        if not isinstance(other, Impairment) or not self._is_beside(other) or other.direction != self.direction:
            return None
        if not (not self.towards or not other.towards or any(a.meets(b) for a in self.towards for b in other.towards)):
            return None
        return (
            f"{other.kind} is on the same packets of {self.interface or 'the interface'} at the same time, and a "
            "packet is held once; give each its own peers, ports, protocols or dscp, or have one netem, with its rate"
        )

    @property
    def is_silent(self) -> bool:
        """Whether whoever sends is not to be told of what is dropped."""
        return False

    @property
    def towards(self) -> tuple[Selection, ...]:
        """The packets it is about, none where it is about all."""
        if not (self.peers or self.ports or self.protocols or self.dscp):
            return ()
        return tuple(dict.fromkeys(chosen for version in (4, 6) for chosen in self._selections(version)))

    def _selections(self, version: int) -> Iterator[Selection]:
        shortest = _nft.shortest(_peers.networks(self.peers))
        networks = [network for network in shortest if network.version == version] if self.peers else [None]
        protocols = self.protocols or (("tcp", "udp") if self.ports else ("",))
        ends = [{side: port} for port in self.ports for side in ("near", "far")] or [{}]
        numbers = [_PROTOCOLS[name][version] for name in protocols]
        for network, number, end, dscp in product(networks, numbers, ends, self.dscp or (None,)):
            yield Selection(version, network, number, dscp=dscp, **end)

    def _is_beside(self, other: Fault[Any]) -> bool:
        return isinstance(other, Impairment) and other.interface == self.interface

    def _place(self, link: Link) -> Place:
        return place(link, self._lane, self.direction)

    def _plant(self, before: Seen) -> PlantQdisc:
        where, towards = self._place(before.link), self.towards
        return PlantQdisc(self.interface, self.qdisc(before.link), before.control, where, towards, self.is_silent)

    def reading(self) -> Reading[Seen]:
        """Ask for the interface and for the controller's own flow."""
        return Reading((LinkState(self.interface), ControlPath()), Seen)

    def objection(self, before: Seen) -> str | None:
        """Object to an interface that is not there, whose queueing could not be put back, or that RDMA passes by."""
        where, whole = self._place(before.link), not self.towards and self.direction == "egress"
        return (
            _peers.unbound(self.peers)
            or objection(self.interface, before.link, where, whole=whole)
            or _rdma.objection(
                [f"{self.interface} ({device})" for device in before.link.rdma], self.protocols, self.ports
            )
            or _left_over(before.link, self._lanes)
        )

    def apply(self, before: Seen) -> list[Action]:
        """Plant the qdisc, with the controller's flow beside it."""
        return [self._plant(before)]

    def revert(self, before: Seen) -> list[Action]:
        """Take it away: the packets it holds are sent first."""
        tables = any("distribution" in name for name in self.qdisc(before.link).options)
        where, patience = self._place(before.link), min(MOST_PATIENCE, self.longest_stay())
        return [UprootQdisc(self.interface, where, patience, tables)]

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Compare the kernel's own parameters, and whom they are for, with what was asked."""
        held = self._held(before, now)
        return held is not None and self.shows(held, now.link) and self._is_steered(before, now.link)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Compare the whole tree of qdiscs, with its classes and filters, to what it was, but for others of ours."""
        where = self._place(before.link)
        gone = not _is_in(where, now.link) and not _steers(where, now.link)
        return gone and without_ours(before.link) == without_ours(now.link)

    def _held(self, before: Seen, now: Seen) -> Qdisc | None:
        """Return the qdisc of this kind in our place, or None; one that must be silent and is not is none."""
        where = self._place(before.link)
        there = now.link.ours.get(where.device, ()) if isinstance(where, Beside) else now.link.qdiscs
        handle = SILENCED if self.is_silent else IMPAIRMENT
        quiet = not self.is_silent or any((q.handle, q.options) == (IMPAIRMENT, SILENCER.options) for q in there)
        return next((q for q in there if quiet and (q.handle, q.kind) == (handle, self.qdisc_kind)), None)

    def _is_steered(self, before: Seen, link: Link) -> bool:
        mine = _steers(self._place(before.link), link)
        return sorted(mine, key=repr) == sorted(self._plant(before).steers, key=repr)

    def typical(self) -> Seen:
        """An interface with the kernel's default, reached from a documentation address (RFC 5737)."""
        link = Link(self.interface, exists=True, index=2, has_ifb=True)
        return Seen(link, (Flow(ip_address("192.0.2.1"), 22),))

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report what the kernel holds and how many packets passed it: an impairment that saw none did nothing."""
        held = self._held(before, now)
        if held is None or not self.is_applied(before, now):
            return Dose({}, False, f"no such {self.qdisc_kind} on {self.interface} at the end of the fault")
        counted = {"packets": float(held.packets), "dropped": float(held.dropped)}
        why = (
            ""
            if held.packets or held.dropped
            else f"no packet of {self.interface} went through it, so it affected nothing"
        )
        return Dose({**self.achieved(held), **counted}, held.packets > 0, why)


def place(link: Link, lane: int = 0, hook: Hook = "egress") -> Place:
    """Return where on this interface an impairment goes: beside its own queueing wherever that can be."""
    if link.has_ifb and not any(q.kind == "ingress" for q in link.qdiscs):
        return Beside(link.index, all(q.kind != "clsact" for q in link.qdiscs) or _clsact_is_ours(link), lane, hook)
    return AtRoot(None if _is_default(link) else link.root)


def without_ours(link: Link) -> Link:
    """Return an interface as it would be with no impairment of ours beside it."""
    clsact = ("clsact",) if _clsact_is_ours(link) else ()
    return replace(
        link, qdiscs=tuple(q for q in link.qdiscs if q.kind not in clsact), filters=_foreign(link.filters), ours={}
    )


def _clsact_is_ours(link: Link) -> bool:
    return any("t" in device for device in link.ours)


def _foreign(filters: tuple[str, ...]) -> tuple[str, ...]:
    """Leave out the filters of ours, each with the lines that belong to it."""
    kept, is_ours = [], False
    for line in filters:
        if line.startswith("filter "):
            found = _PREFERENCE.search(line)
            is_ours = found is not None and int(found[1]) in OUR_PREFERENCES
        if not is_ours:
            kept.append(line)
    return tuple(kept)


def _is_in(where: Place, link: Link) -> bool:
    """Whether an impairment of ours is in a place."""
    if isinstance(where, AtRoot):
        return any(q.handle in OURS for q in link.qdiscs)
    return any(replace(where, adds_clsact=adds).device in link.ours for adds in (True, False))


def _steers(where: Place, link: Link) -> list[Steer]:
    """Return the filters that lead to a place."""
    preferences = where.preferences if isinstance(where, Beside) else ()
    return [steer for steer in link.steers if steer.preference in preferences]


def objection(interface: str, link: Link, where: Place, *, whole: bool) -> str | None:
    """Return why no qdisc of ours should go on this interface, or None; `whole` where it is for all that is sent."""
    if not interface:
        return "no interface: name one in the fault (`interface: eth0`) or in the inventory"
    if not link.exists:
        return f"there is no interface {interface}; `ip link` on the host lists those there are"
    if _is_in(where, link) or any(q.handle in OURS for q in link.qdiscs):
        return f"a fault of ours is still on {interface}; `gameday heal` takes it away"
    if isinstance(where, Beside):
        return _beside_objection(interface, link, where)
    if not whole:
        return (
            f"{interface} has no place for it but the root, which holds all that is sent; it can go on {_way_out(link)}"
        )
    return None if _is_default(link) else _root_objection(interface, link)


def _left_over(link: Link, lanes: int) -> str | None:
    """Object to a device in a lane beyond those of the plan: nobody knows of it any more."""
    strange = ", ".join(device for device in link.ours if int(re.split("[tk]", device)[-1], 16) >= lanes)
    return f"a fault of ours is still on {link.name} ({strange}); `gameday heal` takes it away" if strange else None


def _beside_objection(interface: str, link: Link, where: Beside) -> str | None:
    first, *_, last = where.preferences
    if any(f" pref {number} " in line for line in link.filters for number in where.preferences):
        return f"{interface} has filters of preference {first} to {last}, which are ours; `gameday heal`, or move them"
    if len(where.device) > _NAME:
        return f"the device beside {interface} would be called {where.device}, which is too long for the kernel"
    return None


def _root_objection(interface: str, link: Link) -> str | None:
    root = link.root
    if root is not None and root.words is not None and len(_tree(link)) == 1 and not _has_filters(root, link):
        return None
    held = ", ".join(f"{q.kind} {q.handle}" for q in _tree(link))
    return (
        f"{interface} carries queueing that somebody set ({held}) and that can't be put back exactly; "
        f"what can: the kernel's default, or one of pfifo, bfifo, pfifo_fast, fq, fq_codel, sfq alone at the root; "
        f"it need not be touched on {_way_out(link)}"
    )


def _way_out(link: Link) -> str:
    if link.has_ifb:
        return "an interface whose ingress qdisc is a clsact, which takes the same filters"
    return "a kernel with the modules ifb and act_mirred"


def _has_filters(root: Qdisc, link: Link) -> bool:
    return any(f"parent {root.handle} " in line for line in link.filters)


def _tree(link: Link) -> list[Qdisc]:
    return [q for q in link.qdiscs if q.kind not in _INGRESS]


def _is_default(link: Link) -> bool:
    return all(q.handle == NO_HANDLE for q in _tree(link)) and (link.root is None or link.root.parent == ROOT)

"""What the kinds that put a qdisc of their own on an interface share: when they may, and what comes back."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import ClassVar, Self

from pydantic import Field

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
from chaos.kernel import HAS_IFB, NO_HANDLE, ROOT, AtRoot, Beside, Flow, Link, Place, Qdisc
from chaos.names import InterfaceName

OURS = ("c4a5:", "c4a6:")
RELEASE = (
    "packets that the qdisc holds are sent late and out of order; those it still holds after its delay, or a second, "
    "are dropped and counted"
)
MOST_PATIENCE = 1.0  # s; a fuse promises a clean host within its lease and two seconds

_INGRESS = ("ingress", "clsact")  # beside the root, not under it; left alone
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
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def reading(self) -> Reading[Seen]:
        """Ask for the interface and for the controller's own flow."""
        return Reading((LinkState(self.interface), ControlPath()), Seen)

    def objection(self, before: Seen) -> str | None:
        """Object to an interface that is not there, or whose queueing could not be put back exactly."""
        return objection(self.interface, before.link)

    def apply(self, before: Seen) -> list[Action]:
        """Plant the qdisc, with the controller's flow beside it."""
        return [PlantQdisc(self.interface, self.qdisc(before.link), before.control, place(before.link))]

    def revert(self, before: Seen) -> list[Action]:
        """Take it away: the packets it holds are sent first."""
        tables = any("distribution" in name for name in self.qdisc(before.link).options)
        return [UprootQdisc(self.interface, place(before.link), min(MOST_PATIENCE, self.longest_stay()), tables)]

    def is_applied(self, before: Seen, now: Seen) -> bool:
        """Compare the kernel's own parameters with what was asked."""
        del before
        held = ours(now.link)
        return held is not None and held.kind == self.qdisc_kind and self.shows(held, now.link)

    def is_reverted(self, before: Seen, now: Seen) -> bool:
        """Compare the whole tree of qdiscs, with its classes and filters, to what it was."""
        return before.link == now.link

    def typical(self) -> Seen:
        """An interface with the kernel's default, reached from a documentation address (RFC 5737)."""
        link = Link(self.interface, exists=True, index=2, has_ifb=True)
        return Seen(link, (Flow(ip_address("192.0.2.1"), 22),))

    def dose(self, before: Seen, now: Seen) -> Dose:
        """Report what the kernel holds and how many packets passed it: an impairment that saw none did nothing."""
        held = ours(now.link)
        if held is None or not self.is_applied(before, now):
            return Dose({}, False, f"no such {self.qdisc_kind} on {self.interface} at the end of the fault")
        counted = {"packets": float(held.packets), "dropped": float(held.dropped)}
        why = "" if held.packets else f"no packet left {self.interface} through it, so it affected nothing"
        return Dose({**self.achieved(held), **counted}, held.packets > 0, why)


def ours(link: Link) -> Qdisc | None:
    """Return the impairment of ours on an interface, or None."""
    return next((q for q in (*(link.ours or ()), *link.qdiscs) if q.handle == "c4a6:"), None)


def place(link: Link) -> Place:
    """Return where on this interface an impairment goes: beside its own queueing wherever that can be."""
    if link.has_ifb and not any(q.kind == "ingress" for q in link.qdiscs):
        return Beside(f"gameday{link.index:x}", adds_clsact=all(q.kind != "clsact" for q in link.qdiscs))
    return AtRoot(None if _is_default(link) else link.root)


def objection(interface: str, link: Link) -> str | None:
    """Return why no qdisc of ours should go on this interface, or None."""
    if not interface:
        return "no interface: name one in the fault (`interface: eth0`) or in the inventory"
    if not link.exists:
        return f"there is no interface {interface}; `ip link` on the host lists those there are"
    if link.ours is not None or any(q.handle in OURS for q in link.qdiscs):
        return f"a fault of ours is still on {interface}; `gameday heal` takes it away"
    if any(f" pref {number} " in line for line in link.filters for number in (65533, 65534, 65535)):
        return f"{interface} has filters of preference 65533 to 65535, which are ours; `gameday heal`, or move them"
    if isinstance(place(link), Beside) or _is_default(link):
        return None
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

"""What the kinds that put a qdisc of their own on an interface share: when they may, and what comes back."""

from __future__ import annotations

from chaos.kernel import NO_HANDLE, ROOT, Link, Qdisc

OURS = ("c4a5:", "c4a6:")

_INGRESS = ("ingress", "clsact")  # beside the root, not under it; left alone


def loadable(module: str) -> str:
    """Return the sh condition that a kernel has a module: loaded, built in, or ready to be loaded."""
    return f"[ -e /sys/module/{module} ] || modprobe -n -q {module} || grep -qw {module} /proc/kallsyms"


def ours(link: Link) -> Qdisc | None:
    """Return the impairment of ours on an interface, or None."""
    return next((q for q in link.qdiscs if q.handle == "c4a6:"), None)


def objection(interface: str, link: Link) -> str | None:
    """Return why no qdisc of ours should go on this interface, or None."""
    if not interface:
        return "no interface: name one in the fault (`interface: eth0`) or in the inventory"
    if not link.exists:
        return f"there is no interface {interface}; `ip link` on the host lists those there are"
    if any(q.handle in OURS for q in link.qdiscs):
        return f"a fault of ours is still on {interface}; `gameday heal` takes it away"
    if _is_default(link):
        return None
    root = link.root
    if root is not None and root.words is not None and len(_tree(link)) == 1 and not link.filters:
        return None
    held = ", ".join(f"{q.kind} {q.handle}" for q in _tree(link))
    return (
        f"{interface} carries queueing that somebody set ({held}) and that can't be put back exactly; "
        f"what can: the kernel's default, or one of pfifo, bfifo, pfifo_fast, fq, fq_codel, sfq alone at the root"
    )


def former(link: Link) -> Qdisc | None:
    """Return the root that must be put back; None where the kernel's own default comes back by itself."""
    return None if _is_default(link) else link.root


def _tree(link: Link) -> list[Qdisc]:
    return [q for q in link.qdiscs if q.kind not in _INGRESS]


def _is_default(link: Link) -> bool:
    return all(q.handle == NO_HANDLE for q in _tree(link)) and (link.root is None or link.root.parent == ROOT)

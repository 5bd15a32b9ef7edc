"""RDMA of the hardware, which a fault of the kernel's own packets would miss: its bytes pass no qdisc and no nftables.

The NIC makes and takes such packets by itself; the kernel never sees one. So a fault that is about them, or about all
there are, does less than it says, and is refused; what can only be about something else is not. Soft RoCE and soft
iWARP are made by the kernel, and pass as all else does.
"""

from __future__ import annotations

from collections.abc import Collection

ROCE = 4791
"""The UDP port to which RoCEv2 sends (InfiniBand architecture, annex A17)."""


def objection(carriers: Collection[str], protocols: Collection[str], ports: Collection[int]) -> str | None:
    """Object to protocols and ports (none: all) that may be RDMA of the hardware; `carriers` say where there is any."""
    if not carriers or "udp" not in (protocols or ("udp",)) or ROCE not in (ports or (ROCE,)):
        return None
    return (
        f"RDMA of the hardware is on {', '.join(sorted(carriers))}; it never passes here and would be left as it is: "
        "choose what is none (`protocols: [tcp]`), or hinder RDMA itself (pfc, ets, ecn, link_down, the switch)"
    )


def carriers(printed: str, interface: str) -> set[str]:
    """Return who carries RDMA by what `kernel.RDMA` printed; of one interface alone where it is given."""
    pairs = (line.split() for line in printed.splitlines())
    return {f"{name} ({device})" for name, device in pairs if name == interface or not interface}

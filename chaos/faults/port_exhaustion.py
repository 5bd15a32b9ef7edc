"""port_exhaustion: no ephemeral port is left for new TCP connections: connect(2) fails with EADDRNOTAVAIL.

Every port of ip_local_port_range (ip(7)) is bound by a process of ours, which connect passes over, whoever the peer is.
No setting is changed, so nothing has to be put back but the process's end. UDP is another table, and left alone; so are
connections that are there, and all that come in: the controller's among them. But what goes on from the host, a
connection that it forwards for somebody (ProxyJump), finds no port either.

A port that a connection of somebody else uses can't be bound until it ends, and may be used towards another peer
meanwhile: such ports are counted as missing. Spared: ports that somebody listens on, and ip_local_reserved_ports. A
service that is started meanwhile on another port of the range finds it in use.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from chaos.contracts import Dose
from chaos.faults import _payload
from chaos.faults._payload import Seen

_PORT = 5  # KiB of kernel memory for a bound socket, with its file
_BESIDES = 100  # files that the process has open beside its sockets, at most
_MISSED = 0.05  # share of the ports that others may still use


class PortExhaustion(_payload.PayloadFault):
    """Hold the ephemeral ports, so that new outgoing TCP connections find none."""

    kind: ClassVar[str] = "port_exhaustion"
    example: ClassVar[str] = "{kind: port_exhaustion, on: {group: workers, pick: 1}, for: 20s}"
    release: ClassVar[str] = "whoever waits to connect does so at its next try: a burst of connections"
    shade: ClassVar[str] = "#7b5ea7"
    beside: ClassVar[str] = (
        # not by read(1), which takes a byte at a time: a setting gives no more than its first
        'set -- $(cat /proc/sys/net/ipv4/ip_local_port_range); echo "ports $(($2 - $1 + 1))"\n'
        "echo \"available $(sed -n 's/^MemAvailable: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo)\"\n"
        'most=$(cat /proc/sys/fs/nr_open); (ulimit -n "$most") 2>/dev/null || most=$(ulimit -Hn); echo "files $most"'
    )

    free: int = Field(0, description="how many ports are left, each good for one connection to a peer", ge=0, le=65535)

    def objection(self, before: Seen) -> str | None:
        """Object to a range that has no more ports than are to be left, and where the sockets are a strain."""
        ports, available = int(before.also["ports"]), int(before.also["available"] or 0)
        if ports <= self.free:
            return f"the host has {ports} ephemeral ports; fewer must be left free than that, and {self.free} are"
        if available < 4 * _PORT * ports:
            need = _PORT * ports // 1024
            return f"{ports} sockets take {need} MiB of the kernel's memory, and only {available // 1024} MiB are free"
        if before.also["files"].isdecimal() and ports + _BESIDES > int(before.also["files"]):
            return f"a process may have {before.also['files']} files open (ulimit -Hn); {ports} sockets are more"
        return super().objection(before)

    def typical(self) -> Seen:
        """No payload, and the kernel's own range."""
        return Seen(also={"ports": "65536", "available": "8000000", "files": "1048576"})

    def asked(self) -> dict[str, float]:
        """The ports left."""
        return {"free_ports": float(self.free)}

    def measured(self, before: Seen, now: Seen) -> Dose:
        """Report the ports that are held and those that others use."""
        del before
        held, missing = now.report["held"], now.report["missing"]
        much = missing > _MISSED * (held + missing)
        why = f"{missing:.0f} of {held + missing:.0f} ports are in use by others, who may share them" if much else ""
        return Dose({"free_ports": self.free + missing, "held_ports": held}, not why, why)

    @property
    def payload(self) -> _payload.Payload:
        """Who holds the ports."""
        return _payload.Payload.of("port_exhaustion", self.free)

"""memory_bandwidth: the way to memory is kept busy by processes that copy buffers larger than the last-level cache.

What is reported is what was copied: each byte is read once and written once, so that at least twice as much passes the
memory controllers. Nothing is asked for but the number of processes; how much one of them copies is the machine's. Each
keeps a core busy as well, in a cgroup of its own. The buffers are touched, twice their size for each process, and given
back where the memory that is available falls below 128 MiB.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.contracts import Dose
from chaos.faults import _payload
from chaos.faults._payload import Seen
from chaos.units import Size

_MIB = 1 << 20
_FLOOR = 128 * _MIB

# kB all; the largest cache of a core is the last level
_HOST = r"""echo "cores $(grep -c '^cpu[0-9]' /proc/stat)"
sed -n 's/^\(MemAvailable\): *\([0-9]*\).*/\1 \2/p' /proc/meminfo
cache=0; for size in $(cat /sys/devices/system/cpu/cpu0/cache/index*/size 2>/dev/null); do
    case $size in *K) size=${size%K} ;; *M) size=$((${size%M} * 1024)) ;; *) size=0 ;; esac
    [ "$size" -le "$cache" ] || cache=$size
done; echo "cache $cache"
"""


class MemoryBandwidth(_payload.PayloadFault):
    """Copy memory, in so many processes at once."""

    kind: ClassVar[str] = "memory_bandwidth"
    example: ClassVar[str] = "{kind: memory_bandwidth, on: {group: workers, pick: 1}, for: 20s, processes: 4}"
    release: ClassVar[str] = "none of its own: what waited for memory goes on at once"
    shade: ClassVar[str] = "#4f8f8b"
    beside: ClassVar[str] = _HOST

    processes: Annotated[int, Field(ge=1, le=4096)] = Field(description="how many copy, each on a core of its own")
    buffer: Size = Field(256.0 * _MIB, description="what each copies from and to; larger than the cache", ge=16 * _MIB)
    weight: int = Field(
        100, description="cpu.weight of the cgroup: how hard it holds on against the host's own work", ge=1, le=1000
    )

    def objection(self, before: Seen) -> str | None:
        """Object to more processes than cores, to buffers that fit the cache, and to those that don't fit memory."""
        cores, cache, available = (int(before.also[name]) for name in ("cores", "cache", "MemAvailable"))
        needed = 2 * self.processes * self.buffer
        if self.processes > cores:
            return f"{self.processes} processes were asked for, and {cores} cores are online"
        if self.buffer <= cache * 1024:
            return f"a buffer of {_mib(self.buffer)} fits the last-level cache of {_mib(cache * 1024)}"
        if needed + 2 * _FLOOR > available * 1024:
            return f"{_mib(needed)} of buffers are too much where {_mib(available * 1024)} are available"
        return super().objection(before)

    def typical(self) -> Seen:
        """A host that has cores and memory enough."""
        kb = int(4 * self.processes * self.buffer / 1024) + 2**20
        return Seen(also={"cores": str(self.processes), "cache": "1", "MemAvailable": str(kb)})

    def asked(self) -> dict[str, float]:
        """Return how many are to copy."""
        return {"processes": float(self.processes)}

    def measured(self, before: Seen, now: Seen) -> Dose:
        """Return the bytes copied per second since it began."""
        del before
        copied = now.report["copied"] / max(0.001, now.report["seconds"])
        return Dose({"processes": float(self.processes), "copied_bytes_per_s": copied}, True)

    @property
    def payload(self) -> _payload.Payload:
        """The processes."""
        arguments = (self.processes, int(self.buffer), _FLOOR)
        return _payload.Payload.of("memory_bandwidth", *arguments, weight=self.weight)


def _mib(size: float) -> str:
    return f"{size / _MIB:.0f} MiB"

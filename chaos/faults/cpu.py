"""cpu: a share of the time of some cores is taken, by processes that spin and sleep in turn.

Each of them follows a closed loop on the time that the kernel says it took (clock_gettime(2),
CLOCK_PROCESS_CPUTIME_ID), in periods of 20 ms. They run in a cgroup of their own, at the weight of any service: on a
host with other work they compete as a neighbour would, and where they don't get what was asked the dose says so. The
fuse's cgroup weighs a hundred times as much.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from chaos.contracts import Dose
from chaos.faults import _payload
from chaos.faults._payload import Seen
from chaos.units import Share

_TOLERANCE = 0.02  # two points


class Cpu(_payload.PayloadFault):
    """Take a share of the time of some cores."""

    kind: ClassVar[str] = "cpu"
    example: ClassVar[str] = "{kind: cpu, on: {group: workers, pick: 1}, for: 20s, cores: 1, share: 80%}"
    release: ClassVar[str] = "what waited for a core runs at once: a burst of late answers"
    shade: ClassVar[str] = "#c98a1b"
    beside: ClassVar[str] = "echo \"cores $(grep -c '^cpu[0-9]' /proc/stat)\""

    cores: Annotated[int, Field(ge=1, le=4096)] = Field(description="how many cores, by as many processes")
    share: Share = Field(1.0, description="how much of their time", gt=0)
    weight: int = Field(
        100, description="cpu.weight of the cgroup: how hard it holds on against the host's own work", ge=1, le=1000
    )

    def objection(self, before: Seen) -> str | None:
        """Object to more cores than are online, and to a payload of ours that is there already."""
        online = int(before.also["cores"])
        if self.cores > online:
            return f"{self.cores} cores were asked for, and {online} are online"
        return super().objection(before)

    def typical(self) -> Seen:
        """No payload, and cores enough."""
        return Seen(also={"cores": str(self.cores)})

    def asked(self) -> dict[str, float]:
        """Return the share of the time of these cores."""
        return {"cpu_share": self.share}

    def measured(self, before: Seen, now: Seen) -> Dose:
        """Return the share that the kernel says was taken since the payload began."""
        del before
        seconds = max(0.01, now.uptime - now.report["began"])
        achieved = now.cpu / seconds / self.cores
        off = abs(achieved - self.share) > _TOLERANCE
        why = f"it took {achieved:.1%} of {self.cores} cores where {self.share:.1%} was asked" if off else ""
        return Dose({"cpu_share": achieved}, not off, why)

    @property
    def payload(self) -> _payload.Payload:
        """The workers."""
        return _payload.Payload.of("cpu", self.cores, repr(self.share), weight=self.weight)

"""memory: memory is taken, by a closed loop, until a target is reached, and it is kept there.

The loop reads /proc/meminfo before every step, so that what others take or give meanwhile is made up for. Two things
guard the host. A floor: where MemAvailable falls below it, all is given back at once and the fault is over; a target
beyond it is objected to. And the OOM killer, which is told to take the payload first (oom_score_adj 1000).

What is taken is touched, random, and locked into memory, so that neither swap nor compression makes it less: some
hundred MB a second, so a large target needs a long hold, and where it was not reached the dose says so. On a host with
swap, others may be swapped out before the target is reached: that is the fault.
"""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from chaos.contracts import Dose
from chaos.faults import _payload
from chaos.faults._payload import Seen
from chaos.units import Share, Size

_MIB = 1 << 20
_LEAST_FLOOR = 64 * _MIB
_TOLERANCE = 0.01  # of MemTotal, or of what is to be taken
_NAMES = {"used": "memory_used_share", "available": "memory_available_bytes", "taken": "memory_taken_bytes"}

# kB, as /proc/meminfo has it, and the memory of its own of every process of the payload
_MEMORY = r"""sed -n 's/^\(Mem[TA][a-z]*\): *\([0-9]*\).*/\1 \2/p' /proc/meminfo
taken=0; for pid in $(found); do
    kb=$(sed -n 's/^RssAnon:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$pid/status" 2>/dev/null); taken=$((taken + ${kb:-0}))
done; echo "taken $taken"
"""


class Memory(_payload.PayloadFault):
    """Take memory until a share of it is in use, so much is taken, or so little is available."""

    kind: ClassVar[str] = "memory"
    example: ClassVar[str] = "{kind: memory, on: {group: workers, pick: 1}, for: 20s, used: 90%}"
    release: ClassVar[str] = "what was swapped out or dropped from the page cache is read again, slowly"
    shade: ClassVar[str] = "#5b7fa6"
    beside: ClassVar[str] = _MEMORY

    used: Share | None = Field(None, description="take until so much of MemTotal is in use (is not available)", gt=0)
    take: Size | None = Field(None, description="take so much, whatever others have", ge=16 * _MIB)
    available: Size | None = Field(None, description="take until MemAvailable is so little", gt=0)
    floor: Size | None = Field(
        None,
        description="MemAvailable below which all is given back; by default 5 % of MemTotal, at least 128 MiB",
        ge=_LEAST_FLOOR,
    )

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        given = [name for name in ("used", "take", "available") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"takes one of `used`, `take` and `available`; found {' and '.join(given) or 'none'}")
        return self

    def objection(self, before: Seen) -> str | None:
        """Object to a target that is below the floor, or is reached already."""
        total, available = _bytes(before, "MemTotal"), _bytes(before, "MemAvailable")
        left = {"used": total * (1 - (self.used or 0)), "available": self.available, "taken": available - self._take}
        kind, _ = self._target
        after, floor = left[kind] or 0.0, self.floor or max(128 * _MIB, total / 20)
        if after < floor:
            return (
                f"{_mib(after)} would be available of {_mib(total)}, less than the floor of {_mib(floor)}; "
                f"{_mib(available)} are now"
            )
        if kind != "taken" and available <= after:
            return f"{_mib(available)} of {_mib(total)} are available, and the target is {_mib(after)}"
        return super().objection(before)

    def typical(self) -> Seen:
        """A host that has four times of what is asked for."""
        kb = int(
            4 * (self._take + (self.available or 0) + (self.floor or 2**30)) / (1 - min(0.9, self.used or 0)) / 1024
        )
        return Seen(also={"MemTotal": f"{kb}", "MemAvailable": f"{kb}", "taken": "0"})

    def asked(self) -> dict[str, float]:
        """Return the target: a share, or bytes."""
        kind, target = self._target
        return {_NAMES[kind]: target}

    def measured(self, before: Seen, now: Seen) -> Dose:
        """Compare what /proc shows with the target."""
        del before
        (kind, target), total = self._target, _bytes(now, "MemTotal")
        available = _bytes(now, "MemAvailable")
        achieved = {"used": 1 - available / total, "available": available, "taken": _bytes(now, "taken")}[kind]
        off = abs(achieved - target) > _TOLERANCE * {"used": 1.0, "available": total, "taken": target}[kind]
        show = "{:.1%} of the memory were in use" if kind == "used" else "{:.0f} bytes were " + kind
        why = f"{show.format(achieved)} at the end where {target:g} was asked" if off else ""
        return Dose({_NAMES[kind]: achieved}, not off, why)

    @property
    def payload(self) -> _payload.Payload:
        """The loop."""
        kind, target = self._target
        return _payload.Payload.of("memory", kind, repr(target), int(self.floor or 0))

    @property
    def _take(self) -> float:
        return self.take or 0.0

    @property
    def _target(self) -> tuple[str, float]:
        if self.used is not None:
            return "used", self.used
        return ("available", self.available) if self.available is not None else ("taken", self._take)


def _bytes(seen: Seen, name: str) -> float:
    return int(seen.also[name]) * 1024.0


def _mib(size: float) -> str:
    return f"{size / _MIB:.0f} MiB"

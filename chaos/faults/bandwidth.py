"""bandwidth: a limit on what an interface sends, by a token bucket (tc-tbf(8)).

Egress only, as netem is, and the controller's own SSH flow passes beside it. The bucket holds what the rate brings in
one tick of a kernel at 250 Hz, since it is refilled no more often in the worst case, and at least one segment of 64 KiB
as the TCP stack hands it down. A packet that would wait longer than `latency` is dropped.
"""

from __future__ import annotations

import math
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
from chaos.faults import _qdisc
from chaos.kernel import Option, Qdisc
from chaos.names import InterfaceName
from chaos.units import BitRate, Duration, Size

_TICK = 1 / 250  # s
_SEGMENT = 66_000  # bytes: 64 KiB with its headers
_ROUNDED = 2.1e-6  # s: the kernel keeps the burst as a time in µs, and tc prints the limit as one


class Bandwidth(Fault[_qdisc.Seen]):
    """A limit on the rate at which an interface sends."""

    kind: ClassVar[str] = "bandwidth"
    release: ClassVar[str] = _qdisc.RELEASE
    needs: ClassVar[tuple[Need, ...]] = _qdisc.needs("sch_tbf")

    interface: InterfaceName = Field("", description="the interface; the inventory's `interface` by default")
    rate: BitRate = Field(description="the most the interface sends", ge=1000)
    burst: Size = Field(0.0, description="bytes sent at once after a pause; computed by default", ge=0, le=2**32 - 1)
    latency: Duration = Field(0.05, description="how long a packet may wait in the queue", gt=0, le=10)

    def bind(self, host: HostView) -> Self:
        """Take the inventory's interface where the experiment names none."""
        return self if self.interface else self.model_copy(update={"interface": host.interface})

    def reading(self) -> Reading[_qdisc.Seen]:
        """Ask for the interface and for the controller's own flow."""
        return Reading((LinkState(self.interface), ControlPath()), _qdisc.Seen)

    def objection(self, before: _qdisc.Seen) -> str | None:
        """Object to an interface that is not there, or whose queueing could not be put back exactly."""
        return _qdisc.objection(self.interface, before.link)

    def apply(self, before: _qdisc.Seen) -> list[Action]:
        """Plant a tbf, with the controller's flow beside it."""
        tbf = Qdisc("tbf", options=self.options())
        return [PlantQdisc(self.interface, tbf, before.control, _qdisc.place(before.link))]

    def revert(self, before: _qdisc.Seen) -> list[Action]:
        """Take it away: the packets it holds are sent first."""
        patience = min(_qdisc.MOST_PATIENCE, self.latency + 0.1)
        return [UprootQdisc(self.interface, _qdisc.place(before.link), patience)]

    def is_applied(self, before: _qdisc.Seen, now: _qdisc.Seen) -> bool:
        """Compare the kernel's own parameters with what was asked."""
        del before
        tbf = _qdisc.ours(now.link)
        if tbf is None or tbf.kind != "tbf":
            return False
        off = {name: abs(float(tbf.options[name]) - float(asked)) for name, asked in self.options().items()}
        near = 2 + self.rate * _ROUNDED
        return off["rate"] <= 1 and off["burst"] <= near and off["limit"] <= near

    def is_reverted(self, before: _qdisc.Seen, now: _qdisc.Seen) -> bool:
        """Compare the whole tree of qdiscs, with its classes and filters, to what it was."""
        return before.link == now.link

    def typical(self) -> _qdisc.Seen:
        """An interface with the kernel's default, reached over SSH."""
        return _qdisc.typical(self.interface)

    def asked(self) -> dict[str, float]:
        """Return the rate in bytes/s."""
        return {"rate_bytes_per_s": float(self.rate)}

    def dose(self, before: _qdisc.Seen, now: _qdisc.Seen) -> Dose:
        """Report what the kernel holds and how many packets passed it: a tbf that saw none did nothing."""
        tbf = _qdisc.ours(now.link)
        if tbf is None or not self.is_applied(before, now):
            return Dose({}, False, f"no such tbf on {self.interface} at the end of the fault")
        return _qdisc.passed(self.interface, tbf, {"rate_bytes_per_s": float(tbf.options["rate"])})

    def options(self) -> dict[str, Option]:
        """Return the qdisc's options: rate in bytes/s, burst and limit in bytes."""
        rate = round(self.rate)
        burst = round(self.burst) or max(_SEGMENT, math.ceil(rate * _TICK))
        return {"rate": rate, "burst": burst, "limit": burst + math.ceil(rate * self.latency)}

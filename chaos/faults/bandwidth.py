"""bandwidth: a limit on what an interface sends or receives, all of it or some, by a token bucket (tc-tbf(8)).

The controller's own SSH flow passes beside it, either way. The bucket holds what the rate brings in one tick of a
kernel at 250 Hz, since it is refilled no more often in the worst case, and at least one segment of 64 KiB as the TCP
stack hands it down. A packet that would wait longer than `latency` is dropped.
"""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from chaos.contracts import Need
from chaos.faults import _qdisc, _tbf
from chaos.kernel import Link, Option, Qdisc
from chaos.units import BitRate, Duration, Size

_TICK = 1 / 250  # s
_SEGMENT = 66_000  # bytes: 64 KiB with its headers


class Bandwidth(_qdisc.Impairment):
    """A limit on the rate at which an interface sends or receives."""

    kind: ClassVar[str] = "bandwidth"
    example: ClassVar[str] = "{kind: bandwidth, on: {group: workers, pick: 1}, for: 20s, rate: 100mbit}"
    qdisc_kind: ClassVar[str] = "tbf"
    needs: ClassVar[tuple[Need, ...]] = _qdisc.needs("sch_tbf")

    rate: BitRate = Field(description="the most that passes", ge=1000)
    burst: Size = Field(0.0, description="bytes sent at once after a pause; computed by default", ge=0, le=2**32 - 1)
    latency: Duration = Field(0.05, description="how long a packet may wait in the queue", gt=0, le=10)

    def qdisc(self, link: Link) -> Qdisc:
        """A tbf."""
        del link
        return Qdisc("tbf", options=self.options())

    def shows(self, held: Qdisc, link: Link) -> bool:
        """Compare, but for what tc and the kernel round."""
        del link
        return _tbf.is_same(self.options(), held.options)

    def achieved(self, held: Qdisc) -> dict[str, float]:
        """The rate in bytes/s."""
        return {"rate_bytes_per_s": float(held.options["rate"])}

    def longest_stay(self) -> float:
        """What waits longer than `latency` was dropped at once."""
        return self.latency + 0.1

    def asked(self) -> dict[str, float]:
        """Return the rate in bytes/s."""
        return {"rate_bytes_per_s": float(self.rate)}

    def options(self) -> dict[str, Option]:
        """Return the qdisc's options: rate in bytes/s, burst and limit in bytes."""
        rate = round(self.rate)
        burst = round(self.burst) or max(_SEGMENT, math.ceil(rate * _TICK))
        return {"rate": rate, "burst": burst, "limit": burst + math.ceil(rate * self.latency)}

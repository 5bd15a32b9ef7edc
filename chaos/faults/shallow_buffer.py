"""shallow_buffer: what a lossy class does to a burst: a rate behind a buffer of few bytes, whose overflow is lost.

A switch whose class lost its priority flow control (PFC) drops what its buffer can't take, and tells nobody. So here: a
token bucket (tc-tbf(8)) with a FIFO of `buffer` bytes. A kernel tells a sender of its own host what a qdisc at the root
refused, and older ones (before 6.8, but for those with its fix) also what one behind a redirect did: TCP then takes the
segment for one that it has still to send, and soft RoCE tries again at once, so that neither feels any loss. So on what
an interface sends, a netem that does nothing stands above the bucket, and takes each packet before the bucket may drop
it. What comes in is lost to a sender elsewhere, who is told nothing anyway.

A burst at the line's speed passes as far as `buffer` and `burst` together reach; the bucket's burst is what the rate
brings in 0.1 ms, as late as a timer may be, and at least one jumbo frame. A row of segments that the kernel handles as
one packet (GSO) is cut where it is longer than that.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

from pydantic import Field

from chaos.contracts import Dose, Need
from chaos.faults import _qdisc, _tbf
from chaos.kernel import Link, Option, Qdisc
from chaos.units import BitRate, Size

_FRAME = 10_000  # bytes: a jumbo frame
_LATE = 1e-4  # s


class ShallowBuffer(_qdisc.Impairment):
    """A rate behind a buffer so small that bursts overflow it; what does is lost without a word."""

    kind: ClassVar[str] = "shallow_buffer"
    example: ClassVar[str] = (
        "{kind: shallow_buffer, on: {group: workers, pick: 1}, for: 20s, rate: 10gbit, buffer: 150kB}"
    )
    qdisc_kind: ClassVar[str] = "tbf"
    needs: ClassVar[tuple[Need, ...]] = _qdisc.needs("sch_tbf", "sch_netem")
    shade: ClassVar[str] = "#a0522d"

    rate: BitRate = Field(description="what the buffer drains by", ge=1000)
    buffer: Size = Field(description="bytes that may wait; a packet that no longer fits is lost", ge=_FRAME, le=2**31)
    burst: Size = Field(0.0, description="bytes sent at once after a pause; computed by default", ge=0, le=2**31)

    @property
    def is_silent(self) -> bool:
        """A sender on this host would be told; one elsewhere is not."""
        return self.direction == "egress"

    def qdisc(self, link: Link) -> Qdisc:
        """A tbf with a short FIFO."""
        del link
        return Qdisc("tbf", options=self.options())

    def shows(self, held: Qdisc, link: Link) -> bool:
        """Compare, but for what tc and the kernel round."""
        del link
        return _tbf.is_same(self.options(), held.options)

    def achieved(self, held: Qdisc) -> dict[str, float]:
        """The rate in bytes/s, and the bytes of the FIFO."""
        return {"rate_bytes_per_s": float(held.options["rate"]), "buffer_bytes": float(held.options["limit"])}

    def longest_stay(self) -> float:
        """A full buffer takes so long to drain."""
        return self.buffer / self.rate + 0.1

    def asked(self) -> dict[str, float]:
        """Return the rate in bytes/s, and the bytes of the FIFO."""
        return {"rate_bytes_per_s": float(self.rate), "buffer_bytes": float(self.buffer)}

    def dose(self, before: _qdisc.Seen, now: _qdisc.Seen) -> Dose:
        """Report also what was lost: a buffer that never overflowed did to a burst what a deep one does."""
        dose = super().dose(before, now)
        if not dose.confirmed or dose.achieved["dropped"]:
            return dose
        return replace(dose, confirmed=False, why_not="the buffer never overflowed: nothing was lost")

    def options(self) -> dict[str, Option]:
        """Return the qdisc's options: rate in bytes/s, burst and limit in bytes."""
        rate = round(self.rate)
        return {
            "rate": rate,
            "burst": round(self.burst) or max(_FRAME, math.ceil(rate * _LATE)),
            "limit": round(self.buffer),
        }

"""pause_storm: what a stuck pause does to traffic: held for `pause`, let go for `release_for`, and held again.

A port that is sent pause frames (IEEE 802.3x, or PFC for one class) stops, and what it has to send waits; a device that
sends them in a storm leaves its neighbour so many moments to send. Nothing is lost until a queue is full, and whoever
sends on this host is told of that, as by a NIC whose rings are full.

The kernel does it by the slots of a netem (tc-netem(8)), one each `pause` + `release_for`: in a slot it lets go of as
many bytes as the line carries in `release_for`, at once, and the line behind it takes that time to send them. So under
load the line is silent for `pause` and busy for `release_for`, and a share of release_for / (pause + release_for) of
its rate is left. A row of segments that the kernel handles as one packet (GSO, up to 64 KiB) goes whole, though it is
longer than what is left of a slot. The first packet that comes while nothing waits begins the wait for a slot of its
own: it is held for all of pause + release_for, where a real storm would meet it at any moment.

No pause frame is sent: this is what the storm's victim feels. The switch's watchdog sees nothing of it.
"""

from __future__ import annotations

import math
from typing import ClassVar

from pydantic import Field

from chaos.contracts import Need
from chaos.faults import _netem, _qdisc
from chaos.kernel import Link, Option, Qdisc
from chaos.units import BitRate, Duration

_MOST = 2**31 - 1  # bytes in a slot


class PauseStorm(_qdisc.Impairment):
    """Hold what an interface sends or receives, and let it go in slots, as pause frames in a storm do."""

    kind: ClassVar[str] = "pause_storm"
    example: ClassVar[str] = (
        "{kind: pause_storm, on: {group: workers, pick: 1}, for: 20s, pause: 20ms, release_for: 5ms, rate: 10gbit}"
    )
    qdisc_kind: ClassVar[str] = "netem"
    needs: ClassVar[tuple[Need, ...]] = _qdisc.needs("sch_netem")
    shade: ClassVar[str] = "#9c3d54"

    pause: Duration = Field(description="how long traffic is held each time", ge=1e-5, le=100)
    release_for: Duration = Field(description="how long it flows between two pauses", ge=1e-6, le=100)
    rate: BitRate = Field(0.0, description="the line's rate; the interface's speed by default", ge=0, le=2.0**50)

    def objection(self, before: _qdisc.Seen) -> str | None:
        """Object also where nobody knows how much the line carries in a slot, and where that can't be counted."""
        why_not = super().objection(before)
        if why_not:
            return why_not
        size = self._slot_bytes(before.link)
        if not size:
            return f"{self.interface} does not say how fast it is; give its `rate` (`rate: 10gbit`)"
        return f"{size} bytes in a slot are more than netem counts; shorten release_for" if size > _MOST else None

    def qdisc(self, link: Link) -> Qdisc:
        """A netem with slots."""
        return Qdisc("netem", options=self.options(link))

    def shows(self, held: Qdisc, link: Link) -> bool:
        """Compare all that the kernel shows, but for what tc and the kernel round."""
        return _netem.is_same(self.options(link), held.options)

    def achieved(self, held: Qdisc) -> dict[str, float]:
        """The time from slot to slot, and the bytes let go in each."""
        return {"period_s": float(held.options["slot_min"]), "released_bytes": float(held.options["slot_bytes"])}

    def asked(self) -> dict[str, float]:
        """Return the time from slot to slot."""
        return {"period_s": self.pause + self.release_for}

    def longest_stay(self) -> float:
        """Nobody can tell: its queue may be long."""
        return math.inf

    def options(self, link: Link) -> dict[str, Option]:
        """Return the qdisc's options."""
        period, rate = self.pause + self.release_for, self._line_rate(link)
        slot: dict[str, Option] = {"slot_min": period, "slot_max": period, "slot_bytes": self._slot_bytes(link)}
        return slot | {"limit": _netem.limit(rate, period)}

    def _slot_bytes(self, link: Link) -> int:
        return math.ceil(self._line_rate(link) * self.release_for)

    def _line_rate(self, link: Link) -> float:
        return self.rate or (link.bits_per_second or 0.0) / 8
